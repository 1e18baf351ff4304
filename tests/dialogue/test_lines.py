"""Taking the client's next line."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.session import Leg
from tests.dialogue.peers import enveloped, forget_heard, greeted, lines, session


def test_lines_that_came_before_a_fin_are_still_taken() -> None:
    memory = greeted(session())
    memory.from_client(b"RCPT TO:<x@y.example>\r\nNOOP\r\nNO")
    memory.feed(events.Closed(Leg.CLIENT))
    assert [line[:3] for line in lines(memory.client_heard)] == ["503", "250"]
    assert memory.ended


def test_a_fin_waits_for_the_replies_that_are_under_way() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<x@y.example>\r\n")
    memory.feed(events.Closed(Leg.CLIENT))
    assert not memory.ended
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.client_heard) == ["250 ok"]
    assert memory.ended


def test_single_octets_do_not_move_the_deadline() -> None:
    memory = greeted(session())
    for _ in range(29):
        memory.pass_time(10)
        memory.from_client(b"N")
    assert not memory.ended
    memory.pass_time(11)
    assert memory.ended


def test_the_deadline_begins_with_the_last_reply() -> None:
    memory = enveloped(greeted(session()), recipients=0)
    memory.from_client(b"RCPT TO:<x@y.example>\r\n")
    memory.pass_time(250)
    memory.from_client(b"NO")
    memory.pass_time(40)
    memory.from_upstream(b"450 later\r\n")
    memory.pass_time(200)
    memory.from_client(b"OP")
    memory.pass_time(99)
    assert not memory.ended
    memory.pass_time(2)
    assert memory.ended


@pytest.mark.parametrize(
    ("octets", "codes"),
    [(b"", ["421"]), (b"NO", ["421"]), (b"NOOP\r\nNOOP\r\n", ["250", "250", "421"])],
    ids=repr,
)
def test_a_stop_takes_what_is_there_and_nothing_more(
    octets: bytes, codes: list[str]
) -> None:
    memory = forget_heard(greeted(session()))
    memory.from_client(octets)
    memory.feed(events.Stopping())
    assert [line[:3] for line in lines(memory.client_heard)] == codes
    assert memory.ended
