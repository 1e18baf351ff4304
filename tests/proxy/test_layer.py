"""The SMTP layer with a scripted dialogue: mitmproxy's side of it alone."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import tcp
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.tcp import TcpMessageInjected

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.session import Leg
from smtpguard.proxy.layer import SmtpLayer
from smtpguard.proxy.services import ClientGone, Drain, Drained, StopRequested
from smtpguard.proxy.sessionflow import UNRECORDED
from smtpguard.proxy.starttls import ClientTls, UpstreamTls
from tests.proxy.fakes import (
    HEARD,
    FakeDialogue,
    FakePacing,
    FakeRecorder,
    ended_record,
    new_services,
)
from tests.proxy.playbook import World, make_context


class FakeTransaction:
    """As much of a transaction as the layer touches."""

    def __init__(self) -> None:
        self.id = "5f3a.1"
        self.envelope = object()
        self.content = MemorySpool()


class Stage:
    """A layer on stage: what the dialogue is to do stands in ``on``."""

    def __init__(self, tmp: Path, *, heard: Iterable[str] = HEARD) -> None:
        self.context = make_context(server_open=False)
        self.world = World(self.context)
        self.world.is_partial = True
        self.on: dict[type, list[effects.Effect]] = {}
        self.dialogue = FakeDialogue(self._script)
        self.recorders: list[FakeRecorder] = []
        self.services = new_services(
            tmp, self.world.clock, heard=heard, recorders=self.recorders
        )
        self.pacing = self.services.pacing
        assert isinstance(self.pacing, FakePacing)
        self.ends = 0
        self.upstream = UpstreamTls(self.context)
        self.client_tls = ClientTls(self.context)
        self.smtp = SmtpLayer(
            self.context,
            self.dialogue.as_dialogue(),
            self.services,
            self.upstream,
            self._count_end,
        )
        self.flow = self.smtp.session_flow.flow
        self.upstream.child_layer = self.client_tls
        self.client_tls.child_layer = self.smtp

    def _script(self, event: happenings.Event) -> list[effects.Effect]:
        if isinstance(event, happenings.Woke):
            self.dialogue.deadline = None
        return self.on.pop(type(event), [])

    def _count_end(self) -> None:
        self.ends += 1

    def start(self, *todo: effects.Effect) -> Stage:
        self.on[happenings.Started] = list(todo)
        self.world.start(self.upstream)
        return self

    def say(self, *todo: effects.Effect) -> Stage:
        """Have the dialogue do something now."""
        self.on[happenings.Received] = list(todo)
        self.world.receive(self.context.client, b"x\r\n")
        return self

    @property
    def client(self) -> Any:
        return self.context.client

    @property
    def server(self) -> Server:
        return self.context.server

    def names(self) -> list[str]:
        return [hook.name for hook in self.world.hooks]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


# -- events and effects ----------------------------------------------------------------


def test_start_begins_the_flow_and_the_dialogue(stage: Stage) -> None:
    stage.start(effects.Send(Leg.CLIENT, b"220 hi\r\n"))

    assert stage.names() == ["tcp_start"]
    assert stage.dialogue.seen == [happenings.Started()]
    assert stage.world.take(stage.client) == b"220 hi\r\n"
    assert stage.flow.live


def test_octets_of_both_legs_reach_the_dialogue(stage: Stage) -> None:
    stage.start(effects.OpenUpstream())
    stage.world.receive(stage.server, b"220 mx\r\n")
    stage.world.receive(stage.client, b"EHLO a\r\n")

    assert stage.dialogue.of(happenings.Received) == [
        happenings.Received(Leg.UPSTREAM, b"220 mx\r\n"),
        happenings.Received(Leg.CLIENT, b"EHLO a\r\n"),
    ]


def test_the_dialogue_gets_the_time_of_each_event(stage: Stage) -> None:
    stage.start()
    stage.world.clock.now += 7
    stage.world.receive(stage.client, b"x")

    assert stage.dialogue.times == [1000.0, 1007.0]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
def test_a_close_tells_fin_from_rst(stage: Stage, reset: bool) -> None:
    stage.start()
    if reset:
        stage.pacing.reset.add(stage.client.id)  # type: ignore[attr-defined]
    stage.world.close(stage.client)

    assert stage.dialogue.of(happenings.Closed) == [
        happenings.Closed(Leg.CLIENT, reset)
    ]


def test_effects_on_a_leg_that_we_closed_are_ignored(stage: Stage) -> None:
    stage.start(
        effects.Close(Leg.CLIENT),
        effects.Send(Leg.CLIENT, b"late"),
        effects.Close(Leg.CLIENT),
        effects.Send(Leg.UPSTREAM, b"nobody there"),
    )

    assert stage.world.take(stage.client) == b""
    assert stage.world.closed == [stage.client.id]
    assert stage.dialogue.of(happenings.Closed) == []


def test_log_lines_are_printable_whatever_they_hold(stage: Stage) -> None:
    stage.start(effects.Log(logging.INFO, "bad\x1b[31m\r\nforged \udcff line"))

    (line,) = [text for _, text in stage.world.logs]
    assert line == "bad\\x1b[31m\\r\\nforged \\udcff line"


def test_stopping_is_passed_on(stage: Stage) -> None:
    stage.start()
    stage.world.feed(StopRequested())

    assert stage.dialogue.seen[-1] == happenings.Stopping()


def test_injected_messages_are_refused_visibly(stage: Stage) -> None:
    stage.start()
    message = tcp.TCPMessage(True, b"MAIL FROM:<evil@example>\r\n")
    stage.world.feed(TcpMessageInjected(stage.flow, message))

    assert stage.dialogue.of(happenings.Received) == []
    assert "cannot be injected" in stage.world.logged()


def test_effects_of_an_event_come_before_those_of_what_they_cause(
    stage: Stage,
) -> None:
    """A handshake that fails at once answers while the dialogue still speaks."""
    stage.start(effects.OpenUpstream())
    stage.world.close(stage.server)
    stage.on[happenings.TlsFinished] = [effects.Send(Leg.CLIENT, b"second\r\n")]
    stage.say(
        effects.StartTls(Leg.UPSTREAM, "mx.example"),
        effects.Send(Leg.CLIENT, b"first\r\n"),
    )

    assert stage.world.take(stage.client) == b"first\r\nsecond\r\n"


# -- the upstream ----------------------------------------------------------------------


def test_opening_does_not_pause_the_layer(stage: Stage) -> None:
    stage.world.hold_openings = True
    stage.start(effects.OpenUpstream())
    stage.world.receive(stage.client, b"early")

    assert stage.dialogue.of(happenings.Received)
    assert stage.dialogue.of(happenings.Opened) == []


@pytest.mark.parametrize("error", [None, "Connection refused"], ids=["well", "error"])
def test_the_end_of_an_opening_is_told(stage: Stage, error: str | None) -> None:
    stage.world.open_errors.append(error)
    stage.start(effects.OpenUpstream())

    assert stage.dialogue.of(happenings.Opened) == [happenings.Opened(error)]


def test_a_connection_that_is_open_already_is_used(tmp_path: Path) -> None:
    """socks5: mitmproxy connects before it knows what is spoken."""
    from mitmproxy.connection import ConnectionState

    stage = Stage(tmp_path)
    stage.server.state = ConnectionState.OPEN
    stage.world.connections[stage.server.id] = stage.server
    stage.start(effects.OpenUpstream())

    assert stage.world.opened == []
    assert stage.dialogue.of(happenings.Opened) == [happenings.Opened(None)]


def test_dialling_again_uses_a_new_connection_in_clear(stage: Stage) -> None:
    """mitmproxy cannot open a Server object twice: it crashes and everybody hangs."""
    stage.start(effects.OpenUpstream())
    old = stage.server
    stage.say(effects.Close(Leg.UPSTREAM), effects.OpenUpstream())

    assert stage.server is not old
    assert stage.server.address == old.address
    assert stage.flow.server_conn is stage.server
    assert stage.world.opened == [old, stage.server]
    stage.say(effects.Send(Leg.UPSTREAM, b"EHLO again\r\n"))
    assert stage.world.take(stage.server) == b"EHLO again\r\n"


def test_a_connection_that_was_dialled_again_can_be_encrypted(stage: Stage) -> None:
    """The TLS layer must have let go of the old one."""
    stage.start(effects.OpenUpstream())
    stage.say(effects.Close(Leg.UPSTREAM), effects.OpenUpstream())
    stage.world.handlers["tls_start_server"] = lambda data: offered.append(data.conn)
    offered: list[object] = []
    stage.say(effects.StartTls(Leg.UPSTREAM, "mx.example"))

    assert offered == [stage.server]
    (finished,) = stage.dialogue.of(happenings.TlsFinished)
    assert finished.leg is Leg.UPSTREAM


def test_events_of_a_replaced_connection_are_ignored(stage: Stage) -> None:
    stage.start(effects.OpenUpstream())
    old = stage.server
    stage.say(effects.Close(Leg.UPSTREAM), effects.OpenUpstream())
    seen = len(stage.dialogue.seen)
    stage.world.feed(events.DataReceived(old, b"250 ghost\r\n"))
    stage.world.feed(events.ConnectionClosed(old))

    assert len(stage.dialogue.seen) == seen


def test_an_opening_that_was_given_up_is_not_told(stage: Stage) -> None:
    """The connect deadline: Close, then the cancelled opening ends with an error."""
    stage.world.hold_openings = True
    stage.start(effects.OpenUpstream())
    (first,) = stage.world.pending
    stage.say(effects.Close(Leg.UPSTREAM), effects.OpenUpstream())
    stage.world.answer(first, "closed by command")

    assert stage.dialogue.of(happenings.Opened) == []


def test_nothing_is_opened_for_a_client_that_has_gone(stage: Stage) -> None:
    """mitmproxy would never close that connection again (traps 3)."""
    stage.start()
    stage.on[happenings.Closed] = [effects.OpenUpstream()]
    stage.world.feed(ClientGone())

    assert stage.world.opened == []
    assert stage.dialogue.of(happenings.Opened) == [
        happenings.Opened("the client has gone")
    ]


def test_a_failed_handshake_closes_the_leg_for_the_dialogue(stage: Stage) -> None:
    stage.start(effects.OpenUpstream())
    stage.say(effects.StartTls(Leg.UPSTREAM, "mx.example"))
    stage.say(effects.Close(Leg.UPSTREAM))

    (finished,) = stage.dialogue.of(happenings.TlsFinished)
    assert finished.leg is Leg.UPSTREAM
    assert finished.error == "no TLS context was provided"
    assert stage.world.closed.count(stage.server.id) == 1


# -- timers ----------------------------------------------------------------------------


def test_the_dialogue_is_woken_at_its_deadline(stage: Stage) -> None:
    stage.dialogue.deadline = 1030.0
    stage.start()
    stage.world.wake(29.0)
    assert stage.dialogue.of(happenings.Woke) == []
    stage.world.wake(1.0)

    assert stage.dialogue.of(happenings.Woke) == [happenings.Woke()]


def test_a_later_deadline_needs_no_further_timer(stage: Stage) -> None:
    """Wakeups cannot be taken back: one for each command would pile up."""
    stage.dialogue.deadline = 1300.0
    stage.start()
    for _ in range(100):
        stage.world.clock.now += 1
        stage.dialogue.deadline += 1
        stage.world.receive(stage.client, b"NOOP\r\n")
    assert len(stage.world.wakeups) == 1
    stage.world.wake(200.0)

    assert stage.dialogue.of(happenings.Woke) == []
    assert len(stage.world.wakeups) == 1
    stage.world.wake(101.0)
    assert stage.dialogue.of(happenings.Woke)


def test_an_earlier_deadline_gets_a_timer_of_its_own(stage: Stage) -> None:
    stage.dialogue.deadline = 1300.0
    stage.start()
    stage.dialogue.deadline = 1030.0
    stage.world.receive(stage.client, b"STARTTLS\r\n")
    stage.world.wake(30.0)

    assert stage.dialogue.of(happenings.Woke) == [happenings.Woke()]


def test_a_deadline_that_stays_in_the_past_does_not_spin(stage: Stage) -> None:
    stage.dialogue.deadline = 900.0
    stage.dialogue.script = lambda event: []
    stage.start()
    stage.world.wake(1.0)

    assert 1 <= len(stage.dialogue.of(happenings.Woke)) <= 101


def test_no_deadline_means_no_timer(stage: Stage) -> None:
    stage.start()

    assert stage.world.wakeups == []


# -- asking others ---------------------------------------------------------------------


def ask_verdict(stage: Stage) -> FakeTransaction:
    transaction = FakeTransaction()
    stage.say(effects.AskVerdict(transaction))  # type: ignore[arg-type]
    return transaction


def test_a_verdict_is_asked_for_without_pausing(stage: Stage) -> None:
    stage.world.held_hooks = {"smtp_message"}
    stage.start()
    transaction = ask_verdict(stage)
    stage.world.receive(stage.client, b"meanwhile")
    (data,) = stage.world.raised("smtp_message")

    assert data.transaction is transaction
    assert data.envelope is transaction.envelope
    assert data.content is transaction.content
    assert stage.dialogue.seen[-1] == happenings.Received(Leg.CLIENT, b"meanwhile")


def test_the_disposition_is_handed_to_the_dialogue(stage: Stage) -> None:
    said = Disposition(Outcome.RELAYED)
    stage.world.handlers["smtp_message"] = lambda d: setattr(d, "disposition", said)
    stage.start()
    ask_verdict(stage)

    assert stage.dialogue.seen[-1] == happenings.Judged("5f3a.1", said)


def test_a_handler_that_says_nothing_leaves_it_undecided(stage: Stage) -> None:
    """mitmproxy swallows exceptions in hooks: this is what a crash looks like."""
    stage.start()
    ask_verdict(stage)

    assert stage.dialogue.seen[-1] == happenings.Judged("5f3a.1", None)


def test_where_nobody_else_listens_a_message_is_judged_on_the_spot(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, heard=[])
    said = Disposition(Outcome.RELAYED)

    def judge(data: Any) -> bool:
        data.disposition = said
        return True

    stage.smtp.services = replace(stage.services, judge_at_once=judge)
    stage.start()
    ask_verdict(stage)

    assert stage.world.raised("smtp_message") == []
    assert stage.dialogue.seen[-1] == happenings.Judged("5f3a.1", said)


def test_what_cannot_be_judged_on_the_spot_goes_through_the_hook(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, heard=[])
    stage.start()
    ask_verdict(stage)

    assert len(stage.world.raised("smtp_message")) == 1


def test_another_addon_that_listens_is_asked(stage: Stage) -> None:
    def judge(data: Any) -> bool:
        raise AssertionError("asked behind its back")

    stage.smtp.services = replace(stage.services, judge_at_once=judge)
    stage.start()
    ask_verdict(stage)

    assert len(stage.world.raised("smtp_message")) == 1


def test_a_verdict_after_the_end_is_told_and_only_logged(stage: Stage) -> None:
    """The dialogue waits for it to give the message's storage back."""
    stage.world.held_hooks = {"smtp_message"}
    stage.start()
    ask_verdict(stage)
    stage.say(effects.Close(Leg.CLIENT), effects.SessionEnded())
    before = len(stage.world.commands)
    stage.on[happenings.Judged] = [
        effects.Send(Leg.CLIENT, b"250 late\r\n"),
        effects.OpenUpstream(),
        effects.Log(logging.WARNING, "in doubt"),
    ]
    stage.world.answer(stage.world.held("smtp_message"))

    assert stage.dialogue.of(happenings.Judged) == [happenings.Judged("5f3a.1", None)]
    (said,) = stage.world.commands[before:]
    assert isinstance(said, commands.Log)
    assert stage.ends == 1


