"""The SMTP layer: mitmproxy's events into the dialogue, its effects into commands.

Holds no SMTP: what is said to whom is for ``dialogue``. Unlike mitmproxy's own layers
it never pauses. Hooks and connections are asked for with ``blocking = self``, which
keeps the layers below from waiting and brings the answer as an ordinary event; so
deadlines run, the upstream is kept alive and a client that leaves is seen while a
message is being judged.

An exception must not leave two open sockets behind (mitmproxy logs "has crashed!" and
goes on without the layer): whatever happens here ends in a 421 and two closed legs.
"""

from __future__ import annotations

import collections
import traceback
from logging import ERROR, INFO, WARNING, getLogger
from typing import TYPE_CHECKING

from mitmproxy import connection, flow, tcp
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import tcp as tcp_layer

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.proxy import hooks, maillog
from smtpguard.proxy.questions import Questions
from smtpguard.proxy.services import ClientGone, Drain, Drained, StopRequested
from smtpguard.proxy.upgrade import (
    ContinueTls,
    HelloReceived,
    StartTls,
    StartTlsCompleted,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpguard.dialogue import Dialogue, TransactionRecord
    from smtpguard.proxy.services import Services
    from smtpguard.proxy.starttls import UpstreamTls


logger = getLogger(__name__)

INTERNAL_ERROR = Reply.make(421, "4.3.0", "Internal error, closing connection")
UNRECORDED = 64
"""Lines that wait in the transcript until the flow is brought up to date: one flow
message for many lines, and no more memory than a mail's dialogue needs."""
_SHORTEST_TIMER = 0.01
"""Seconds; a deadline that stays in the past must not keep the process busy."""
_TIMER_SLACK = 0.001
"""Seconds by which a timer may be early or late without a new one being worth it."""


class SmtpLayer(layer.Layer):
    """Drives one dialogue inside mitmproxy."""

    def __init__(
        self,
        context: context.Context,
        dialogue: Dialogue,
        services: Services,
        upstream_tls: UpstreamTls,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(context)
        self.session = dialogue.session
        self.dialogue = dialogue
        self.services = services
        self.flow = tcp.TCPFlow(context.client, context.server, live=True)
        self.records: list[TransactionRecord] = []
        self.ended = False
        """The dialogue has nothing more to say; only its flow is still completed."""
        self._on_end = on_end
        self._upstream_tls = upstream_tls
        self._recorder = services.make_recorder(self.flow, services.options)
        self._inbox: collections.deque[happenings.Event] = collections.deque()
        self._busy = False
        self._dead = False
        """The client's handler has ended: nothing new may be opened."""
        self._client_paused = False
        self._closed: set[Leg] = {Leg.UPSTREAM}
        """Legs that are not there, or that we have closed."""
        self._dialled = False
        self._opening: commands.OpenConnection | None = None
        self._questions = Questions(self.session)
        self._draining: Drain | None = None
        self._last_hook: commands.StartHook | None = None
        self._timer: commands.RequestWakeup | None = None
        self._timer_at = 0.0

    # -- events ----------------------------------------------------------------------

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from self.handle_event(event)

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take one event; never raise, never pause."""
        try:
            if self.ended:
                yield from self._after_the_end(event)
            else:
                yield from self._take(event)
        except Exception as error:  # noqa: BLE001 - two sockets must not stay open
            yield from self.fail(error)

    def _take(self, event: events.Event) -> layer.CommandGenerator[None]:
        match event:
            case events.DataReceived():
                yield from self._received(event)
            case events.ConnectionClosed():
                yield from self._peer_closed(event.connection)
            case events.Wakeup():
                yield from self._woken(event.command)
            case events.HookCompleted():
                yield from self._answered(event.command)
            case events.OpenConnectionCompleted():
                yield from self._opened(event)
            case HelloReceived():
                yield from self._drive(happenings.HelloReceived(event.name))
            case StartTlsCompleted():
                yield from self._tls_finished(event)
            case Drained():
                if event.command is self._draining:
                    yield from self._drive(happenings.Drained())
            case ClientGone():
                yield from self._client_gone()
            case StopRequested():
                yield from self._drive(happenings.Stopping())
            case events.Start():
                yield from self._start()
            case events.MessageInjected():
                yield commands.Log(
                    "inject: an SMTP session cannot be injected into", WARNING
                )

    def _start(self) -> layer.CommandGenerator[None]:
        if "tcp_start" in self.services.heard:
            yield self._unpaused(tcp_layer.TcpStartHook(self.flow))
        yield from self._drive(happenings.Started())

    def _received(self, event: events.DataReceived) -> layer.CommandGenerator[None]:
        leg = self._leg(event.connection)
        if leg is None:
            return
        if self._client_paused and leg is Leg.CLIENT:
            # asyncio's reader has resumed the transport behind our back.
            self.services.pacing.pause(event.connection)
        yield from self._drive(happenings.Received(leg, event.data))

    def _peer_closed(self, conn: connection.Connection) -> layer.CommandGenerator[None]:
        leg = self._leg(conn)
        if leg is not None:
            reset = self.services.pacing.was_reset(conn)
            yield from self._drive(happenings.Closed(leg, reset))

    def _opened(
        self, event: events.OpenConnectionCompleted
    ) -> layer.CommandGenerator[None]:
        if event.command is not self._opening:
            return  # given up meanwhile
        self._opening = None
        if event.reply is None:
            self.services.pacing.tune(event.command.connection)
        else:
            self._closed.add(Leg.UPSTREAM)
        yield from self._drive(happenings.Opened(event.reply))

    def _tls_finished(self, event: StartTlsCompleted) -> layer.CommandGenerator[None]:
        leg = self._leg(event.command.connection)
        if leg is None:
            return
        if event.reply is not None:
            self._closed.add(leg)
        yield from self._drive(happenings.TlsFinished(leg, event.facts, event.reply))

    def _woken(self, timer: commands.RequestWakeup) -> layer.CommandGenerator[None]:
        if timer is self._timer:
            self._timer = None
        due = self.dialogue.deadline
        if due is not None and self.services.clock() >= due - _TIMER_SLACK:
            yield from self._drive(happenings.Woke())
        else:
            yield from self._set_timer()

    def _answered(self, hook: commands.StartHook) -> layer.CommandGenerator[None]:
        answer = self._questions.answered(hook)
        if answer is None:
            return
        client = self.context.client
        if Leg.CLIENT not in self._closed and self.services.pacing.was_reset(client):
            # Nobody reads from a leg that is paused or half closed: a reset of it shows
            # up here only, and must be known before the message goes on.
            yield from self._drive(happenings.Closed(Leg.CLIENT, reset=True))
        if not self.ended:
            yield from self._drive(answer)

    def _client_gone(self) -> layer.CommandGenerator[None]:
        self._dead = True
        if Leg.CLIENT not in self._closed:
            yield from self._drive(happenings.Closed(Leg.CLIENT, reset=True))

    def _leg(self, conn: connection.Connection) -> Leg | None:
        """Tell which leg a connection is; None for what is closed or replaced."""
        if conn == self.context.client:
            leg = Leg.CLIENT
        elif conn == self.context.server:
            leg = Leg.UPSTREAM
        else:
            return None
        return None if leg in self._closed else leg

    # -- the dialogue ----------------------------------------------------------------

    def _drive(self, event: happenings.Event) -> layer.CommandGenerator[None]:
        """Give the dialogue an event, after those that it is still working on."""
        self._inbox.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox:
                upcoming = self._inbox.popleft()
                now = self.services.clock()
                todo = self.dialogue.handle(upcoming, now)
                if isinstance(upcoming, happenings.Closed) or (
                    len(self.dialogue.transcript.entries) > UNRECORDED
                ):
                    self._record(lambda: self._recorder.update(self.dialogue))
                yield from self._carry_out(todo)
        finally:
            self._busy = False
        if not self.ended:
            yield from self._set_timer()

    def _carry_out(
        self, todo: Iterable[effects.Effect]
    ) -> layer.CommandGenerator[None]:
        for effect in todo:
            match effect:
                case effects.Send():
                    if effect.leg not in self._closed:
                        yield commands.SendData(self._conn(effect.leg), effect.data)
                case effects.Log():
                    yield commands.Log(maillog.printable(effect.text), effect.level)
                case effects.Close():
                    yield from self._close(effect.leg)
                case effects.OpenUpstream():
                    yield from self._open_upstream()
                case effects.StartTls():
                    yield StartTls(
                        self._conn(effect.leg),
                        effect.name,
                        effect.data,
                        hold=effect.leg is Leg.CLIENT,
                    )
                case effects.ContinueTls():
                    yield ContinueTls(self.context.client)
                case effects.TransactionEnded():
                    yield from self._transaction_ended(effect.record)
                case effects.SessionEnded():
                    yield from self._end()
                case effects.PauseReading() | effects.ResumeReading():
                    self._pace_client(pause=isinstance(effect, effects.PauseReading))
                case effects.Pace():
                    self._draining = Drain(self.context.server)
                    yield self._draining
                case _:
                    yield from self._ask(effect)

    def _ask(self, effect: effects.Effect) -> layer.CommandGenerator[None]:
        """Ask about a message or a command.

        Where nobody but ourselves has a say about a message there is no hook, which
        would cost more than most verdicts.
        """
        hook = self._questions.ask(effect)
        alone = isinstance(hook, hooks.SmtpMessageHook) and hook.name not in (
            self.services.heard
        )
        if alone and self.services.judge_at_once(hook.args()[0]):
            answer = self._questions.answered(hook)
            if answer is not None:
                self._inbox.append(answer)
        else:
            yield self._unpaused(hook)

    def _open_upstream(self) -> layer.CommandGenerator[None]:
        if self._dead:
            # Whatever is opened now would be closed by nobody.
            self._inbox.append(happenings.Opened("the client has gone"))
            return
        if self._dialled:
            old = self.context.server
            server = connection.Server(address=old.address)
            self.context.server = self.flow.server_conn = server
            self._upstream_tls.reset(server)
        server = self.context.server
        self._dialled = True
        self._closed.discard(Leg.UPSTREAM)
        if server.state is connection.ConnectionState.OPEN:
            # socks5 with an eager connection: mitmproxy has opened it already.
            self._inbox.append(happenings.Opened())
            return
        self._opening = commands.OpenConnection(server)
        yield self._unpaused(self._opening)

    def _close(self, leg: Leg) -> layer.CommandGenerator[None]:
        if leg not in self._closed:
            self._closed.add(leg)
            if leg is Leg.UPSTREAM:
                self._opening = None
            yield commands.CloseConnection(self._conn(leg))

    def _pace_client(self, *, pause: bool) -> None:
        self._client_paused = pause
        if Leg.CLIENT not in self._closed:
            pacing = self.services.pacing
            (pacing.pause if pause else pacing.resume)(self.context.client)

    def _set_timer(self) -> layer.CommandGenerator[None]:
        """Have us woken at the deadline.

        A wakeup cannot be taken back: a later deadline keeps the one that is set, which
        then sets the next, so that there is about one at any time.
        """
        due = self.dialogue.deadline
        if due is None:
            return
        if self._timer is not None and self._timer_at <= due + _TIMER_SLACK:
            return
        self._timer = commands.RequestWakeup(
            max(_SHORTEST_TIMER, due - self.services.clock())
        )
        self._timer_at = due
        yield self._timer

    def _conn(self, leg: Leg) -> connection.Connection:
        return self.context.client if leg is Leg.CLIENT else self.context.server

    def _unpaused[C: commands.Command](self, command: C) -> C:
        """Keep the layers below from waiting for a command's completion."""
        command.blocking = self
        return command

    # -- the record ------------------------------------------------------------------

    def _transaction_ended(
        self, record: TransactionRecord
    ) -> layer.CommandGenerator[None]:
        self.records.append(record)
        self._record(lambda: self._recorder.transaction(record))
        addresses = self.services.options.log_addresses
        yield commands.Log(maillog.line(record, addresses), INFO)
        news = self._record(lambda: self._recorder.update(self.dialogue))
        if news and "tcp_message" in self.services.heard:
            yield self._unpaused(tcp_layer.TcpMessageHook(self.flow))

    def _record(self, part: Callable[[], object]) -> object:
        """Do a part of the record: a fault there must not cost a mail its reply."""
        try:
            return part()
        except Exception as error:  # noqa: BLE001
            logger.error("flow not complete: %s", describe(error))  # noqa: TRY400
            return None

    def _end(self) -> layer.CommandGenerator[None]:
        """Complete the flow: smtp_end, then tcp_end (or tcp_error), once each."""
        self.ended = True
        self._questions.drop()
        error = self.flow.error.msg if self.flow.error else None
        self._record(lambda: self._recorder.update(self.dialogue))
        self._record(lambda: self._recorder.finish(self.dialogue, error))
        if "smtp_end" in self.services.heard:
            data = hooks.SmtpEndData(self.session, self.records, self.flow)
            self._last_hook = hooks.SmtpEndHook(data)
            yield self._unpaused(self._last_hook)
        else:
            yield from self._end_flow()

    def _end_flow(self) -> layer.CommandGenerator[None]:
        if self.flow.error is not None:
            self._last_hook = tcp_layer.TcpErrorHook(self.flow)
        elif "tcp_end" in self.services.heard:
            self._last_hook = tcp_layer.TcpEndHook(self.flow)
        else:
            self._flow_ended()
            return
        yield self._unpaused(self._last_hook)

    def _flow_ended(self) -> None:
        self._last_hook = None
        self.flow.live = False
        self._on_end()

    def _after_the_end(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take nothing but the completion of the last hooks."""
        if not isinstance(event, events.HookCompleted):
            return
        if event.command is not self._last_hook:
            return
        if isinstance(self._last_hook, hooks.SmtpEndHook):
            yield from self._end_flow()
        else:
            self._flow_ended()

    def fail(self, error: BaseException) -> layer.CommandGenerator[None]:
        """End the session because of a fault of ours: 421, both legs closed, logged."""
        yield commands.Log(f"SMTP session failed: {describe(error)}", ERROR)
        if Leg.CLIENT not in self._closed:
            yield commands.SendData(self.context.client, INTERNAL_ERROR.to_octets())
        yield from self.abandon(error)

    def abandon(self, error: BaseException) -> layer.CommandGenerator[None]:
        """Close both legs without a word and end the flow with an error."""
        yield from self._close(Leg.CLIENT)
        yield from self._close(Leg.UPSTREAM)
        if not self.ended:
            self.flow.error = flow.Error(f"smtpguard failed: {type(error).__name__}")
            yield from self._end()


def describe(error: BaseException) -> str:
    """Return a traceback that is safe to log: it may quote what a peer has sent."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(maillog.printable(line) for line in lines)
