"""What is saved of a dialogue that a fault broke off: records, doubts, storage."""

from __future__ import annotations

import logging

import pytest

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.dialogue.engine import HIGH_WATER
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.proxy.layer import INTERNAL_ERROR
from smtpguard.proxy.salvage import IN_DOUBT, Saved, break_off
from smtpguard.proxy.spool import Budget, FileSpool
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import Rules, enveloped, greeted, session, with_data


MAIL = b"Subject: x\r\n\r\nhello\r\n.\r\n"


def broken(memory: MemorySession) -> list[Saved]:
    """Break a session off between two events."""
    return break_off(memory.dialogue, [], 0, INTERNAL_ERROR)


def records(saved: list[Saved]) -> list[tuple[Outcome, str]]:
    return [
        (each.record.outcome, each.record.in_doubt)
        for each in saved
        if isinstance(each, effects.TransactionEnded)
    ]


def at_verdict(memory: MemorySession) -> MemorySession:
    with_data(enveloped(greeted(memory))).from_client(MAIL)
    return memory


def test_a_session_without_a_transaction_leaves_nothing() -> None:
    assert broken(greeted(session())) == []


def test_a_transaction_without_a_message_leaves_nothing() -> None:
    assert broken(enveloped(greeted(session()))) == []


@pytest.mark.parametrize(
    ("upstream", "doubt"),
    [
        pytest.param([], "", id="DATA is out"),
        pytest.param([b"354 go\r\n"], IN_DOUBT, id="message is out"),
    ],
)
def test_a_message_is_in_doubt_once_its_end_has_gone_up(
    upstream: list[bytes], doubt: str
) -> None:
    memory = at_verdict(session())
    for reply in upstream:
        memory.from_upstream(reply)
    saved = broken(memory)

    assert records(saved) == [(Outcome.DEFERRED, doubt)]
    logs = [each for each in saved if isinstance(each, effects.Log)]
    wanted = effects.Log(logging.WARNING, f"s1.1: in doubt: {IN_DOUBT}")
    assert logs == ([wanted] if doubt else [])


def test_a_fault_right_after_the_upstreams_250_is_a_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = at_verdict(session())
    memory.from_upstream(b"354 go\r\n")

    def fault(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("smtpguard.dialogue.delivery.finish", fault)
    with pytest.raises(RuntimeError):
        memory.from_upstream(b"250 queued\r\n")

    assert records(broken(memory)) == [(Outcome.DEFERRED, IN_DOUBT)]


@pytest.mark.parametrize(
    "refusal", [b"550 no\r\n", b"452 full\r\n", b"421 bye\r\n"], ids=bytes.decode
)
def test_a_refusal_of_the_upstream_is_no_doubt(
    monkeypatch: pytest.MonkeyPatch, refusal: bytes
) -> None:
    memory = at_verdict(session())
    memory.from_upstream(b"354 go\r\n")

    def fault(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("smtpguard.dialogue.delivery.finish", fault)
    with pytest.raises(RuntimeError):
        memory.from_upstream(refusal)

    assert records(broken(memory)) == [(Outcome.DEFERRED, "")]


def test_an_upstream_that_went_away_in_silence_keeps_its_own_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = at_verdict(session())
    memory.from_upstream(b"354 go\r\n")

    def fault(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("smtpguard.dialogue.delivery.finish", fault)
    with pytest.raises(RuntimeError):
        memory.feed(happenings.Closed(Leg.UPSTREAM, reset=False))

    doubt = "upstream silent after the final dot"
    assert records(broken(memory)) == [(Outcome.DEFERRED, doubt)]


REDIAL = [b"220 mx.example ESMTP\r\n", b"250 mx.example\r\n", b"250 ok\r\n"]
"""The greeting, and the answers to EHLO and MAIL."""


@pytest.mark.parametrize("replies", range(len(REDIAL) + 1))
def test_an_upstream_that_is_dialled_again_has_nothing_yet(replies: int) -> None:
    """It is idle and without a transaction, as after a 250 to the final dot."""
    memory = at_verdict(session(judge=None))
    memory.feed(happenings.Closed(Leg.UPSTREAM, reset=False))
    memory.feed(happenings.Judged("s1.1", Disposition(Outcome.RELAYED)))
    memory.opened()
    for reply in REDIAL[:replies]:
        memory.from_upstream(reply)

    assert records(broken(memory)) == [(Outcome.DEFERRED, "")]


def test_a_message_in_quarantine_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream never sees it; whoever sends it again has it quarantined twice."""
    taken = Disposition(Outcome.QUARANTINED, reply=Reply.make(250, "2.0.0", "OK"))
    memory = session(Rules(verdict=lambda *_: taken))

    def fault(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("smtpguard.dialogue.delivery.finish", fault)
    with pytest.raises(RuntimeError):
        at_verdict(memory)

    assert records(broken(memory)) == [(Outcome.DEFERRED, IN_DOUBT)]


def test_what_the_dialogue_had_not_said_yet_is_on_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next command, in the same segment, broke before the 250 was handed on."""
    memory = at_verdict(session())
    memory.from_upstream(b"354 go\r\n")
    memory.from_client(b"NOOP\r\n")

    def fault(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("smtpguard.dialogue.verbs.read_command", fault)
    with pytest.raises(RuntimeError):
        memory.from_upstream(b"250 queued\r\n")
    saved = broken(memory)

    assert memory.records == []
    assert records(saved) == [(Outcome.RELAYED, IN_DOUBT)]
    assert broken(memory) == []


@pytest.mark.parametrize("ending", ["with a dot", "without"])
def test_the_storage_of_a_message_is_given_back(ending: str) -> None:
    budget = Budget(1000)
    memory = session(new_spool=lambda: FileSpool(None, budget))
    if ending == "with a dot":
        at_verdict(memory)
    else:
        with_data(enveloped(greeted(memory))).from_client(MAIL[:-3])
    assert budget.left < 1000
    broken(memory)

    assert budget.left == 1000


def test_a_message_that_nobody_was_asked_about_gives_its_storage_back() -> None:
    """The question itself was cut off: no verdict will ever come."""
    budget = Budget(1000)
    memory = session(new_spool=lambda: FileSpool(None, budget), judge=None)
    with_data(enveloped(greeted(memory)))
    octets = happenings.Received(Leg.CLIENT, MAIL)
    batch = memory.dialogue.handle(octets, memory.now)
    assert budget.left < 1000
    saved = break_off(memory.dialogue, batch, 0, INTERNAL_ERROR)

    assert records(saved) == [(Outcome.DEFERRED, "")]
    assert budget.left == 1000
    assert memory.dialogue.judging == {}


def test_a_message_that_is_being_judged_keeps_its_storage_until_then() -> None:
    budget = Budget(1000)
    memory = at_verdict(session(new_spool=lambda: FileSpool(None, budget), judge=None))
    assert records(broken(memory)) == [(Outcome.DEFERRED, "")]
    assert budget.left < 1000
    late = happenings.Judged("s1.1", Disposition(Outcome.RELAYED))
    said = memory.dialogue.handle(late, memory.now)

    assert budget.left == 1000
    assert said == []


def test_a_session_that_was_broken_off_does_nothing_any_more() -> None:
    """Whatever would go on from there may be the fault."""
    memory = greeted(session())
    broken(memory)
    flood = happenings.Received(Leg.CLIENT, b"NOOP\r\n" * HIGH_WATER)

    assert memory.dialogue.ended
    assert memory.dialogue.handle(flood, memory.now) == []
    assert memory.dialogue.handle(happenings.Stopping(), memory.now) == []
    assert memory.dialogue.deadline is None