def test_a_reset_during_the_verdict_is_told_before_it(stage: Stage) -> None:
    """A paused transport tells nothing; the message must not go on for nobody."""
    stage.world.held_hooks = {"smtp_message"}
    stage.start()
    ask_verdict(stage)
    stage.pacing.reset.add(stage.client.id)  # type: ignore[attr-defined]
    stage.world.answer(stage.world.held("smtp_message"))

    assert stage.dialogue.seen[-2:] == [
        happenings.Closed(Leg.CLIENT, reset=True),
        happenings.Judged("5f3a.1", None),
    ]


def test_a_verdict_is_told_even_where_a_reset_ends_the_session(stage: Stage) -> None:
    """The dialogue gives the storage back, and tells of a quarantine in doubt."""
    stage.world.held_hooks = {"smtp_message"}
    stage.start()
    ask_verdict(stage)
    stage.pacing.reset.add(stage.client.id)  # type: ignore[attr-defined]
    stage.on[happenings.Closed] = [
        effects.Close(Leg.CLIENT),
        effects.SessionEnded(),
    ]
    stage.on[happenings.Judged] = [
        effects.Send(Leg.CLIENT, b"250 late\r\n"),
        effects.Log(logging.WARNING, "5f3a.1: in doubt"),
    ]
    stage.world.answer(stage.world.held("smtp_message"))

    assert stage.dialogue.of(happenings.Judged) == [happenings.Judged("5f3a.1", None)]
    assert "5f3a.1: in doubt" in stage.world.logged()
    assert stage.world.take(stage.client) == b""
    assert stage.ends == 1


