from __future__ import annotations

from dataclasses import replace

import pytest

from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Recipient
from smtpguard.model.session import TlsFacts
from smtpguard.quarantine.record import Kind, State, record_of
from smtpguard.wire import replies
from tests.policy.rulefiles import envelope, path, session
from tests.quarantine.making import NOW, part, record


SAID = Disposition(
    Outcome.QUARANTINED,
    rule="filenames:1",
    action=Action.QUARANTINE,
    reason="why",
    report={"findings": ["report:entries-cut"], "parts": []},
)


def test_a_record_tells_what_the_transaction_was() -> None:
    facts = session(helo="h.test", tls=True)
    facts.policy = "inbound"
    sent = envelope("a@x.test", "b@y.test")
    sent.id = "s1.1"
    made = record_of(facts, sent, SAID, NOW, subject="s", header_from="f")
    assert made.kept_at == NOW
    assert (made.client.address, made.client.port) == ("192.0.2.1", 40000)
    assert made.client.helo == "h.test"
    assert made.client_tls == TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256")
    assert made.upstream_tls is None
    assert (made.transaction, made.policy, made.rule) == (
        "s1.1",
        "inbound",
        "filenames:1",
    )
    assert (made.action, made.reason) == ("quarantine", "why")
    assert made.findings == ("report:entries-cut",)
    assert (made.subject, made.header_from) == ("s", "f")
    assert made.kind is Kind.MESSAGE
    assert made.state is State.HELD


def test_only_recipients_the_upstream_had_accepted_are_in_it() -> None:
    sent = envelope("a@x.test", "b@y.test", "c@y.test", refused=("c@y.test",))
    made = record_of(session(), sent, SAID, NOW)
    assert [str(one.mailbox) for one in made.recipients] == ["b@y.test"]


def test_recipients_that_became_equal_are_one() -> None:
    sent = envelope("a@x.test", "b@y.test", "c@y.test")
    sent.recipients[1] = Recipient(
        sent.recipients[1].asked,
        path("b@y.test"),
        Decision(Action.REWRITE),
        replies.RCPT_OK,
    )
    made = record_of(session(), sent, SAID, NOW)
    assert [str(one.asked.mailbox) for one in made.recipients] == ["b@y.test"]


@pytest.mark.parametrize(
    ("implicit", "tls", "wanted"),
    [
        (False, False, "starttls"),
        (False, True, "starttls_required"),
        (True, True, "tls"),
    ],
)
def test_the_upstream_is_reached_by_no_less_than_the_session_had(
    implicit: bool, tls: bool, wanted: str
) -> None:
    facts = session()
    facts.reverse_name = "mx.y.test"
    facts.upstream_implicit_tls = implicit
    if tls:
        facts.upstream_leg.tls = TlsFacts("TLSv1.3", "x")
    upstream = record_of(facts, envelope(), SAID, NOW).upstream
    assert (upstream.host, upstream.port, upstream.tls) == ("mx.y.test", 25, wanted)


@pytest.mark.parametrize(
    ("states", "wanted"),
    [
        (["held", "released"], "held"),
        (["held", "releasing", "released"], "releasing"),
        (["released", "released"], "released"),
    ],
)
def test_a_message_is_as_far_as_the_least_done_of_its_recipients(
    states: list[str], wanted: str
) -> None:
    made = record(*(f"r{n}@y.test" for n in range(len(states))))
    changed = {
        at: replace(made.recipients[at], state=State(state))
        for at, state in enumerate(states)
    }
    assert made.with_recipients(changed).state == wanted


def test_a_part_has_a_state_of_its_own_and_a_key() -> None:
    made = part("c@y.test", "b@y.test", sha256="1" * 64)
    assert made.kind is Kind.PART
    assert made.state is State.PENDING
    assert made.key == ("1" * 64, "0" * 64, "b@y.test", "c@y.test")
    assert record().key == ()
