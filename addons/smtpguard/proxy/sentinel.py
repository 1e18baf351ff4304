"""The part of the addon that cannot be lost: it refuses whom nobody would judge.

mitmproxy's script loader removes an addon before it loads the new one: a syntax error,
or a file that is away for a second, leaves a proxy that relays port 25 unread (traps
0). The sentinel is added to mitmproxy itself, once, and stays. It takes every SMTP
connection over, and while no guard with valid rules is on duty it closes them. It
begins each decision with "no": an exception anywhere here closes the connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from logging import getLogger
from typing import TYPE_CHECKING, cast

from mitmproxy import ctx, http
from mitmproxy.proxy import mode_specs

from smtpguard.options import DEFAULT_PORTS, misspelt
from smtpguard.proxy import entry
from smtpguard.proxy.maillog import describe, printable
from smtpguard.proxy.moment import NobodyOnDutyError, RulesOfTheMoment
from smtpguard.proxy.pacing import Transports, close_leftover, handler_of
from smtpguard.proxy.record import Recorder
from smtpguard.proxy.registry import Registry
from smtpguard.proxy.services import ClientGone, Services, StopRequested
from smtpguard.proxy.socks import SmtpSocks
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable

    from mitmproxy.connection import Client
    from mitmproxy.proxy import context, layer
    from mitmproxy.proxy.server_hooks import ServerConnectionHookData

    from smtpguard.dialogue import TransactionRecord
    from smtpguard.model.decider import Decider
    from smtpguard.model.session import SessionFacts
    from smtpguard.options import GuardOptions
    from smtpguard.proxy.hooks import SmtpMessageData


logger = getLogger(__name__)

NAME = "smtpguardsentinel"
_FORBIDDEN = "emudhra"
"""Options of an addon that replaces certificates behind our back."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Who is on duty, with options and rules of the moment."""

    owner: object
    options: GuardOptions
    decider: Decider
    judge_at_once: Callable[[SmtpMessageData], bool] = lambda _: False
    """See ``Services.judge_at_once``."""
    transaction_ended: Callable[[TransactionRecord], None] = lambda _: None
    """See ``Services.transaction_ended``."""