def test_a_verdict_on_the_spot_outlives_a_fault(tmp_path: Path) -> None:
    """What follows the question in the same batch broke before it was handed over."""
    stage = Stage(tmp_path, heard=[])
    said = Disposition(Outcome.QUARANTINED)

    def judge(data: Any) -> bool:
        data.disposition = said
        return True

    stage.smtp.services = replace(stage.services, judge_at_once=judge)
    stage.start()
    stage.on[happenings.Judged] = [effects.Log(logging.WARNING, "5f3a.1: in doubt")]
    stage.say(
        effects.AskVerdict(FakeTransaction()),  # type: ignore[arg-type]
        "nonsense",  # type: ignore[arg-type]
    )

    assert stage.dialogue.seen[-1] == happenings.Judged("5f3a.1", said)
    assert "5f3a.1: in doubt" in stage.world.logged()


def test_a_verdict_on_the_spot_of_a_session_that_ends_is_told(tmp_path: Path) -> None:
    """The question and the session's end may be effects of one event."""
    stage = Stage(tmp_path, heard=[])
    stage.smtp.services = replace(stage.services, judge_at_once=lambda _: True)
    stage.start()
    stage.say(
        effects.AskVerdict(FakeTransaction()),  # type: ignore[arg-type]
        effects.SessionEnded(),
    )

    assert stage.dialogue.seen[-1] == happenings.Judged("5f3a.1", None)


