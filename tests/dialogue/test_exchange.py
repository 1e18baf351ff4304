"""Commands to the upstream, and taking leave of it."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.dialogue.exchange import RESETS_A_CONNECTION, leave, reset, usable
from smtpguard.dialogue.waits import UpstreamLost
from smtpguard.model.session import Leg
from tests.dialogue.peers import enveloped, forget_heard, greeted, lines, session


def test_without_an_upstream_there_is_none_to_use() -> None:
    with pytest.raises(UpstreamLost, match="not connected"):
        usable(session().dialogue)


def test_a_lost_upstream_says_why_it_cannot_be_used() -> None:
    memory = greeted(session())
    memory.feed(events.Closed(Leg.UPSTREAM))
    with pytest.raises(UpstreamLost, match="upstream closed the connection"):
        usable(memory.dialogue)


def test_leaving_twice_says_quit_once() -> None:
    memory = greeted(session())
    leave(memory.dialogue, "enough")
    leave(memory.dialogue, "enough again")
    memory.pass_time(0)
    assert lines(memory.upstream_heard) == ["QUIT"]
    assert memory.dialogue.upstream is not None
    assert memory.dialogue.upstream.lost == "enough"


def test_nothing_is_left_or_undone_before_there_is_an_upstream() -> None:
    memory = session()
    leave(memory.dialogue, "nothing there")
    reset(memory.dialogue)
    assert memory.dialogue._out == []


def test_there_is_nothing_to_undo_outside_a_transaction() -> None:
    memory = greeted(session())
    reset(memory.dialogue)
    assert memory.dialogue._out == []


def test_what_was_undone_once_is_not_undone_again() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RSET\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RSET\r\nRSET\r\n")
    assert lines(memory.upstream_heard) == ["RSET"]
    assert not memory.ended


def test_an_upstream_is_not_asked_to_undo_for_ever() -> None:
    """Postfix slows down and then refuses who says RSET a hundred times."""
    memory = greeted(session())
    for _ in range(RESETS_A_CONNECTION + 1):
        enveloped(memory)
        memory.from_client(b"RSET\r\n")
        assert lines(memory.client_heard) == ["250 2.0.0 OK"]
        if memory.upstream_heard == b"QUIT\r\n":
            break
        memory.from_upstream(b"250 ok\r\n")
    else:
        pytest.fail("never dialled again")
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert memory.opens == 2


def test_within_a_message_only_closing_undoes_it() -> None:
    memory = enveloped(greeted(session()))
    assert memory.dialogue.upstream is not None
    memory.dialogue.upstream.in_data = True
    reset(memory.dialogue)
    memory.pass_time(0)
    assert not memory.upstream_heard
    assert Leg.UPSTREAM in memory.closed


def test_a_lost_upstream_is_closed_at_once() -> None:
    """Not only when the client does something again."""
    memory = forget_heard(greeted(session()))
    memory.from_upstream(b"250 nobody asked\r\n")
    assert Leg.UPSTREAM in memory.closed
    assert not memory.ended


def test_an_upstream_that_is_silent_about_rset_is_lost() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RSET\r\n")
    memory.pass_time(301)
    assert Leg.UPSTREAM in memory.closed