class Sentinel:
    """Takes SMTP connections over; closes them while nobody is on duty."""

    name = NAME

    def __init__(self) -> None:
        self.registry = Registry()
        self.rules = RulesOfTheMoment(self._decider)
        """Asks whoever is on duty then; undecided while nobody is."""
        self._guard: Guard | None = None
        self._ended: Callable[[TransactionRecord], None] = lambda _: None
        self._ports = DEFAULT_PORTS
        self._faults: list[str] = []

    @classmethod
    def get(cls) -> Sentinel:
        """Return the process's sentinel, added to mitmproxy now if it is not there."""
        found = ctx.master.addons.get(NAME)
        if found is None:
            found = cls()
            ctx.master.addons.add(found)
        return cast("Sentinel", found)

    # -- duty ------------------------------------------------------------------------

    def on_duty(self, guard: Guard) -> None:
        """Let connections in, judged by this guard from now on."""
        self._guard = guard
        self._ended = guard.transaction_ended
        self._ports = guard.options.ports
        self.registry.listeners.own = (guard.owner, self)
        self.registry.listeners.spare_log_events()
        self.running()

    def off_duty(self, owner: object) -> None:
        """Let nobody in, unless somebody else has come on duty meanwhile."""
        if self._guard is not None and self._guard.owner is owner:
            self._guard = None

    def running(self) -> None:
        """Check what can only be known once all addons are there."""
        self._faults = [
            *(f"no option is called {name}" for name in misspelt(ctx.options.deferred)),
            *(
                f"smtpguard does not run beside the option {name}"
                for name in ctx.options.keys()  # noqa: SIM118 - no mapping
                if name.startswith(_FORBIDDEN) and getattr(ctx.options, name)
            ),
        ]
        for fault in self._faults:
            # An error at the start ends mitmproxy; later it keeps clients out.
            logger.error("%s", fault)

    # -- clients ---------------------------------------------------------------------

    async def client_connected(self, client: Client) -> None:
        """Take a new connection over if it is SMTP."""
        if client.error:
            return
        client.error = "smtpguard could not take the connection over"
        handler = handler_of(client)
        if handler is None:
            return
        found = handler.layer.context
        if isinstance(client.proxy_mode, mode_specs.Socks5Mode):
            found.layers.clear()
            handler.layer = SmtpSocks(found, self._behind_socks)
        elif entry.is_smtp(found, self._ports):
            taken = await self._take_over(found)
            if taken is None:
                client.error = "smtpguard has no rules to judge by"
                return
            handler.layer = taken
        client.error = None

    async def _take_over(self, found: context.Context) -> layer.Layer | None:
        """Return our layer for a new connection; None while nobody is on duty."""
        if (guard := self._guard_on_duty()) is None:
            return None
        session = entry.describe_session(found, self.registry.new_id())
        refused = await self.registry.admit_in_time(
            found.client, guard.options, trusted=_is_trusted(guard, session)
        )
        # Whoever had to wait may find nobody on duty any more.
        if (guard := self._guard_on_duty()) is None:
            return None
        found.layers.clear()
        return self._enter(found, session, guard, refused)

    def _behind_socks(self, found: context.Context) -> layer.Layer | None:
        """Take over what a SOCKS client asks for, if it is SMTP."""
        address = found.server.address
        if address is None or address[1] not in self._ports:
            return None
        try:
            if (guard := self._guard_on_duty()) is not None:
                session = entry.describe_session(found, self.registry.new_id())
                refused = self.registry.admit(
                    found.client, guard.options, trusted=_is_trusted(guard, session)
                )
                return self._enter(found, session, guard, refused)
        except Exception as error:  # noqa: BLE001 - refused, never relayed
            addresses = self._guard.options.log_addresses if self._guard else "none"
            trace = describe(error, addresses)
            logger.error("SMTP client refused: %s", trace)  # noqa: TRY400 - the text says it
        del found.layers[1:]
        return entry.Refusal(found, replies.UPSTREAM_UNREACHABLE)

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Refuse SMTP through an HTTP proxy: mitmproxy would relay it unread."""
        if flow.request.port in self._ports:
            logger.warning("CONNECT to port %d refused: SMTP", flow.request.port)
            flow.response = http.Response.make(403, "SMTP is not relayed by CONNECT")

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Refuse HTTP to a port that is SMTP: its body may be a dialogue, unread.

        Before the request hook, since a streamed body would be under way by then, and
        without an answer, for which mitmproxy would read the body to its end first.
        """
        if flow.request.port in self._ports:
            what = f"{flow.request.method} to port {flow.request.port}"
            logger.warning("%s refused: SMTP", printable(what))
            if flow.killable:
                flow.kill()

    def _guard_on_duty(self) -> Guard | None:
        if self._guard is None or self._faults or self.registry.stopping:
            logger.warning("SMTP client refused: no rules to judge by")
            return None
        return self._guard

    async def client_disconnected(self, client: Client) -> None:
        """Tell the session, which may not have been told, and count the client out."""
        try:
            gone = self.registry.entries.get(client.id)
            handler = handler_of(client)
            if gone is not None and handler is not None:
                await handler.server_event(ClientGone())
        finally:
            close_leftover(client, client)
            self.registry.disconnected(client)

    def server_disconnected(self, data: ServerConnectionHookData) -> None:
        """See to it that the upstream's socket is closed; its session may be over."""
        close_leftover(data.client, data.server)

    async def stop(self, seconds: float) -> None:
        """Let nobody in, end idle sessions, and wait for what is under way."""
        self.registry.stopping = True
        proxyserver = ctx.master.addons.get("proxyserver")
        if proxyserver is not None:
            await proxyserver.servers.update([])
        for live in list(self.registry.entries.values()):
            handler = handler_of(live.context.client)
            if handler is not None:
                await handler.server_event(StopRequested())
        if not await self.registry.idle(seconds):
            left = len(self.registry.entries)
            logger.warning("%d SMTP sessions are cut off by the end", left)

    def _decider(self) -> Decider:
        """Return the rules of whoever is on duty now. Raises NobodyOnDutyError."""
        if self._guard is None:
            raise NobodyOnDutyError("no rules to judge by")
        return self._guard.decider

    def _judge_at_once(self, data: SmtpMessageData) -> bool:
        """Have whoever is on duty now judge a message, if that takes no time.

        Nobody on duty answers no: the hook then finds nobody either, which is 451.
        """
        guard = self._guard
        return guard is not None and guard.judge_at_once(data)

    def _transaction_ended(self, record: TransactionRecord) -> None:
        """Tell who was on duty last that a transaction has ended."""
        self._ended(record)

    def _enter(
        self, found: context.Context, session: SessionFacts, guard: Guard, refused: str
    ) -> layer.Layer:
        """Return the layer that takes a connection over, or refuses it."""
        if refused:
            logger.warning("SMTP client %s refused: %s", session.client[0], refused)
            return entry.Refusal(found, replies.TOO_MANY_CONNECTIONS)
        services = Services(
            registry=self.registry,
            options=guard.options,
            pacing=Transports(found.client),
            make_recorder=partial(Recorder, budget=self.registry.recordings),
            decider=self.rules,
            judge_at_once=self._judge_at_once,
            transaction_ended=self._transaction_ended,
            heard=self.registry.listeners.heard(),
        )
        made = entry.Entry(found, session, services)
        self.registry.entries[found.client.id] = made
        return made


def _is_trusted(guard: Guard, session: SessionFacts) -> bool:
    """Whether a client speaks for many others (PROXY, XCLIENT)."""
    return guard.decider.trusted(session.client) is not None
