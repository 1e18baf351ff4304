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
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING, Any, ClassVar

from mitmproxy import connection
from mitmproxy.proxy import commands, context, events, layer
from mitmproxy.proxy.layers import tcp as tcp_layer

from smtpguard.dialogue import effects
from smtpguard.dialogue import events as happenings
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.proxy import hooks, maillog, salvage
from smtpguard.proxy.alarm import Alarm
from smtpguard.proxy.questions import Questions
from smtpguard.proxy.services import ClientGone, Drain, Drained, StopRequested
from smtpguard.proxy.sessionflow import SessionFlow
from smtpguard.proxy.upgrade import (
    ContinueTls,
    HelloReceived,
    StartTls,
    StartTlsCompleted,
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpguard.dialogue import Dialogue
    from smtpguard.proxy.services import Services
    from smtpguard.proxy.starttls import UpstreamTls


INTERNAL_ERROR = Reply.make(421, "4.3.0", "Internal error, closing connection")


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
        self.session_flow = SessionFlow(context, dialogue, services, on_end)
        self.ended = False
        """The dialogue has nothing more to say; only its flow is still completed."""
        self._upstream_tls = upstream_tls
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
        self._draining: dict[Leg, Drain] = {}
        self._alarm = Alarm(services.clock)
        self._batch: list[effects.Effect] = []
        """What the dialogue wanted last."""
        self._done = 0
        """How much of it is carried out."""

    # -- events ----------------------------------------------------------------------

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from self.handle_event(event)

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take one event; never raise, never pause."""
        try:
            if self.ended:
                yield from self._after_the_end(event)
            elif (take := self._TAKERS.get(type(event))) is not None:
                yield from take(self, event)
        except Exception as error:  # noqa: BLE001 - two sockets must not stay open
            yield from self.fail(error)

    def _start(self, _: events.Start) -> layer.CommandGenerator[None]:
        yield from self._raise(self.session_flow.start())
        yield from self._drive(happenings.Started())

    def _received(self, event: events.DataReceived) -> Iterable[commands.Command]:
        leg = self._leg(event.connection)
        if leg is None:
            return ()
        if self._client_paused and leg is Leg.CLIENT:
            # asyncio's reader has resumed the transport behind our back.
            self.services.pacing.pause(event.connection)
        return self._drive(happenings.Received(leg, event.data))

    def _peer_closed(
        self, event: events.ConnectionClosed
    ) -> layer.CommandGenerator[None]:
        leg = self._leg(event.connection)
        if leg is not None:
            reset = self.services.pacing.was_reset(event.connection)
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

    def _woken(self, event: events.Wakeup) -> layer.CommandGenerator[None]:
        due = self.dialogue.deadline
        if self._alarm.is_due(event, due):
            yield from self._drive(happenings.Woke())
        else:
            yield from self._alarm.set(due)

    def _answered(self, event: events.HookCompleted) -> layer.CommandGenerator[None]:
        answer = self._questions.answered(event.command)
        if answer is None:
            return
        happened = [answer]
        client = self.context.client
        if Leg.CLIENT not in self._closed and self.services.pacing.was_reset(client):
            # Nobody reads from a leg that is paused or half closed: a reset of it shows
            # up here only, and must be known before the message goes on.
            happened.insert(0, happenings.Closed(Leg.CLIENT, reset=True))
        yield from self._drive(*happened)

    def _hello_received(self, event: HelloReceived) -> layer.CommandGenerator[None]:
        yield from self._drive(happenings.HelloReceived(event.name))

    def _drained(self, event: Drained) -> layer.CommandGenerator[None]:
        for leg, command in self._draining.items():
            if command is event.command:
                del self._draining[leg]
                yield from self._drive(happenings.Drained(leg))
                return

    def _stop(self, _: StopRequested) -> layer.CommandGenerator[None]:
        yield from self._drive(happenings.Stopping())

    def _injected(
        self, _: tcp_layer.TcpMessageInjected
    ) -> layer.CommandGenerator[None]:
        yield commands.Log("inject: an SMTP session cannot be injected into", WARNING)

    def _client_gone(self, _: ClientGone) -> layer.CommandGenerator[None]:
        self._dead = True
        if Leg.CLIENT not in self._closed:
            yield from self._drive(happenings.Closed(Leg.CLIENT, reset=True))

    def _leg(self, conn: connection.Connection) -> Leg | None:
        """Tell which leg a connection is; None for what is closed or replaced."""
        leg = Leg.CLIENT if conn is self.context.client else Leg.UPSTREAM
        return leg if conn is self._conn(leg) and leg not in self._closed else None

    # -- the dialogue ----------------------------------------------------------------

    def _drive(self, *happened: happenings.Event) -> layer.CommandGenerator[None]:
        """Give the dialogue events, after those that it is still working on."""
        self._inbox.extend(happened)
        if self._busy:
            return
        self._busy = True
        try:
            while self._inbox and not self.ended:
                upcoming = self._inbox.popleft()
                now = self.services.clock()
                todo = self.dialogue.handle(upcoming, now)
                self.session_flow.update(now=isinstance(upcoming, happenings.Closed))
                yield from self._carry_out(todo)
        finally:
            self._busy = False
        if self.ended:
            yield from self._take_late()
        else:
            yield from self._alarm.set(self.dialogue.deadline)

    def _carry_out(
        self, todo: Iterable[effects.Effect]
    ) -> layer.CommandGenerator[None]:
        self._batch, self._done = list(todo), 0
        for effect in self._batch:
            if isinstance(effect, effects.Send):
                if effect.leg not in self._closed:
                    yield commands.SendData(self._conn(effect.leg), effect.data)
            elif (carry_out := self._DOERS.get(type(effect))) is not None:
                yield from carry_out(self, effect)
            else:
                yield from self._ask(effect)
            self._done += 1

    def _log(self, effect: effects.Log) -> layer.CommandGenerator[None]:
        text = maillog.private(effect.text, self.services.options.log_addresses)
        yield commands.Log(maillog.printable(text), effect.level)

    def _close(self, effect: effects.Close) -> layer.CommandGenerator[None]:
        yield from self._close_leg(effect.leg)

    def _start_tls(self, effect: effects.StartTls) -> layer.CommandGenerator[None]:
        conn, hold = self._conn(effect.leg), effect.leg is Leg.CLIENT
        yield StartTls(conn, effect.name, effect.data, hold=hold)

    def _continue_tls(self, _: effects.ContinueTls) -> layer.CommandGenerator[None]:
        yield ContinueTls(self.context.client)

    def _pace(self, effect: effects.Pace) -> layer.CommandGenerator[None]:
        drain = self._draining[effect.leg] = Drain(self._conn(effect.leg))
        yield drain

    def _read_or_not(
        self, effect: effects.PauseReading | effects.ResumeReading
    ) -> layer.CommandGenerator[None]:
        yield from ()
        self._client_paused = isinstance(effect, effects.PauseReading)
        if Leg.CLIENT not in self._closed:
            pacing = self.services.pacing
            act = pacing.pause if self._client_paused else pacing.resume
            act(self.context.client)

    def _transaction_ended(
        self, effect: effects.TransactionEnded
    ) -> layer.CommandGenerator[None]:
        told = maillog.told(effect.record, self.services.options)
        yield commands.Log(told, INFO)
        yield from self._raise(self.session_flow.transaction(effect.record))

    def _session_ended(self, _: effects.SessionEnded) -> layer.CommandGenerator[None]:
        yield from self.end()

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

    def _open_upstream(self, _: effects.OpenUpstream) -> layer.CommandGenerator[None]:
        if self._dead:
            # Whatever is opened now would be closed by nobody.
            self._inbox.append(happenings.Opened("the client has gone"))
            return
        if self._dialled:
            old = self.context.server
            server = connection.Server(address=old.address)
            self.context.server = self.session_flow.flow.server_conn = server
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

    def _close_leg(self, leg: Leg) -> layer.CommandGenerator[None]:
        if leg not in self._closed:
            self._closed.add(leg)
            if leg is Leg.UPSTREAM:
                self._opening = None
            yield commands.CloseConnection(self._conn(leg))

    def _conn(self, leg: Leg) -> connection.Connection:
        return self.context.client if leg is Leg.CLIENT else self.context.server

    def _unpaused[C: commands.Command](self, command: C) -> C:
        """Keep the layers below from waiting for a command's completion."""
        command.blocking = self
        return command

    def _raise(self, hook: commands.StartHook | None) -> layer.CommandGenerator[None]:
        if hook is not None:
            yield self._unpaused(hook)

    # -- the end -----------------------------------------------------------------------

    def end(self, fault: BaseException | None = None) -> layer.CommandGenerator[None]:
        """Complete the flow, with an error where it is a fault that ends it."""
        if not self.ended:
            self.ended = True
            error = f"smtpguard failed: {type(fault).__name__}" if fault else None
            yield from self._raise(self.session_flow.end(error))

    def _after_the_end(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take nothing but the completion of the last hooks, and late verdicts."""
        if not isinstance(event, events.HookCompleted):
            return
        if (late := self._questions.answered(event.command)) is not None:
            self._inbox.append(late)
            yield from self._take_late()
        yield from self._raise(self.session_flow.after(event.command))

    def _take_late(self) -> layer.CommandGenerator[None]:
        """Hand over verdicts that no session waits for any more.

        The message's storage is given back then, and a quarantined one is logged.
        """
        while self._inbox:
            late = self._inbox.popleft()
            if isinstance(late, happenings.Judged):
                for effect in self.dialogue.handle(late, self.services.clock()):
                    if isinstance(effect, effects.Log):
                        yield from self._log(effect)

    def fail(self, error: BaseException) -> layer.CommandGenerator[None]:
        """End the session because of a fault of ours: 421, both legs closed, logged."""
        trace = maillog.describe(error, self.services.options.log_addresses)
        yield commands.Log(f"SMTP session failed: {trace}", ERROR)
        if Leg.CLIENT not in self._closed and not self.dialogue.client.in_tls:
            yield commands.SendData(self.context.client, INTERNAL_ERROR.to_octets())
        yield from self.abandon(error)

    def abandon(self, error: BaseException) -> layer.CommandGenerator[None]:
        """Close both legs without a word and end the flow with an error.

        What was under way gets its record, in doubt where the upstream may have it.
        """
        yield from self._close_leg(Leg.CLIENT)
        yield from self._close_leg(Leg.UPSTREAM)
        batch, self._batch = self._batch, []
        saved = salvage.break_off(self.dialogue, batch, self._done, INTERNAL_ERROR)
        for effect in saved:
            yield from self._DOERS[type(effect)](self, effect)
        yield from self._take_late()
        yield from self.end(error)

    _TAKERS: ClassVar[dict[type[events.Event], Any]] = {
        events.ConnectionClosed: _peer_closed,
        events.DataReceived: _received,
        events.HookCompleted: _answered,
        events.OpenConnectionCompleted: _opened,
        events.Start: _start,
        events.Wakeup: _woken,
        tcp_layer.TcpMessageInjected: _injected,
        ClientGone: _client_gone,
        Drained: _drained,
        HelloReceived: _hello_received,
        StartTlsCompleted: _tls_finished,
        StopRequested: _stop,
    }
    """Who takes which event; others are not for this layer."""

    _DOERS: ClassVar[dict[type[effects.Effect], Any]] = {
        effects.Close: _close,
        effects.ContinueTls: _continue_tls,
        effects.Log: _log,
        effects.OpenUpstream: _open_upstream,
        effects.Pace: _pace,
        effects.PauseReading: _read_or_not,
        effects.ResumeReading: _read_or_not,
        effects.SessionEnded: _session_ended,
        effects.StartTls: _start_tls,
        effects.TransactionEnded: _transaction_ended,
    }
    """Who carries out which effect; others are questions."""
