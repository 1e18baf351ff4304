"""The life cycle that both upgradeable TLS layers share; see ``starttls``.

Owns one connection's phase, the hooks that hold up its handshake, and the octets that
come meanwhile. It takes its own connection's events and commands and lets all others
pass, whatever it is waiting for.
"""

from __future__ import annotations

import collections
import contextlib
from enum import Enum, auto
from logging import ERROR, INFO
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mitmproxy import connection
from mitmproxy.proxy import commands, events, layer, tunnel
from mitmproxy.proxy.layers import tls
from mitmproxy.tls import TlsData
from OpenSSL import SSL

from smtpguard.model.session import TlsFacts
from smtpguard.proxy.hello import MAX_OCTETS
from smtpguard.proxy.tlsfacts import is_address, unread, unsent, verify_text
from smtpguard.proxy.upgrade import (
    ContinueTls,
    Provide,
    Quiet,
    StartTls,
    StartTlsCompleted,
    TlsRefusedError,
)
from smtpguard.tlscontext import reason


if TYPE_CHECKING:
    from collections.abc import Generator


RECORD_READ = 65535


class Phase(Enum):
    """How far a connection's upgrade has come."""

    CLEAR = auto()
    HELLO = auto()
    """Waiting for the ClientHello."""
    HELD = auto()
    """The ClientHello is there; waiting for ``ContinueTls``."""
    HANDSHAKE = auto()
    SECURE = auto()
    CLOSED = auto()
    """Nothing is sent or received any more."""