def test_nothing_but_verdicts_reaches_a_dialogue_that_has_ended(stage: Stage) -> None:
    stage.start()
    stage.smtp._dead = True
    stage.say(effects.OpenUpstream(), effects.SessionEnded())

    assert stage.dialogue.of(happenings.Opened) == []


@pytest.mark.parametrize("leg", list(Leg))
def test_pacing_waits_until_the_legs_octets_have_left(stage: Stage, leg: Leg) -> None:
    stage.start(effects.OpenUpstream())
    stage.say(effects.Pace(leg))
    (drain,) = [c for c in stage.world.commands if isinstance(c, Drain)]
    expected = stage.server if leg is Leg.UPSTREAM else stage.client
    assert drain.connection is expected
    assert stage.dialogue.of(happenings.Drained) == []
    stage.world.feed(Drained(drain))

    assert stage.dialogue.of(happenings.Drained) == [happenings.Drained(leg)]


def test_both_legs_may_be_paced_at_once(stage: Stage) -> None:
    stage.start(effects.OpenUpstream())
    stage.say(effects.Pace(Leg.CLIENT), effects.Pace(Leg.UPSTREAM))
    drains = [c for c in stage.world.commands if isinstance(c, Drain)]
    for drain in drains:
        stage.world.feed(Drained(drain))

    told = [event.leg for event in stage.dialogue.of(happenings.Drained)]
    assert told == [Leg.CLIENT, Leg.UPSTREAM]


