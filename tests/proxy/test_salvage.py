"""What is saved of a dialogue that a fault broke off: records, doubts, storage."""

from __future__ import annotations

import logging

import pytest

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.proxy.layer import INTERNAL_ERROR
from smtpguard.proxy.salvage import IN_DOUBT, Saved, break_off
from smtpguard.proxy.spool import Budget, FileSpool
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import enveloped, greeted, session, with_data


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


def test_a_refusal_of_the_upstream_is_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = at_verdict(session())
    memory.from_upstream(b"354 go\r\n")

    def fault(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("smtpguard.dialogue.delivery.finish", fault)
    with pytest.raises(RuntimeError):
        memory.from_upstream(b"550 no\r\n")

    assert records(broken(memory)) == [(Outcome.DEFERRED, "")]


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


def test_a_message_that_is_being_judged_keeps_its_storage_until_then() -> None:
    budget = Budget(1000)
    memory = at_verdict(session(new_spool=lambda: FileSpool(None, budget), judge=None))
    assert records(broken(memory)) == [(Outcome.DEFERRED, "")]
    assert budget.left < 1000
    late = happenings.Judged("s1.1", Disposition(Outcome.RELAYED))
    said = memory.dialogue.handle(late, memory.now)

    assert budget.left == 1000
    assert said == []
