"""The transports of a session: the only file that touches sockets.

mitmproxy's layers see events and commands only; back-pressure, resets and timeouts of
TCP can be had from the asyncio transports alone. In wireguard and local mode there is
no transport but a ``mitmproxy_rs.Stream``: everything here then does nothing, and says
so by its return value where that matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.trsock import TransportSocket
from typing import TYPE_CHECKING, Protocol

from mitmproxy import ctx
from mitmproxy.utils import asyncio_utils

from smtpguard.proxy.services import Drain, Drained


if TYPE_CHECKING:
    from mitmproxy.connection import Client, Connection
    from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
    from mitmproxy.proxy.server import ConnectionIO


USER_TIMEOUT = 300.0
"""Seconds in which a peer has to acknowledge what it was sent, the longest wait of RFC
5321 4.5.3.2 for anything but the end of data. Without it a peer with a closed window
keeps socket and buffer for ever, also after we have closed (traps 1)."""
_TCP_CLOSE = 7
"""tcpi_state of a connection that was reset (linux/tcp.h)."""


class Pacing(Protocol):
    """What the SMTP layer wants of the transports."""

    def tune(self, connection: Connection) -> None:
        """Set the socket's options; once, when the connection is there."""
        ...

    def pause(self, connection: Connection) -> None:
        """Take no more octets from the peer. May be repeated."""
        ...

    def resume(self, connection: Connection) -> None:
        """Take octets from the peer again."""
        ...

    def was_reset(self, connection: Connection) -> bool:
        """Whether the peer can receive nothing any more (RST, not FIN)."""
        ...

    def drain(self, command: Drain) -> None:
        """Have ``Drained`` told once what was sent has left our buffers."""
        ...


class Transports:
    """The transports of one client's session."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def tune(self, connection: Connection) -> None:
        """Bound how long unacknowledged octets are kept."""
        tcp = self._socket(connection)
        option = getattr(socket, "TCP_USER_TIMEOUT", None)
        if tcp is not None and option is not None:
            with contextlib.suppress(OSError):
                milliseconds = int(USER_TIMEOUT * 1000)
                tcp.setsockopt(socket.IPPROTO_TCP, option, milliseconds)

    def pause(self, connection: Connection) -> None:
        """Stop reading from the socket.

        asyncio's reader resumes the transport by itself when its own buffer is empty:
        whoever gets octets while paused has to pause again.
        """
        if (transport := self._transport(connection)) is not None:
            transport.pause_reading()

    def resume(self, connection: Connection) -> None:
        """Read from the socket again."""
        transport = self._transport(connection)
        if transport is not None and not transport.is_closing():
            transport.resume_reading()

    def was_reset(self, connection: Connection) -> bool:
        """Ask reader, transport and kernel, in this order; False where unknown."""
        io = self._io(connection)
        if io is None:
            return True
        if isinstance(io.reader, asyncio.StreamReader) and io.reader.exception():
            return True
        transport = self._transport(connection)
        if transport is None:
            return False
        return transport.is_closing() or self._state(connection) == _TCP_CLOSE

    def drain(self, command: Drain) -> None:
        """Tell the session once what was sent has left our buffers, or never can."""
        handler = handler_of(self._client)
        if handler is not None:
            asyncio_utils.create_task(
                self._drain(handler, command),
                name="smtpguard drain",
                keep_ref=True,
                client=self._client.peername,
            )

    async def _drain(self, handler: ProxyConnectionHandler, command: Drain) -> None:
        io = self._io(command.connection)
        if io is not None and isinstance(io.writer, asyncio.StreamWriter):
            with contextlib.suppress(OSError):
                await io.writer.drain()
        await handler.server_event(Drained(command))

    def _state(self, connection: Connection) -> int:
        tcp = self._socket(connection)
        option = getattr(socket, "TCP_INFO", None)
        if tcp is None or option is None:
            return 0
        try:
            return int(tcp.getsockopt(socket.IPPROTO_TCP, option, 8)[0])
        except OSError:
            return _TCP_CLOSE

    def _io(self, connection: Connection) -> ConnectionIO | None:
        handler = handler_of(self._client)
        return handler.transports.get(connection) if handler else None

    def _transport(self, connection: Connection) -> asyncio.Transport | None:
        io = self._io(connection)
        if io is None or not isinstance(io.writer, asyncio.StreamWriter):
            return None
        transport = io.writer.transport
        return transport if isinstance(transport, asyncio.Transport) else None

    def _socket(self, connection: Connection) -> TransportSocket | None:
        transport = self._transport(connection)
        found = transport.get_extra_info("socket") if transport else None
        return found if isinstance(found, TransportSocket) else None


def handler_of(client: Client) -> ProxyConnectionHandler | None:
    """Return mitmproxy's handler of a live client, None once it has gone."""
    proxyserver = ctx.master.addons.get("proxyserver")
    if proxyserver is None:
        return None
    found: ProxyConnectionHandler | None = proxyserver.connections.get(client.id)
    return found


def close_leftover(client: Client, connection: Connection) -> None:
    """Close a socket that mitmproxy has forgotten to close.

    A reading task that is cancelled ("closed by command") while it hands on what the
    peer sent last ends without closing its socket: whoever sends more than we wanted
    to hear would keep its connection, and wait on it for ever. To be called when the
    task has ended; mostly there is nothing left to close.
    """
    handler = handler_of(client)
    io = handler.transports.get(connection) if handler else None
    writer = io.writer if io is not None else None
    if isinstance(writer, asyncio.StreamWriter) and not writer.is_closing():
        writer.close()


def local_address(client: Client) -> tuple[str, int] | None:
    """Return where the client's TCP connection ends, whatever it was meant for.

    In transparent mode ``client.sockname`` is overwritten with the original
    destination; the socket knows better.
    """
    handler = handler_of(client)
    io = handler.transports.get(client) if handler else None
    if io is None or not isinstance(io.writer, asyncio.StreamWriter):
        return None
    found = io.writer.get_extra_info("sockname")
    return (found[0], found[1]) if found else None
