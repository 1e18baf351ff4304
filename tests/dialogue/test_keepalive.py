"""NOOPs to an upstream that waits for DATA: where, how often, how many."""

from __future__ import annotations

import pytest

from smtpguard.model.settings import Deadlines, Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import Rules, enveloped, forget_heard, greeted, session


PATIENT = Rules(
    Settings(
        deadlines=Deadlines(
            command=10_000, verdict=10_000, final_reply=10_000, data=9_000
        )
    )
)


def noops(memory: MemorySession, seconds: int) -> int:
    """Return how many NOOPs are said meanwhile, each answered after a second."""
    count = 0
    for _ in range(seconds):
        memory.pass_time(1)
        if memory.upstream_heard.endswith(b"NOOP\r\n"):
            memory.upstream_heard.clear()
            memory.from_upstream(b"250 ok\r\n")
            count += 1
    return count


def test_before_rcpt_and_between_transactions_nothing_is_said() -> None:
    memory = greeted(session(PATIENT))
    assert noops(memory, 500) == 0
    enveloped(memory, recipients=0)
    assert noops(memory, 500) == 0


def test_while_a_message_comes_in_the_upstream_is_kept() -> None:
    memory = enveloped(greeted(session(PATIENT)))
    memory.from_client(b"DATA\r\nbegun")
    assert noops(memory, 300) == 2


def test_four_a_transaction_and_eight_a_connection() -> None:
    memory = greeted(session(PATIENT))
    for expected in (4, 4, 0):
        enveloped(memory)
        assert noops(memory, 800) == expected
        memory.from_client(b"RSET\r\n")
        memory.from_upstream(b"250 ok\r\n")
        forget_heard(memory)


def test_a_transaction_without_a_standing_recipient_is_not_kept() -> None:
    memory = enveloped(greeted(session(PATIENT)), recipients=0)
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"550 no\r\n")
    forget_heard(memory)
    assert noops(memory, 500) == 0


def test_a_command_puts_it_off() -> None:
    memory = enveloped(greeted(session(PATIENT)))
    assert noops(memory, 119) == 0
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    forget_heard(memory)
    assert noops(memory, 119) == 0
    assert noops(memory, 2) == 1


@pytest.mark.parametrize("reply", [b"500 what\r\n", b"451 busy\r\n"])
def test_an_upstream_that_knows_no_noop_is_kept_all_the_same(reply: bytes) -> None:
    memory = enveloped(greeted(session(PATIENT)))
    memory.pass_time(121)
    memory.from_upstream(reply)
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    assert memory.upstream_heard.endswith(b"DATA\r\n")


def test_after_the_upstreams_354_nothing_but_the_message_is_said() -> None:
    memory = enveloped(greeted(session(PATIENT)))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    forget_heard(memory)
    memory.pass_time(500)
    assert not memory.upstream_heard