class Upgradeable(tls.TLSLayer):
    """What both layers share; not for use by itself."""

    failed_hook: ClassVar[type[tls.TlsFailedClientHook | tls.TlsFailedServerHook]]
    start_hook: ClassVar[type[tls.TlsStartClientHook | tls.TlsStartServerHook]]
    refusal: ClassVar[bytes] = b""
    """What the peer gets where we cannot begin."""
    phase: Phase

    def set_up(self, provide: Provide | None, quiet: Quiet | None) -> None:
        """Complete ``__init__``."""
        self._provide = provide
        self._quiet = quiet
        self._child_events: collections.deque[events.Event] = collections.deque()
        self._child_busy = False
        self.begin_in_clear()

    def begin_in_clear(self) -> None:
        """Set the layer up for a connection that is in clear."""
        self.conn.tls = False  # mitmproxy's layer wants TLS from the start
        self.tunnel_state = tunnel.TunnelState.OPEN
        self.tls = None  # type: ignore[assignment]
        self.phase = Phase.CLEAR
        self._command: StartTls | None = None
        self._waiting: tuple[commands.Command, layer.CommandGenerator[None]] | None
        self._waiting = None
        self._held = bytearray()
        self._told_closed = False

    def __repr__(self) -> str:
        """Return class and phase."""
        return f"{type(self).__name__}({self.phase.name.lower()})"

    # -- events ----------------------------------------------------------------------

    def handle_event(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Take our own connection's events; all others go to the child as they are.

        Most events only pass: so this is no generator, but returns the one that acts.
        """
        waiting = self._waiting
        if waiting is not None and (
            isinstance(event, events.CommandCompleted) and event.command is waiting[0]
        ):
            self._waiting = None
            return self._run(waiting[1])
        if isinstance(event, events.ConnectionEvent) and event.connection is self.conn:
            if isinstance(event, events.DataReceived):
                return self._receive(event)
            if isinstance(event, events.ConnectionClosed):
                return self._peer_closed(event)
        return self.event_to_child(event)

    def event_to_child(self, event: events.Event) -> layer.CommandGenerator[None]:
        """Hand an event to the child, after those that it is still working on."""
        if self._child_busy:
            self._child_events.append(event)
            return
        self._child_busy = True
        try:
            while True:
                for command in self.child_layer.handle_event(event):
                    if (
                        isinstance(command, commands.ConnectionCommand)
                        and command.connection is self.conn
                    ):
                        yield from self._carry_out(command)
                    else:
                        yield command
                if not self._child_events:
                    return
                event = self._child_events.popleft()
        finally:
            self._child_busy = False

    def _receive(self, event: events.DataReceived) -> layer.CommandGenerator[None]:
        if self.phase is Phase.CLEAR:
            return self.event_to_child(event)
        if self.phase is Phase.CLOSED:
            return self._nothing()
        if self._waiting is not None or self.phase is Phase.HELD:
            self._held += event.data
            if len(self._held) <= MAX_OCTETS:
                return self._nothing()
            self._waiting = None
            return self._run(self._fail("too much data during the handshake"))
        if self.phase is Phase.SECURE:
            return self._decrypt(event.data)
        return self._run(self._proceed(event.data))

    def _nothing(self) -> layer.CommandGenerator[None]:
        yield from ()

    def _peer_closed(
        self, event: events.ConnectionClosed
    ) -> layer.CommandGenerator[None]:
        if self._command is not None:
            self._waiting = None
            yield from self._run(self._fail("connection closed"))
        elif not self._told_closed:
            self._told_closed = True
            yield from self.event_to_child(event)

    # -- commands --------------------------------------------------------------------

    def _carry_out(
        self, command: commands.ConnectionCommand
    ) -> layer.CommandGenerator[None]:
        """Do what the child wants done with our connection."""
        match command:
            case commands.SendData():
                return self.send_data(command.data)
            case commands.CloseConnection():
                return self.send_close(command)
            case StartTls():
                return self._begin(command)
            case ContinueTls():
                held = self.phase is Phase.HELD
                return self._run(self._open_tls()) if held else self._nothing()
            case _:
                return self._pass_on(command)

    def _pass_on(self, command: commands.Command) -> layer.CommandGenerator[None]:
        yield command

    def send_data(self, data: bytes) -> layer.CommandGenerator[None]:
        """Send octets of the child; dropped where nobody could read them any more."""
        if self.phase is Phase.CLEAR:
            yield commands.SendData(self.conn, data)
        elif self.phase is Phase.SECURE:
            try:
                self.tls.sendall(data)
            except SSL.Error as error:
                yield from self._break(error)
            else:
                if waiting := unsent(self.tls):
                    yield commands.SendData(self.conn, self.tls.bio_read(waiting))

    def send_close(
        self, command: commands.CloseConnection
    ) -> layer.CommandGenerator[None]:
        """Close the connection, with close_notify where it is encrypted."""
        if self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.SECURE:
            # The peer may be gone or talk nonsense: closing is all that is left.
            with contextlib.suppress(SSL.Error):
                self.tls.shutdown()
            yield from self.tls_interact()
        if not getattr(command, "half_close", False):
            self.phase = Phase.CLOSED
            self._command = self._waiting = None
        yield command

    # -- the handshake ---------------------------------------------------------------

    def _begin(self, command: StartTls) -> layer.CommandGenerator[None]:
        if self.phase is not Phase.CLEAR and self.phase is not Phase.CLOSED:
            msg = f"StartTls on a connection that is no longer in clear: {self!r}"
            raise AssertionError(msg)
        self._command = command
        if self.phase is Phase.CLOSED or self._told_closed:
            yield from self._run(self._fail("connection closed"))
            return
        self.conn.tls = True
        yield from self._run(self._prepare(command))

    def _prepare(self, command: StartTls) -> layer.CommandGenerator[None]:
        """Begin the handshake on our side."""
        raise NotImplementedError

    def _proceed(self, data: bytes) -> layer.CommandGenerator[None]:
        """Take octets of the handshake."""
        done, error = yield from tls.TLSLayer.receive_handshake_data(self, data)
        if error is not None:
            yield from self._fail(error)
        elif done:
            yield from self._finish()

    def _open_tls(self) -> layer.CommandGenerator[None]:
        """Get the SSL object and begin to use it."""
        self.phase = Phase.HANDSHAKE
        offer = TlsData(self.conn, self.context)
        refused = self._ask_for(offer)
        if not refused:
            yield self.start_hook(offer)
            refused = "" if offer.ssl_conn else "no TLS context was provided"
        if refused:
            yield commands.Log(f"TLS refused: {refused}", ERROR)
            if self.refusal:
                yield commands.SendData(self.conn, self.refusal)
            yield from self._fail(refused)
            return
        self.tls = cast("SSL.Connection", offer.ssl_conn)
        yield from self._proceed(self._first_octets())

    def _ask_for(self, offer: TlsData) -> str:
        """Have ``provide`` fill the offer; return why it did not."""
        if self._provide is None:
            return ""
        try:
            self._provide(offer)
        except TlsRefusedError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is: no TLS, not other TLS
            return f"{type(error).__name__} while TLS was set up: {error}"
        return ""

    def _first_octets(self) -> bytes:
        """Return what OpenSSL gets first, "" where we speak first."""
        return b""

    def _finish(self) -> layer.CommandGenerator[None]:
        command, self._command = self._command, None
        if command is None:
            return
        self.phase = Phase.SECURE
        yield from self.tls_interact()
        yield from self.event_to_child(StartTlsCompleted(command, None, self.facts()))
        # The peer may have sent more in the segment of its Finished (TLS 1.3 servers
        # do, and clients that need not wait): it follows the completion.
        if self.phase is Phase.SECURE:
            yield from self._decrypt(b"")

    def _fail(self, error: str) -> layer.CommandGenerator[None]:
        command, self._command = self._command, None
        self.phase = Phase.CLOSED
        self._told_closed = True  # by the completion
        self._held.clear()
        self.conn.tls = False
        self.conn.error = error
        if self.tls is not None:
            yield from self.tls_interact()  # the alert
        yield self.failed_hook(TlsData(self.conn, self.context, self.tls))
        yield commands.CloseConnection(self.conn)
        if command is not None:
            yield from self.event_to_child(StartTlsCompleted(command, error))

    def facts(self) -> TlsFacts:
        """Return what is known of the handshake that has just succeeded."""
        verified = ""
        if self.conn.certificate_list:
            verified = verify_text(self.tls)
        return TlsFacts(
            version=self.conn.tls_version or "",
            cipher=self.conn.cipher or "",
            name="" if is_address(self.conn.sni or "") else self.conn.sni or "",
            verified=verified,
        )

    # -- encrypted octets --------------------------------------------------------------

    def receive_data(self, data: bytes) -> layer.CommandGenerator[None]:  # noqa: ARG002
        """Do nothing: mitmproxy's handshake calls this too early, see ``_finish``."""
        yield from ()

    def _decrypt(self, data: bytes) -> layer.CommandGenerator[None]:
        if data:
            self.tls.bio_write(data)
        clear: list[bytes] = []
        closed, broken = False, None
        while not closed:
            try:
                clear.append(self.tls.recv(RECORD_READ))
                if not unread(self.tls):
                    break
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                closed = True
            except SSL.Error as error:
                closed, broken = True, error
        # After recv, which may have had something to answer.
        if waiting := unsent(self.tls):
            yield commands.SendData(self.conn, self.tls.bio_read(waiting))
        if clear and not self._told_closed:
            yield from self.event_to_child(
                events.DataReceived(self.conn, b"".join(clear))
            )
        if broken is not None:
            yield from self._break(broken)
        elif closed and not self._told_closed:
            self._told_closed = True
            self.conn.state &= ~connection.ConnectionState.CAN_READ
            yield from self.event_to_child(events.ConnectionClosed(self.conn))

    def tls_interact(self) -> layer.CommandGenerator[None]:
        """Send what OpenSSL has to say, in one piece."""
        if waiting := unsent(self.tls):
            yield commands.SendData(self.conn, self.tls.bio_read(waiting))

    def _break(self, error: SSL.Error) -> layer.CommandGenerator[None]:
        """End a connection whose encryption does not hold any more."""
        if self.phase is Phase.CLOSED:
            return
        self.phase = Phase.CLOSED
        yield commands.Log(f"TLS error: {reason(error)}", INFO)
        yield commands.CloseConnection(self.conn)
        if not self._told_closed:
            self._told_closed = True
            yield from self.event_to_child(events.ConnectionClosed(self.conn))

    # -- the driver --------------------------------------------------------------------

    def _run(
        self, generator: Generator[commands.Command, Any, None]
    ) -> layer.CommandGenerator[None]:
        """Run a part of the handshake up to its next hook that somebody hears."""
        for command in generator:
            if command.blocking is not True:
                yield command
            elif not self._is_quiet(command):
                command.blocking = self  # tells the layers below not to wait for it
                self._waiting = (command, generator)
                yield command
                return
        yield from self._catch_up()

    def _is_quiet(self, command: commands.Command) -> bool:
        return (
            self._quiet is not None
            and isinstance(command, commands.StartHook)
            and self._quiet(command)
        )

    def _catch_up(self) -> layer.CommandGenerator[None]:
        """Take what came in while a hook was being answered."""
        if self._held and self._waiting is None:
            held = bytes(self._held)
            if self.phase is Phase.HANDSHAKE:
                self._held.clear()
                yield from self._run(self._proceed(held))
            elif self.phase is Phase.SECURE:
                self._held.clear()
                yield from self._decrypt(held)
