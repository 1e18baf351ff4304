from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from smtpguard.policy.conditions import CONDITIONS, Condition, conditions, helo_name
from smtpguard.policy.facts import Facts
from smtpguard.policy.truth import Truth
from tests.policy.rulefiles import context, node, path, session, told


OWN = ("own.example",)
MONDAY_NOON = datetime(2024, 1, 1, 12, 0)  # noqa: DTZ001
FACTS = Facts(
    session(helo="Mx.Own.Example.", tls=True),
    path("a@own.example"),
    path("r@own.example"),
    ("a@own.example", "b@other.example"),
    1000,
    MONDAY_NOON,
)
ALL = tuple(CONDITIONS)


def condition(text: str) -> Condition:
    found = context(*OWN, staff=["a@own.example"])
    read = conditions(ALL, "here").read(node(text), found)
    assert told(found) == []
    assert read is not None
    return read[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("source: 192.0.2.0/24", True),
        ("source: [10.0.0.0/8, 192.0.2.1]", True),
        ("source: 10.0.0.0/8", False),
        ('from: "*@own"', True),
        ('from: ["x@x.example", "@staff"]', True),
        ('from: "<>"', False),
        ("to: r@own.example", True),
        ("to: a@own.example", False),
        ('header_from: "*@other.example"', True),
        ("header_from: c@own.example", False),
        ("helo: mx.own.example", True),
        ('helo: "*.example"', True),
        ("helo: own.example", False),
        ("authenticated: false", True),
        ("authenticated: true", False),
        ("tls: true", True),
        ("tls: false", False),
        ("size: {over: 999}", True),
        ("size: {over: 1000}", False),
        ("size: {under: 1001}", True),
        ("size: {under: 1000}", False),
        ("size: {over: 500, under: 1500}", True),
        ("size: {over: 500, under: 900}", False),
        ('time: "mon 08:00-18:00"', True),
        ('time: ["sat,sun", "mon 12:00-13:00"]', True),
        ('time: "22:00-06:00"', False),
    ],
)
def test_a_condition_holds_or_not(text: str, wanted: bool) -> None:
    assert condition(f"{{{text}}}").test(FACTS, OWN) is Truth.of(wanted)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("source: 10.0.0.0/8", replace(FACTS, session=session("unknown"))),
        ('from: "*"', replace(FACTS, reverse_path=None)),
        ('to: "*"', replace(FACTS, forward_path=None)),
        ('header_from: "*"', replace(FACTS, header_from=None)),
        ("header_from: x@x.example", replace(FACTS, header_from=("not one",))),
        ('helo: "*"', replace(FACTS, session=session(helo=""))),
        ("size: {over: 1}", replace(FACTS, size=None)),
        ("time: mon", replace(FACTS, now=None)),
    ],
)
def test_what_cannot_be_known_is_neither_true_nor_false(
    text: str, facts: Facts
) -> None:
    assert condition(f"{{{text}}}").test(facts, OWN) is Truth.UNKNOWN


def test_own_without_domains_is_not_known() -> None:
    read = conditions(ALL, "here").read(node('{from: "*@own"}'), context())
    assert read is not None
    assert read[0].test(FACTS, ()) is Truth.UNKNOWN


def test_one_author_that_matches_is_enough() -> None:
    """Also if another one cannot be read."""
    facts = replace(FACTS, header_from=("not one", "a@own.example"))
    assert condition('{header_from: "*@own"}').test(facts, OWN) is Truth.YES


def test_a_message_without_an_author_has_none_that_matches() -> None:
    facts = replace(FACTS, header_from=())
    assert condition('{header_from: "*"}').test(facts, OWN) is Truth.NO


def test_the_null_path_is_a_sender_that_is_known() -> None:
    facts = replace(FACTS, reverse_path=path(""))
    assert condition('{from: "*@own"}').test(facts, OWN) is Truth.NO
    assert condition('{from: "<>"}').test(facts, OWN) is Truth.YES


def test_helo_names_have_no_case_and_no_final_dot() -> None:
    assert helo_name("Mx.Example.") == "mx.example"


def test_every_condition_bears_the_name_of_its_key() -> None:
    samples = {
        "source": "10.0.0.0/8",
        "from": '"*"',
        "to": '"*"',
        "header_from": '"*"',
        "helo": '"*"',
        "authenticated": "true",
        "tls": "true",
        "size": "{over: 1}",
        "time": "mon",
    }
    assert samples.keys() == CONDITIONS.keys()
    for name, value in samples.items():
        assert condition(f"{{{name}: {value}}}").name == name


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("{}", "missing-value"),
        ("~", "missing-value"),
        ("[source]", "bad-type"),
        ("{weather: fine}", "unknown-condition"),
        ("{spf: pass}", "not-supported-yet"),
        ("{source: x}", "bad-network"),
        ("{from: x}", "bad-pattern"),
        ("{helo: []}", "missing-value"),
        ("{authenticated: yes}", "bad-value"),
        ("{size: 1MiB}", "bad-type"),
        ("{size: {}}", "missing-key"),
        ("{size: {over: x}}", "bad-value"),
        ("{size: {over: 2, under: 2}}", "bad-value"),
        ("{time: x}", "bad-time"),
        ("{time: {}}", "bad-type"),
        ("{time: [mon, []]}", "bad-type"),
    ],
)
def test_a_bad_condition_is_one_problem(text: str, slug: str) -> None:
    found = context()
    assert conditions(ALL, "here").read(node(text), found) is None
    assert told(found) == [slug]


def test_a_condition_of_another_list_is_refused_with_those_of_this_one() -> None:
    found = context()
    kind = conditions(("source", "tls"), "helo")
    assert kind.read(node('{to: "*"}'), found) is None
    assert found.sink.problems[0].text == (
        'condition "to" cannot be known here; helo knows source or tls'
    )


def test_several_conditions_come_together() -> None:
    found = context()
    read = conditions(ALL, "here").read(node("{tls: true, source: 10.0.0.0/8}"), found)
    assert read is not None
    assert {one.name for one in read} == {"tls", "source"}