def test_a_drain_that_was_replaced_is_not_told(stage: Stage) -> None:
    stage.start(effects.OpenUpstream())
    pace = effects.Pace(Leg.UPSTREAM)
    stage.say(pace)
    stage.say(effects.Close(Leg.UPSTREAM), effects.OpenUpstream(), pace)
    first, second = [c for c in stage.world.commands if isinstance(c, Drain)]
    stage.world.feed(Drained(first))
    assert stage.dialogue.of(happenings.Drained) == []
    stage.world.feed(Drained(second))

    assert len(stage.dialogue.of(happenings.Drained)) == 1


def test_reading_is_paused_and_resumed(stage: Stage) -> None:
    stage.start(effects.PauseReading())
    stage.say(effects.ResumeReading())

    names = [name for name, conn in stage.pacing.calls if conn == stage.client.id]  # type: ignore[attr-defined]
    assert names == ["pause", "pause", "resume"]


def test_octets_while_paused_pause_again(stage: Stage) -> None:
    """asyncio's reader resumes the transport when its own buffer is empty."""
    stage.start(effects.PauseReading())
    stage.world.receive(stage.client, b"more")
    stage.world.receive(stage.client, b"and more")

    assert stage.pacing.count("pause") == 3  # type: ignore[attr-defined]


