"""Two TLS layers that begin in clear and are upgraded on command (RFC 3207).

    UpstreamTls / ClientTls / your layer

``your layer`` sees both connections as if they had no TLS, says ``StartTls`` when the
protocol is at that point, and hears ``StartTlsCompleted``. Nothing here knows SMTP:
other addons can use these layers for IMAP, POP3, LDAP, XMPP or PostgreSQL. Make
``UpstreamTls`` first, then ``ClientTls``, then the layer above them, and link each to
the next by ``child_layer``.

Both are mitmproxy's own TLS layers with another life cycle::

    clear --StartTls--> hello --(held)--> handshake --> secure --> closed
                        (client only)

so certificates, options, ``tls_*`` hooks and the connection's attributes stay as
mitmproxy users know them. What differs, each because of a way in which the originals
hang or fall open when they are upgraded late:

- closing is passed on in the clear phase too, once per connection, and after a failed
  handshake the completion alone tells of it;
- hooks hold up their own connection only: what the other one sends, timers and
  completions pass while a handler works;
- sending after a failure is dropped, never raised; what a peer sends while a handshake
  is held up is bounded;
- octets of the peer are never logged;
- closing says so (close_notify), so that a peer can tell an end from a cut.
"""

from __future__ import annotations

from logging import WARNING
from typing import TYPE_CHECKING

from mitmproxy.proxy import commands, context, layer
from mitmproxy.proxy.layers import tls
from mitmproxy.tls import ClientHelloData

from smtpguard.proxy.hello import HelloReader
from smtpguard.proxy.upgrade import (
    ContinueTls,
    HelloReceived,
    Provide,
    Quiet,
    StartTls,
    StartTlsCompleted,
    TlsRefusedError,
)
from smtpguard.proxy.upgradeable import Phase, Upgradeable


if TYPE_CHECKING:
    from mitmproxy import connection


__all__ = [
    "ClientTls",
    "ContinueTls",
    "HelloReceived",
    "StartTls",
    "StartTlsCompleted",
    "TlsRefusedError",
    "UpstreamTls",
]

ALERT_HANDSHAKE_FAILURE = bytes.fromhex("15030300020228")
"""A fatal alert in clear (RFC 8446 6), for a handshake that we refuse to begin."""


class UpstreamTls(Upgradeable, tls.ServerTLSLayer):
    """The server's side: begins in clear, speaks TLS after ``StartTls(server)``.

    ``OpenConnection`` passes through it unchanged, so it can be sent without pausing.
    """

    failed_hook = tls.TlsFailedServerHook
    start_hook = tls.TlsStartServerHook

    def __init__(
        self,
        context: context.Context,
        provide: Provide | None = None,
        quiet: Quiet | None = None,
    ) -> None:
        super().__init__(context)
        self.set_up(provide, quiet)

    def reset(self, server: connection.Server) -> None:
        """Begin again in clear, with a new connection in place of a spent one.

        mitmproxy cannot open a Server object twice; events of the old one pass to the
        child, which has to ignore them.
        """
        self.conn = self.tunnel_connection = server
        self.begin_in_clear()

    def _prepare(self, command: StartTls) -> layer.CommandGenerator[None]:
        self.conn.sni = command.name or None
        self._held += command.data
        yield from self._open_tls()


class ClientTls(Upgradeable, tls.ClientTLSLayer):
    """The client's side: begins in clear, expects a ClientHello after ``StartTls``.

    With ``hold`` the child hears ``HelloReceived`` and the handshake waits for
    ``ContinueTls``: time for a handshake with the server, so that a certificate can be
    made after the server's.
    """

    failed_hook = tls.TlsFailedClientHook
    start_hook = tls.TlsStartClientHook
    refusal = ALERT_HANDSHAKE_FAILURE

    def __init__(
        self,
        context: context.Context,
        provide: Provide | None = None,
        quiet: Quiet | None = None,
    ) -> None:
        super().__init__(context)
        self._reader = HelloReader()
        self.set_up(provide, quiet)

    def _prepare(self, command: StartTls) -> layer.CommandGenerator[None]:
        self.phase = Phase.HELLO
        if command.data:
            yield from self._proceed(command.data)

    def _proceed(self, data: bytes) -> layer.CommandGenerator[None]:
        if self.phase is not Phase.HELLO:
            yield from super()._proceed(data)
            return
        try:
            hello = self._reader.feed(data)
        except ValueError as error:
            yield from self._fail(str(error))
            return
        if hello is None:
            return
        self.conn.sni = hello.sni
        self.conn.alpn_offers = hello.alpn_protocols
        greeted = ClientHelloData(self.context, hello)
        yield tls.TlsClienthelloHook(greeted)
        if greeted.ignore_connection:
            # The session was read so far and cannot be made a tunnel half way.
            yield commands.Log("ignore_connection after STARTTLS is ignored", WARNING)
        if self._command is not None and self._command.hold:
            self.phase = Phase.HELD
            yield from self.event_to_child(
                HelloReceived(self.conn, self.conn.sni or "")
            )
        else:
            yield from self._open_tls()

    def _first_octets(self) -> bytes:
        octets = bytes(self._reader.octets) + bytes(self._held)
        self._held.clear()
        self._reader = HelloReader()
        return octets
