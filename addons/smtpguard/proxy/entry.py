"""How a client comes to us: the top layer of every SMTP connection (traps 2).

mitmproxy asks what a connection speaks when octets arrive; in SMTP nobody speaks until
the server does, and its answer to "who knows?" is a raw relay. So a connection that is
SMTP by its mode and port is taken over before its first event, and everything that
follows is decided here: who answers for the rules, whether the session is read at all,
and what is said where it cannot be.

Whatever goes wrong above this layer ends here, with both legs closed: mitmproxy would
leave them open.
"""

from __future__ import annotations

import collections
from logging import ERROR, INFO, WARNING
from typing import TYPE_CHECKING

from mitmproxy import connection
from mitmproxy.proxy import commands, context, events, layer, mode_specs
from mitmproxy.proxy.layers import tcp

from smtpguard.dialogue.opening import IMPLICIT_PORT
from smtpguard.model.addresses import parse_ip
from smtpguard.model.session import SessionFacts
from smtpguard.model.settings import Settings
from smtpguard.proxy import hooks, stack
from smtpguard.proxy.layer import INTERNAL_ERROR
from smtpguard.proxy.maillog import describe
from smtpguard.proxy.pacing import local_address
from smtpguard.proxy.services import ClientGone, Drain, StopRequested
from smtpguard.wire import replies


if TYPE_CHECKING:
    from smtpguard.model.decider import Decider
    from smtpguard.model.reply import Reply
    from smtpguard.proxy.layer import SmtpLayer
    from smtpguard.proxy.services import Services


START_SECONDS = 30.0
"""How long ``smtp_start`` may take; the client waits five minutes for our greeting."""
_EARLY_OCTETS = 64 * 1024
"""What is kept of a client that speaks before anybody has decided anything."""


