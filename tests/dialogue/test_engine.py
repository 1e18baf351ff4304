"""The driver: events in, effects out, deadlines, bounds."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import Dialogue, effects, events
from smtpguard.dialogue.engine import HIGH_WATER, LOW_WATER, MERGED_OCTETS
from smtpguard.model.content import MemorySpool
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, Settings
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    greeted,
    lines,
    new_facts,
    secured,
    session,
)


def dialogue() -> Dialogue:
    return Dialogue(new_facts(), Rules(), new_spool=MemorySpool, own_name="gärd")


def test_nothing_is_due_before_the_start_and_after_the_end() -> None:
    d = dialogue()
    due = [d.deadline]
    for event in (events.Started(), events.Closed(Leg.CLIENT, reset=True)):
        d.handle(event, 10.0)
        due.append(d.deadline)
    assert d.ended
    assert due == [None, 40.0, None]


def test_an_own_name_that_is_not_ascii_is_made_so() -> None:
    assert dialogue().own_name == b"g?rd"


def test_events_before_their_time_do_no_harm() -> None:
    d = dialogue()
    for event in (
        events.Received(Leg.UPSTREAM, b"220 hi\r\n"),
        events.Closed(Leg.UPSTREAM),
        events.Opened(),
        events.Drained(Leg.UPSTREAM),
        events.CommandJudged(None),
        events.TlsFinished(Leg.UPSTREAM, error="what"),
        events.Judged("s1.1", None),
        events.HelloReceived("x"),
        events.Woke(),
    ):
        assert d.handle(event, 1.0) == []


def test_the_end_is_told_once_and_nothing_follows_it() -> None:
    memory = connected(session())
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.ended
    for event in (
        events.Received(Leg.CLIENT, b"NOOP\r\n"),
        events.Received(Leg.UPSTREAM, b"220 hi\r\n"),
        events.Closed(Leg.CLIENT),
        events.Stopping(),
        events.Woke(),
    ):
        assert memory.dialogue.handle(event, memory.now) == []
    assert len(memory.dialogue.client.receiver) == 0


def test_what_is_abandoned_hands_its_effects_out_and_says_no_more() -> None:
    d = connected(session()).dialogue
    said = effects.Send(Leg.CLIENT, b"250 2.0.0 OK\r\n")
    d.emit(said)
    assert d.abandon() == [said]
    assert (d.ended, d.deadline) == (True, None)
    assert d.handle(events.Received(Leg.CLIENT, b"NOOP\r\n"), 99.0) == []


def test_what_is_said_in_a_row_leaves_in_one_piece() -> None:
    memory = connected(session())
    done = memory.dialogue.handle(events.Received(Leg.CLIENT, b"NOOP\r\n" * 3), 1000.0)
    assert done == [effects.Send(Leg.CLIENT, b"250 2.0.0 OK\r\n" * 3)]


def test_pieces_do_not_grow_without_end() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<%d@d.example>\r\n" * 80 % tuple(range(80)))
    told = b"250 " + b"x" * 2000 + b"\r\n"
    event = events.Received(Leg.UPSTREAM, told * 80)
    done = memory.dialogue.handle(event, memory.now)
    sizes = [len(effect.data) for effect in done if isinstance(effect, effects.Send)]
    assert sum(sizes) == 80 * len(told)
    assert max(sizes) <= MERGED_OCTETS


def test_reading_goes_on_below_the_low_water_only() -> None:
    rules = Rules(Settings(limits=Limits(commands=1000)))
    memory = enveloped(greeted(session(rules, judge=None)))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    command = b"NOOP " + b"x" * 1000 + b"\r\n"
    count = HIGH_WATER // len(command) + 1
    event = events.Received(Leg.CLIENT, command * count)
    assert effects.PauseReading() in memory.dialogue.handle(event, memory.now)
    happened: list[events.Event] = [
        events.Judged(asked.transaction.id, None),
        events.Received(Leg.UPSTREAM, b"250 reset\r\n"),
        *[events.Drained(Leg.CLIENT)] * 10,
    ]
    while True:
        assert len(memory.dialogue.client.receiver) > LOW_WATER
        done = memory.dialogue.handle(happened.pop(0), memory.now)
        if effects.ResumeReading() in done:
            break
    assert len(memory.dialogue.client.receiver) < LOW_WATER


def test_marks_tell_of_connections_and_handshakes() -> None:
    memory = secured(session())
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.feed(events.Closed(Leg.CLIENT))
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    marks = [
        (entry.direction, entry.octets.decode())
        for entry in memory.dialogue.transcript.entries
        if entry.kind == "mark"
    ]
    assert marks == [
        ("s", "open"),
        ("S", "tls TLSv1.3"),
        ("C", "tls TLSv1.3"),
        ("S", "closed"),
        ("s", "closed"),
        ("C", "closed"),
        ("c", "closed"),
    ]


def test_a_reset_after_a_fin_is_another_mark() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.feed(events.Closed(Leg.CLIENT))
    memory.feed(events.Closed(Leg.CLIENT))
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    marks = [e.octets for e in memory.dialogue.transcript.entries if e.direction == "C"]
    assert marks[-2:] == [b"closed", b"reset"]


def test_after_a_reset_nothing_is_said_to_the_client() -> None:
    memory = connected(session())
    memory.client_heard.clear()
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert not memory.client_heard
    assert lines(memory.upstream_heard) == ["QUIT"]


@pytest.mark.parametrize("leg", list(Leg))
def test_a_wakeup_too_early_changes_nothing(leg: Leg) -> None:
    memory = greeted(session())
    before = memory.dialogue.deadline
    assert before is not None
    memory.now = before - 0.001
    memory.feed(events.Woke())
    assert memory.dialogue.deadline == before
    assert leg not in memory.closed


def test_the_greeting_is_not_awaited_for_ever_by_a_stop() -> None:
    memory = session()
    memory.start()
    memory.opened()
    memory.feed(events.Stopping())
    memory.pass_time(61)
    assert lines(memory.client_heard) == ["421 4.3.2 Service shutting down"]
    assert memory.ended


def test_a_stop_lets_a_goodbye_end() -> None:
    memory = greeted(session())
    memory.from_client(b"QUIT\r\n")
    memory.feed(events.Stopping())
    before = memory.ended
    memory.from_upstream(b"221 bye\r\n")
    assert (before, memory.ended) == (False, True)
    assert lines(memory.client_heard) == ["221 2.0.0 Bye"]
