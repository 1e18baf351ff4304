from __future__ import annotations

import pytest

from smtpguard.model.session import SessionFacts
from smtpguard.policy.conditions import CONDITIONS, LATER
from smtpguard.policy.selector import SELECTOR, Selector
from smtpguard.policy.truth import Truth
from tests.policy.rulefiles import context, node, session, told


def selector(text: str) -> Selector:
    found = context()
    read = SELECTOR.read(node(text), found)
    assert told(found) == []
    assert read is not None
    return read


BY_NAME = session(destination=("Mx.A.example.", 25))


@pytest.mark.parametrize(
    ("text", "asked", "wanted"),
    [
        ("{source: 192.0.2.0/24}", session(), True),
        ('{source: [10.0.0.0/8, "fd00::/8"]}', session("fd12::1"), True),
        ("{source: 10.0.0.0/8}", session("::ffff:10.0.0.1"), True),
        ("{source: 10.0.0.0/8}", session(), False),
        ("{source: 10.0.0.0/8}", session("unknown"), None),
        ("{destination: 198.51.100.25}", session(), True),
        ("{destination: 198.51.100.0/25}", session(), True),
        ("{destination: 203.0.113.0/24}", session(), False),
        ('{destination: "*"}', session(), False),
        ("{destination: mx.a.example}", BY_NAME, True),
        ('{destination: "*.a.example"}', BY_NAME, True),
        ("{destination: [203.0.113.0/24, mx.a.example]}", BY_NAME, True),
        ("{destination: mx.b.example}", BY_NAME, False),
        ("{destination: 203.0.113.0/24}", BY_NAME, None),
        ("{port: 25}", session(), True),
        ("{port: [465, 587]}", session(), False),
        ('{listener: "transparent*"}', session(), True),
        ('{listener: "reverse:*@2525"}', session(), False),
        (
            '{listener: "reverse:*@2525"}',
            session(listener="reverse:tcp://Mx:25@2525"),
            True,
        ),
        ("{source: 192.0.2.0/24, port: 25}", session(), True),
        ("{source: 192.0.2.0/24, port: 26}", session(), False),
        ("{source: 192.0.2.0/24, port: 26}", session("unknown"), False),
        ("{source: 192.0.2.0/24, port: 25}", session("unknown"), None),
    ],
)
def test_a_policy_is_for_a_session_or_not(
    text: str, asked: SessionFacts, wanted: bool | None
) -> None:
    assert selector(text).test(asked) is Truth.of(wanted)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{port: 25}", True),
        ("{source: 0.0.0.0/0}", True),
        ("{source: 10.0.0.0/8}", False),
    ],
)
def test_a_policy_may_be_open_to_anybody(text: str, wanted: bool) -> None:
    assert selector(text).is_open == wanted


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("{}", "missing-value"),
        ("~", "missing-value"),
        ("[25]", "bad-type"),
        ("{source: mx.example}", "bad-network"),
        ("{destination: 192.0.2.300}", "bad-network"),
        ("{destination: 192.0.2.1/24}", "bad-network"),
        ('{destination: "2001:db8::/129"}', "bad-network"),
        ('{destination: "@staff"}', "bad-network"),
        ('{destination: "mx.{a"}', "bad-pattern"),
        ("{destination: []}", "missing-value"),
        ("{destination: {}}", "bad-type"),
        ("{destination: [{}]}", "bad-type"),
        ("{port: smtp}", "bad-value"),
        ("{port: 0}", "bad-value"),
        ("{port: 65536}", "bad-value"),
        ("{listener: ~}", "missing-value"),
        ("{helo: a}", "condition-not-allowed-here"),
        ("{authenticated: true}", "condition-not-allowed-here"),
        ("{dmarc: fail}", "condition-not-allowed-here"),
        ("{sorce: a}", "unknown-condition"),
    ],
)
def test_a_bad_choice_is_one_problem(text: str, slug: str) -> None:
    found = context()
    SELECTOR.read(node(text), found)
    assert told(found) == [slug]


@pytest.mark.parametrize("name", sorted({*CONDITIONS, *LATER} - {"source"}))
def test_every_condition_of_rules_is_known_and_refused(name: str) -> None:
    """Also one that is added to the rules' table: it is no mistyped key."""
    found = context()
    SELECTOR.read(node(f"{{{name}: x}}"), found)
    assert told(found) == ["condition-not-allowed-here"]