# -- the flow --------------------------------------------------------------------------


def test_the_end_is_told_once_and_last(tmp_path: Path) -> None:
    stage = Stage(tmp_path, heard=[*HEARD, "smtp_end"])
    stage.start()
    stage.say(effects.TransactionEnded(ended_record()))
    stage.say(effects.Close(Leg.CLIENT), effects.SessionEnded())

    assert stage.names() == ["tcp_start", "smtp_end", "tcp_end"]
    (data,) = stage.world.raised("smtp_end")
    assert data.records == [ended_record()]
    assert data.flow is stage.flow
    assert not stage.flow.live
    assert stage.ends == 1


def test_the_flow_ends_after_what_smtp_end_adds_to_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, heard=[*HEARD, "smtp_end"])
    stage.world.held_hooks = {"smtp_end"}
    stage.start(effects.SessionEnded())
    assert "tcp_end" not in stage.names()
    assert stage.ends == 0
    stage.world.answer(stage.world.held("smtp_end"))

    assert stage.names()[-1] == "tcp_end"
    assert stage.ends == 1


def test_a_flow_that_nobody_hears_of_is_ended_without_hooks(tmp_path: Path) -> None:
    stage = Stage(tmp_path, heard=[])
    stage.start()
    stage.say(effects.Close(Leg.CLIENT), effects.SessionEnded())

    assert stage.names() == []
    assert not stage.flow.live
    assert stage.recorders[0].told[-1] == "finish None"
    assert stage.ends == 1


def test_smtp_end_is_not_raised_for_nobody(stage: Stage) -> None:
    stage.start(effects.SessionEnded())

    assert stage.names() == ["tcp_start", "tcp_end"]


def test_each_transaction_is_logged_on_one_line(stage: Stage) -> None:
    stage.start()
    stage.say(effects.TransactionEnded(ended_record()))

    (line,) = [text for _, text in stage.world.logs]
    assert line.startswith("tx=5f3a.1 from=<a@client.example> to=<b@example.org>:250 ")


@pytest.mark.parametrize("heard", [True, False], ids=["listener", "nobody"])
def test_views_hear_of_a_transaction_if_there_are_any(
    tmp_path: Path, heard: bool
) -> None:
    stage = Stage(tmp_path, heard=[*HEARD, "tcp_message"] if heard else HEARD)
    stage.start()
    stage.say(effects.TransactionEnded(ended_record()))

    assert stage.names().count("tcp_message") == int(heard)


def test_the_recorder_sees_transactions_and_the_end(stage: Stage) -> None:
    stage.start()
    stage.say(effects.TransactionEnded(ended_record()))
    stage.say(effects.SessionEnded())

    (recorder,) = stage.recorders
    assert recorder.told == [
        "transaction 5f3a.1",
        "update",
        "update",
        "finish None",
    ]


def test_a_long_transcript_is_recorded_on_the_way(stage: Stage) -> None:
    stage.start()
    stage.dialogue.transcript.entries.extend([None] * (UNRECORDED + 1))  # type: ignore[list-item]
    stage.say()

    assert stage.recorders[0].told == ["update"]


def test_a_broken_recorder_costs_no_mail_its_reply(stage: Stage) -> None:
    stage.start()
    stage.recorders[0].broken = True
    stage.say(
        effects.TransactionEnded(ended_record()),
        effects.Send(Leg.CLIENT, b"250 ok\r\n"),
    )
    stage.say(effects.Close(Leg.CLIENT), effects.SessionEnded())

    assert stage.world.take(stage.client) == b"250 ok\r\n"
    assert stage.names()[-1] == "tcp_end"


# -- faults ----------------------------------------------------------------------------


class BrokenError(Exception):
    """What a bug would raise."""


def break_dialogue(stage: Stage) -> None:
    def broken(event: happenings.Event) -> list[effects.Effect]:
        raise BrokenError("\x1b[31mpeer's octets\r\n")

    stage.dialogue.script = broken


