from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy.rulereader import parse_target
from smtpguard.policy.rules import Rule
from smtpguard.policy.truth import Truth
from smtpguard.wire.path import parse_mailbox, parse_rcpt
from tests.policy.rulefiles import policy


def rule(text: str, name: str = "rcpt_to") -> Rule[object]:
    last = '{match: "*", action: deny}'
    if name == "rcpt_to":
        return policy(rcpt_to=f"{text}, {last}").rcpt_to[0]  # type: ignore[return-value]
    return policy(f"{name}: [{text}, {last}]").filenames[0]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("target", "address", "octets", "domain"),
    [
        ("new@b.example", "old@a.example", b"new@b.example", "b.example"),
        ("*@b.example", "Old+x@a.example", b"Old+x@b.example", "b.example"),
        ("*@b.example", '"a@b c"@a.example', b'"a@b c"@b.example', "b.example"),
        ("*@müller.example", "x@a.example", None, "xn--mller-kva.example"),
        ("*@b.example", "jörg@a.example", "jörg@b.example".encode(), "b.example"),
        ("*@b.example", "x@müller.example", b"x@b.example", "b.example"),
        ("*@[192.0.2.1]", "x@a.example", b"x@[192.0.2.1]", "[192.0.2.1]"),
        ('"a b"@b.example', "x@a.example", b'"a b"@b.example', "b.example"),
    ],
)
def test_a_rewrite_makes_the_new_mailbox(
    target: str, address: str, octets: bytes | None, domain: str
) -> None:
    found = parse_target(target).apply(parse_mailbox(address))
    assert found.octets == (octets or b"x@" + domain.encode())
    assert found.domain == domain


def test_a_rewritten_mailbox_is_one_that_parses() -> None:
    old = parse_rcpt(b'TO:<"a@b\\" c"@a.example>', smtputf8=False).mailbox
    assert old is not None
    new = parse_target("*@b.example").apply(old)
    again = parse_rcpt(b"TO:<%s>" % new.octets, smtputf8=False).mailbox
    assert again == new


def test_postmaster_without_a_domain_gets_one() -> None:
    old = parse_rcpt(b"TO:<Postmaster>", smtputf8=False).mailbox
    assert old is not None
    new = parse_target("*@b.example").apply(old)
    assert (new.octets, new.domain) == (b"Postmaster@b.example", "b.example")


@pytest.mark.parametrize(
    ("text", "unconditional", "fallthrough"),
    [
        ('{match: "*", action: deny}', True, True),
        ('{match: ["a@a.example", "*"], action: deny}', True, True),
        ('{match: "*@a.example", action: deny}', True, False),
        ('{match: "*", action: deny, when: {tls: true}}', False, False),
        ('{match: "*", action: deny, unless: {to: a@a.example}}', False, False),
    ],
)
def test_a_rule_knows_when_it_decides(
    text: str, unconditional: bool, fallthrough: bool
) -> None:
    found = rule(text)
    assert found.is_unconditional == unconditional
    assert found.is_fallthrough == fallthrough


def test_a_trace_names_the_rule_and_its_place() -> None:
    found = rule('{match: "*.exe", action: deny, name: no-exe}', "filenames")
    step = found.step(Truth.UNKNOWN, "because")
    assert step.rule == "filenames:1"
    assert step.matched is None
    assert step.reason == '"no-exe": because'
    assert step.place == "rules.yaml:5"
    assert rule('{match: "*", action: deny}').step(Truth.NO, "x").reason == "x"


def test_a_rule_without_more_keys_tempfails_what_is_not_known() -> None:
    found = rule('{match: "*@a.example", action: allow}')
    assert found.on_unknown is Action.TEMPFAIL
    assert found.reply is None
    assert found.rewrite is None
