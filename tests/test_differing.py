"""Recipients whom rules on content treat differently (contract 5, ``differing``)."""

from __future__ import annotations

from typing import Any

import pytest

from smtpguard.differing import MAX_CLASSES
from smtpguard.model.decision import Action, Decision
from smtpguard.model.envelope import Envelope, Recipient
from smtpguard.model.mailbox import Path
from smtpguard.model.reply import Reply
from smtpguard.wire import parse_mailbox
from tests.judging import ALLOW, make_pipeline, make_session, names, rules


ANNA = names('{match: "*.exe", action: strip, when: {to: "anna@own.test"}}')
HEADERS = (
    f'headers: [{{match: X, action: strip, unless: {{to: "anna@own.test"}}}}, {ALLOW}]'
)
APART = "452 4.5.3 Too many recipients, send this one by itself"


def judged(
    text: str, recipients: str, upstream: Reply | None = None, **facts: Any
) -> list[Decision]:
    """Ask for recipients at own.test; ``upstream`` answers those that may pass."""
    session = make_session(**facts)
    judge = make_pipeline(text).begin(session)
    sender = Path(parse_mailbox("a@out.test"))
    envelope = Envelope(sender, sender)
    for name in recipients.split():
        path = Path(parse_mailbox(f"{name}@own.test"))
        said = judge.rcpt(session, envelope, path)
        envelope.recipients.append(Recipient(path, path, said, said.reply or upstream))
    return [recipient.decision for recipient in envelope.recipients]


def told(said: list[Decision]) -> list[str]:
    return [str(one.reply) if one.reply else "ok" for one in said]


def asked(lines: tuple[str, ...], recipients: str, **facts: Any) -> list[str]:
    return told(judged(rules(*lines), recipients, **facts))


def test_from_outside_recipients_of_another_class_are_put_off() -> None:
    assert asked((ANNA,), "anna bert anna carla") == ["ok", APART, "ok", APART]
    assert asked((ANNA,), "bert carla anna") == ["ok", "ok", APART]


def test_the_rest_comes_in_the_next_transaction() -> None:
    """What the client sends again is one class by itself."""
    assert asked((ANNA,), "bert carla") == ["ok", "ok"]


@pytest.mark.parametrize("action", ["block", "drop"])
def test_what_closes_the_session_is_not_put_off(action: str) -> None:
    """Whoever writes to a trap is to be told by nobody to come again."""
    to = f'rcpt_to: [{{match: "trap@own.test", action: {action}}}, {ALLOW}]'
    text = rules(names('{match: "*.exe", action: strip, when: {to: "trap@own.test"}}'))
    text = text.replace(f"rcpt_to: [{ALLOW}]", to)
    text = text.replace("policies:", "block: {folder: blocked}\npolicies:")
    first, trap = judged(text, "anna trap")
    assert (str(first.action), str(trap.action)) == ("allow", action)


@pytest.mark.parametrize(
    ("lines", "facts", "apart"),
    [
        ((ANNA,), {}, True),
        ((ANNA,), {"authenticated": True}, False),
        ((ANNA,), {"destination": ("192.0.2.1", 587)}, False),
        ((ANNA,), {"destination": ("192.0.2.1", 465)}, False),
        ((ANNA, "session: {differing: strictest}"), {}, False),
        ((ANNA, "session: {differing: separate}"), {"authenticated": True}, True),
        # Rules that treat all alike keep nobody apart.
        ((names('{match: "*.exe", action: strip}'),), {}, False),
        ((names('{match: "*.exe", action: strip, when: {from: "a@b.c"}}'),), {}, False),
        ((HEADERS,), {}, True),
    ],
)
def test_the_default_is_strictest_for_clients_of_ours(
    lines: tuple[str, ...], facts: dict[str, Any], apart: bool
) -> None:
    assert asked(lines, "anna bert", **facts) == ["ok", APART if apart else "ok"]


def test_a_policy_for_own_networks_is_strictest() -> None:
    text = (
        "version: 1\npolicies:\n"
        "  - name: out\n    when: {source: [192.0.2.0/24]}\n"
        f"    rcpt_to: [{ALLOW}]\n    {ANNA}\n"
        f"  - name: rest\n    rcpt_to: [{ALLOW}]\n    {ANNA}\n"
    )
    for client, answer in (("192.0.2.7", "ok"), ("198.51.100.7", APART)):
        said = judged(text, "anna bert", client=(client, 1))
        assert told(said) == ["ok", answer]


def test_a_recipient_that_was_refused_sets_no_class() -> None:
    """By the upstream here; else one dead address would put off all others."""
    refused = Reply.make(550, "5.1.1", "No such user")
    assert told(judged(rules(ANNA), "anna bert carla", refused)) == ["ok"] * 3
    accepted = Reply.make(250, "2.1.5", "OK")
    assert told(judged(rules(ANNA), "anna bert", accepted)) == ["ok", APART]


def test_a_rule_s_refusal_comes_before_the_class() -> None:
    no = '{match: "no@own.test", action: deny}'
    text = rules(ANNA).replace(f"rcpt_to: [{ALLOW}]", f"rcpt_to: [{no}, {ALLOW}]")
    assert told(judged(text, "no anna no")) == [
        "550 5.1.1 Mailbox unavailable",
        "ok",
        "550 5.1.1 Mailbox unavailable",
    ]


def test_many_classes_share_one_transaction() -> None:
    conditions = [
        f'{{match: "*.{n}", action: strip, when: {{to: "r{n}@own.test"}}}}'
        for n in range(MAX_CLASSES + 1)
    ]
    everybody = " ".join(f"r{n}" for n in range(MAX_CLASSES + 1))
    said = asked((names(*conditions),), f"{everybody} r0 r1")
    assert said[:MAX_CLASSES] == ["ok"] + [APART] * (MAX_CLASSES - 1)
    assert said[MAX_CLASSES:] == ["ok"] * 3


def test_the_trace_tells_why_a_recipient_is_put_off() -> None:
    said = judged(rules(ANNA), "anna bert")[1]
    assert (said.rule, said.action) == ("differing", Action.TEMPFAIL)
    assert [step.rule for step in said.trace] == ["rcpt_to:1", "differing"]