def test_an_exception_in_the_dialogue_ends_both_legs_with_421(stage: Stage) -> None:
    """In mitmproxy both sockets stay open, and the client waits for ten minutes."""
    stage.start(effects.OpenUpstream())
    break_dialogue(stage)
    stage.world.receive(stage.client, b"boom")

    assert stage.world.take(stage.client) == (
        b"421 4.3.0 Internal error, closing connection\r\n"
    )
    assert stage.world.closed == [stage.client.id, stage.server.id]
    assert stage.flow.error is not None
    assert stage.names()[-1] == "tcp_error"
    assert stage.ends == 1


def test_the_log_of_an_exception_is_escaped(stage: Stage) -> None:
    stage.start()
    break_dialogue(stage)
    stage.world.receive(stage.client, b"boom")

    assert "BrokenError" in stage.world.logged()
    assert "\x1b" not in stage.world.logged()
    assert "\r" not in stage.world.logged()


def test_what_a_fault_cut_off_is_on_record(stage: Stage) -> None:
    """The upstream has the mail and the client was not told: a duplicate may come."""
    stage.start()
    stage.say(
        "nonsense",  # type: ignore[arg-type]
        effects.TransactionEnded(ended_record()),
        effects.Send(Leg.CLIENT, b"250 ok\r\n"),
    )

    assert b"250" not in stage.world.take(stage.client)
    (line,) = [text for _, text in stage.world.logs if text.startswith("tx=")]
    assert ' in_doubt="fault of ours after the final dot"' in line
    assert 'reply="421 4.3.0 Internal error, closing connection"' in line
    assert "5f3a.1: in doubt: fault of ours after the final dot" in stage.world.logged()


def test_a_record_that_is_out_before_its_reply_is_doubted_in_the_log(
    stage: Stage,
) -> None:
    stage.start()
    stage.say(
        effects.TransactionEnded(ended_record()),
        "nonsense",  # type: ignore[arg-type]
        effects.Send(Leg.CLIENT, b"250 ok\r\n"),
    )

    assert [text[:3] for _, text in stage.world.logs].count("tx=") == 1
    assert "5f3a.1: in doubt: fault of ours after the final dot" in stage.world.logged()


@pytest.mark.parametrize("broken", [False, True], ids=["log", "fault"])
def test_addresses_are_kept_out_of_the_log(stage: Stage, broken: bool) -> None:
    options = replace(stage.services.options, log_addresses="none")
    stage.smtp.services = replace(stage.services, options=options)
    stage.start()
    if broken:

        def script(event: happenings.Event) -> list[effects.Effect]:
            raise BrokenError("550 <anna@d.example> unknown")

        stage.dialogue.script = script
    stage.say(effects.Log(logging.INFO, "upstream: 550 <anna@d.example> unknown"))

    assert "anna" not in stage.world.logged()
    assert "550 <hidden> unknown" in stage.world.logged()


def test_nothing_is_done_after_an_exception(stage: Stage) -> None:
    stage.start(effects.OpenUpstream())
    break_dialogue(stage)
    stage.world.receive(stage.client, b"boom")
    before = len(stage.world.commands)
    stage.world.receive(stage.client, b"again").feed(StopRequested()).feed(ClientGone())

    assert stage.world.commands[before:] == []


def test_an_unknown_effect_ends_the_session_too(stage: Stage) -> None:
    stage.start("nonsense")  # type: ignore[arg-type]

    assert stage.world.is_closed(stage.client)


def test_a_client_that_is_gone_unseen_is_a_reset(stage: Stage) -> None:
    stage.start()
    stage.world.close(stage.client)
    stage.world.feed(ClientGone())

    assert stage.dialogue.of(happenings.Closed) == [
        happenings.Closed(Leg.CLIENT, reset=False),
        happenings.Closed(Leg.CLIENT, reset=True),
    ]


def test_every_command_is_one_that_mitmproxy_knows(stage: Stage) -> None:
    """The TLS layers take theirs out; a plain relay would crash on them."""
    stage.start(effects.OpenUpstream())
    stage.say(effects.ContinueTls())

    known = (
        commands.SendData,
        commands.OpenConnection,
        commands.CloseConnection,
        commands.RequestWakeup,
        commands.StartHook,
        commands.Log,
    )
    assert all(isinstance(command, known) for command in stage.world.commands)