class Entry(layer.Layer):
    """Asks who decides, then becomes an SMTP session, a tunnel or a refusal."""

    def __init__(
        self, context: context.Context, session: SessionFacts, services: Services
    ) -> None:
        super().__init__(context)
        self.session = session
        self.services = services
        self.smtp: SmtpLayer | None = None
        self._child: layer.Layer | None = None
        self._stack: stack.Stack | None = None
        self._question: hooks.SmtpStartHook | None = None
        self._timer: commands.RequestWakeup | None = None
        self._parting: commands.RequestWakeup | None = None
        """After it a client is closed that was refused at once."""
        self._early: collections.deque[events.Event] = collections.deque()
        self._early_octets = 0
        self._over = False
        """Nothing more is done for this connection."""

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        yield from self.handle_event(event)

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take one event; never raise, never pause.

        At Start the client cannot be closed: its task, which that would end, is made
        when this returns (traps 2).
        """
        if isinstance(event, events.Wakeup) and event.command is self._parting:
            yield commands.CloseConnection(self.context.client)
            return
        is_start = isinstance(event, events.Start)
        for command in self._sent_together(event):
            if is_start and isinstance(command, commands.CloseConnection):
                self._parting = commands.RequestWakeup(0)
                yield self._parting
            else:
                yield command

    def _sent_together(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take one event.

        What is sent on a connection while one event is handled leaves in one piece: the
        end of a handshake and what follows it, a last reply and close_notify.
        """
        unsent: dict[connection.Connection, list[bytes]] = {}
        try:
            for command in self._commands(event):
                if isinstance(command, commands.SendData):
                    unsent.setdefault(command.connection, []).append(command.data)
                    continue
                if unsent:
                    yield from _joined(unsent)
                if isinstance(command, Drain):
                    self.services.pacing.drain(command)
                else:
                    yield command
        except Exception as error:  # noqa: BLE001 - two sockets must not stay open
            yield from _joined(unsent)
            yield from self._abort(error)
        else:
            if unsent:
                yield from _joined(unsent)

    def _commands(self, event: events.Event) -> layer.CommandGenerator[None]:
        if self._over:
            return self._complete_flow(event)
        if self._child is None:
            return self._before_the_session(event)
        if self.smtp is not None:
            return self._child.handle_event(event)
        return self._tunnel(self._child, event)

    # -- before the session ------------------------------------------------------------

    def _before_the_session(self, event: events.Event) -> layer.CommandGenerator[None]:
        match event:
            case events.Start():
                self.services.pacing.tune(self.context.client)
                if self._may_begin_at_once():
                    yield from self._decided(self.services.decider)
                    return
                data = hooks.SmtpStartData(self.session, self.context)
                self._question = hooks.SmtpStartHook(data)
                self._question.blocking = self  # type: ignore[assignment]
                self._timer = commands.RequestWakeup(START_SECONDS)
                yield self._timer
                yield self._question
            case events.HookCompleted() if event.command is self._question:
                yield from self._decided(self._question.data.decider)
            case events.Wakeup() if event.command is self._timer:
                reason = "smtp_start was not answered in time"
                yield from self._refuse(replies.UPSTREAM_UNREACHABLE, reason)
            case StopRequested():
                yield from self._refuse(replies.SHUTTING_DOWN, "stopping")
            case ClientGone():
                self.end()
            case events.ConnectionEvent():
                self._keep(event)

    def _may_begin_at_once(self) -> bool:
        """Whether nobody else wants a say, and the client may be spoken to already.

        In socks5 mode the proxy's own answer comes after our start.
        """
        asked = self.services.decider is None or "smtp_start" in self.services.heard
        return not asked and self.context.layers[0] is self

    def _keep(self, event: events.ConnectionEvent) -> None:
        """Keep an event for the session; a client that floods us is not read."""
        self._early.append(event)
        if isinstance(event, events.DataReceived):
            self._early_octets += len(event.data)
            if self._early_octets > _EARLY_OCTETS:
                self.services.pacing.pause(event.connection)

    def _decided(self, decider: Decider | None) -> layer.CommandGenerator[None]:
        if decider is None:
            reason = "nobody answers for the rules (smtp_start)"
            yield from self._refuse(replies.UPSTREAM_UNREACHABLE, reason)
            return
        try:
            tunnelled = self._to_be_tunnelled(decider)
        except Exception as error:  # noqa: BLE001 - whatever it is: nobody is served
            yield from self._failed("rules failed:", error)
            reason = "the rules could not be asked"
            yield from self._refuse(replies.UPSTREAM_UNREACHABLE, reason)
            return
        if tunnelled:
            yield commands.Log(
                f"not inspected: session {self.session.id} to "
                f"{self.session.destination[0]} port {self.session.destination[1]} "
                f"is tunnelled by policy {self.session.policy}",
                INFO,
            )
            self._child = tcp.TCPLayer(self.context, ignore=True)
        else:
            self._stack = stack.build(
                self.context, self.session, decider, self.services, self.end
            )
            self.smtp = self._stack.smtp
            self._child = self._stack.top
        self._resume_reading()
        yield from self._child.handle_event(events.Start())
        while self._early:
            yield from self._commands(self._early.popleft())

    def _resume_reading(self) -> None:
        if self._early_octets > _EARLY_OCTETS:
            self.services.pacing.resume(self.context.client)

    def _to_be_tunnelled(self, decider: Decider) -> bool:
        """Whether the rules say that this connection is not to be read.

        A trusted client tells whom it speaks for within the dialogue: there it is the
        dialogue that chooses the policy, and a session that was begun is read.
        """
        if self.session.loop or decider.trusted(self.session.client) is not None:
            return False
        chosen = decider.connect(self.session)
        if not isinstance(chosen, Settings):
            return False
        self.session.policy = chosen.policy
        return not chosen.inspect

    def _refuse(self, reply: Reply, reason: str) -> layer.CommandGenerator[None]:
        yield commands.Log(f"session {self.session.id} refused: {reason}", WARNING)
        yield from refusal(self.context, self.session.destination, reply)
        self.end()

    # -- tunnel ------------------------------------------------------------------------

    def _tunnel(
        self, child: layer.Layer, event: events.Event
    ) -> layer.CommandGenerator[None]:
        """Give a tunnel what mitmproxy's layer for it understands."""
        if isinstance(event, StopRequested):
            for conn in (self.context.client, self.context.server):
                if conn.state is not connection.ConnectionState.CLOSED:
                    yield commands.CloseConnection(conn)
        elif isinstance(event, ClientGone):
            self.end()
        elif isinstance(
            event,
            (events.ConnectionEvent, events.OpenConnectionCompleted),
        ):
            yield from child.handle_event(event)

    # -- the end -----------------------------------------------------------------------

    def end(self) -> None:
        """Take the connection out of the registry, once its flow is complete."""
        if self.smtp is None:
            self._over = True
        self.services.registry.session_ended(self.context.client)

    def _complete_flow(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Let a session that was broken off end its flow; nothing else reaches it."""
        if not isinstance(event, events.HookCompleted):
            return
        if self.smtp is not None and self.smtp.ended:
            yield from self.smtp.handle_event(event)

    def _abort(self, error: Exception) -> layer.CommandGenerator[None]:
        """End a connection whose layers are broken; they are not asked any more."""
        self._over = True
        yield from self._failed("SMTP connection failed:", error)
        yield from self._as_far_as_it_goes(self._last_words())
        if self.smtp is not None:
            yield from self._as_far_as_it_goes(self.smtp.abandon(error))
            yield from self._as_far_as_it_goes(self.smtp.end(error))
        # Once only: a second CloseConnection cancels mitmproxy's cleaning up.
        for conn in (self.context.client, self.context.server):
            if conn.state is not connection.ConnectionState.CLOSED:
                yield commands.CloseConnection(conn)
        self.end()

    def _last_words(self) -> layer.CommandGenerator[None]:
        octets = INTERNAL_ERROR.to_octets()
        if self._stack is not None:
            if not self._stack.smtp.dialogue.client.in_tls:
                yield from self._stack.client.send_data(octets)
        elif self._child is None and self.session.destination[1] != IMPLICIT_PORT:
            yield commands.SendData(self.context.client, octets)

    def _as_far_as_it_goes(
        self, part: layer.CommandGenerator[None]
    ) -> layer.CommandGenerator[None]:
        """Do what broken layers can still do; what they say before a fault stands."""
        try:
            yield from part
        except Exception as error:  # noqa: BLE001 - it is broken, that is why we are here
            yield from self._failed("SMTP connection not ended in order:", error)

    def _failed(self, what: str, error: Exception) -> layer.CommandGenerator[None]:
        trace = describe(error, self.services.options.log_addresses)
        yield commands.Log(f"{what} {trace}", ERROR)


def _joined(
    unsent: dict[connection.Connection, list[bytes]],
) -> layer.CommandGenerator[None]:
    for conn, pieces in unsent.items():
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        yield commands.SendData(conn, data)
    unsent.clear()


class Refusal(layer.Layer):
    """Greets with a reply and closes; for clients that are not served at all.

    Not at Start: in socks5 mode that comes before the proxy's own answer.
    """

    def __init__(self, context: context.Context, reply: Reply) -> None:
        super().__init__(context)
        self.reply = reply

    def _handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        if isinstance(event, events.Start):
            yield commands.RequestWakeup(0)
        elif isinstance(event, events.Wakeup):
            address = self.context.server.address or ("", 0)
            yield from refusal(self.context, address, self.reply)


def refusal(
    context: context.Context, destination: tuple[str, int], reply: Reply
) -> layer.CommandGenerator[None]:
    """Say a reply in clear, where the client could read it, and close both legs."""
    if destination[1] != IMPLICIT_PORT:
        yield commands.SendData(context.client, reply.to_octets())
    yield commands.CloseConnection(context.client)
    if context.server.state is not connection.ConnectionState.CLOSED:
        yield commands.CloseConnection(context.server)


def is_smtp(context: context.Context, ports: frozenset[int]) -> bool:
    """Tell whether a new connection is SMTP, by its mode and port.

    In socks5 mode the destination is not known yet: see ``socks``.
    """
    client = context.client
    if client.transport_protocol != "tcp":
        return False
    match client.proxy_mode:
        case mode_specs.ReverseMode(scheme=scheme):
            return scheme in ("tcp", "tls")
        case (
            mode_specs.TransparentMode()
            | mode_specs.WireGuardMode()
            | mode_specs.LocalMode()
            | mode_specs.TunMode()
        ):
            address = context.server.address
            return address is not None and address[1] in ports
        case _:
            return False


def describe_session(context: context.Context, session_id: str) -> SessionFacts:
    """Return the facts of a new session; set the upstream's address in reverse mode."""
    client, mode = context.client, context.client.proxy_mode
    reverse_name, scheme = "", ""
    if isinstance(mode, mode_specs.ReverseMode):
        context.server.address = mode.address
        reverse_name, scheme = mode.address[0], mode.scheme
    address = context.server.address or ("", 0)
    destination = (plain_address(address[0]), address[1])
    return SessionFacts(
        id=session_id,
        client=(plain_address(client.peername[0]), client.peername[1]),
        destination=destination,
        local=(plain_address(client.sockname[0]), client.sockname[1]),
        listener=mode.full_spec,
        reverse_name=reverse_name,
        upstream_implicit_tls=scheme == "tls" or destination[1] == IMPLICIT_PORT,
        loop=is_loop(context),
    )


def is_loop(context: context.Context) -> bool:
    """Tell whether the destination is the very address that the client came in by.

    Then nothing was redirected: the proxy's port was connected to directly in
    transparent mode, or the reverse target is our own listener. mitmproxy looks for
    loopback addresses only; one connection became 4,111 descriptors (traps 10).
    """
    address = context.server.address
    local = local_address(context.client)
    if address is None or local is None:
        return False
    return plain_address(address[0]) == plain_address(local[0]) and (
        address[1] == local[1]
    )


def plain_address(address: str) -> str:
    """Return an address without zone, and IPv4 as IPv4; a name as it is."""
    try:
        return str(parse_ip(address))
    except ValueError:
        return address
