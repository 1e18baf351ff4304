"""Transports: real sockets on loopback, and what has no socket at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from asyncio.trsock import TransportSocket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mitmproxy.connection import Client
from mitmproxy.proxy.server import ConnectionIO
from mitmproxy.test import taddons

from smtpguard.proxy.pacing import (
    USER_TIMEOUT,
    Transports,
    close_leftover,
    handler_of,
    local_address,
)
from smtpguard.proxy.services import Drain
from tests.waiting import until


class Handler:
    """As much of mitmproxy's connection handler as is looked at."""

    def __init__(self) -> None:
        self.transports: dict[Any, ConnectionIO] = {}
        self.seen: list[object] = []

    async def server_event(self, event: object) -> None:
        self.seen.append(event)


class Proxyserver:
    """The addon that knows the handlers."""

    name = "proxyserver"

    def __init__(self) -> None:
        self.connections: dict[str, Handler] = {}


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Client, socket.socket, ConnectionIO]]:
    """Yield a client as mitmproxy has it, and the peer's end of its socket."""
    accepted: asyncio.Future[ConnectionIO] = asyncio.get_running_loop().create_future()

    def on_client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result(ConnectionIO(reader=reader, writer=writer))

    server = await asyncio.start_server(on_client, "127.0.0.1", 0)
    peer = socket.create_connection(server.sockets[0].getsockname())
    peer.setblocking(False)
    io = await accepted
    client = Client(peername=peer.getsockname(), sockname=("198.51.100.1", 25))
    proxyserver = Proxyserver()
    with taddons.context(proxyserver):
        handler = Handler()
        handler.transports[client] = io
        proxyserver.connections[client.id] = handler
        try:
            yield client, peer, io
        finally:
            peer.close()
            io.writer.close()  # type: ignore[union-attr]
            server.close()
            await server.wait_closed()


def drained(client: Client) -> list[object]:
    """Ask for a drain; return where its end will be told."""
    handler: Any = handler_of(client)
    Transports(client).drain(Drain(client))
    seen: list[object] = handler.seen
    return seen


def run(scene: Callable[[], Any]) -> Any:
    return asyncio.run(scene())


def test_sockets_do_not_wait_for_dead_peers_for_ever() -> None:
    async def scene() -> int:
        async with connected() as (client, _, io):
            Transports(client).tune(client)
            assert isinstance(io.writer, asyncio.StreamWriter)
            tcp = io.writer.get_extra_info("socket")
            found: int = tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            return found

    assert run(scene) == USER_TIMEOUT * 1000


def test_pausing_takes_no_more_octets_and_resuming_does() -> None:
    async def scene() -> tuple[bytes, bytes]:
        async with connected() as (client, peer, io):
            transports = Transports(client)
            transports.pause(client)
            transports.pause(client)
            peer.send(b"later")
            for _ in range(20):
                await asyncio.sleep(0)
            buffered = bytes(io.reader._buffer)  # type: ignore[union-attr]
            transports.resume(client)
            return buffered, await io.reader.read(5)  # type: ignore[union-attr]

    assert run(scene) == (b"", b"later")


def test_a_fin_is_no_reset() -> None:
    async def scene() -> bool:
        async with connected() as (client, peer, io):
            peer.shutdown(socket.SHUT_WR)
            await until(io.reader.at_eof)  # type: ignore[union-attr]
            return Transports(client).was_reset(client)

    assert run(scene) is False


def reset(peer: socket.socket) -> None:
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_a_reset_is_told() -> None:
    async def scene() -> bool:
        async with connected() as (client, peer, io):
            reset(peer)
            await until(lambda: io.reader.exception() is not None)  # type: ignore[union-attr]
            return Transports(client).was_reset(client)

    assert run(scene) is True


@pytest.mark.parametrize("how", ["paused", "half closed"])
def test_a_reset_that_asyncio_does_not_see_is_told(how: str) -> None:
    """Nobody reads from such a transport; the kernel knows all the same."""

    async def scene() -> bool:
        async with connected() as (client, peer, io):
            transports = Transports(client)
            if how == "paused":
                transports.pause(client)
            else:
                peer.shutdown(socket.SHUT_WR)
                await until(io.reader.at_eof)  # type: ignore[union-attr]
            assert not transports.was_reset(client)
            reset(peer)
            await until(lambda: transports.was_reset(client))
            return io.reader.exception() is None  # type: ignore[union-attr]

    assert run(scene) is True


def test_each_of_three_tells_of_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reader, transport and kernel hear of it in any order."""

    async def scene() -> list[bool]:
        told = []
        async with connected() as (client, _, io):
            assert isinstance(io.reader, asyncio.StreamReader)
            io.reader.set_exception(ConnectionResetError())
            told.append(Transports(client).was_reset(client))
        async with connected() as (client, _, io):
            assert isinstance(io.writer, asyncio.StreamWriter)
            io.writer.transport.close()  # the socket itself is closed later
            told.append(Transports(client).was_reset(client))
        async with connected() as (client, _, io):
            transports = Transports(client)
            gone = socket.socket()
            gone.close()
            monkeypatch.setattr(transports, "_socket", lambda _: TransportSocket(gone))
            told.append(transports.was_reset(client))
        return told

    assert run(scene) == [True, True, True]


def test_draining_waits_until_the_peer_reads() -> None:
    async def scene() -> tuple[bool, int]:
        async with connected() as (client, peer, io):
            io.writer.write(bytes(16 * 1024 * 1024))  # type: ignore[union-attr]
            told = drained(client)
            for _ in range(20):
                await asyncio.sleep(0)
            waited = not told
            loop = asyncio.get_running_loop()
            while not told:
                await loop.sock_recv(peer, 1 << 20)
                await asyncio.sleep(0)
            left = io.writer.transport.get_write_buffer_size()  # type: ignore[union-attr]
            return waited, left

    waited, left = run(scene)
    assert waited
    assert left <= 64 * 1024


def test_draining_ends_when_the_peer_resets() -> None:
    async def scene() -> None:
        async with connected() as (client, peer, io):
            io.writer.write(bytes(16 * 1024 * 1024))  # type: ignore[union-attr]
            told = drained(client)
            await asyncio.sleep(0)
            reset(peer)
            await until(lambda: bool(told))

    run(scene)


def test_a_connection_that_is_gone_can_receive_nothing() -> None:
    async def scene() -> bool:
        async with connected() as (client, _, __):
            transports = Transports(client)
            handler = handler_of(client)
            assert handler is not None
            handler.transports.clear()
            transports.pause(client)
            transports.resume(client)
            transports.tune(client)
            drains = drained(client)
            await until(lambda: bool(drains))
            return transports.was_reset(client)

    assert run(scene) is True


def test_a_stream_without_a_transport_is_left_alone() -> None:
    """wireguard and local mode: ``mitmproxy_rs.Stream``."""

    class Stream:
        async def drain(self) -> None:
            raise AssertionError("it has a drain of its own")

    async def scene() -> tuple[bool, object]:
        async with connected() as (client, _, io):
            stream: Any = Stream()
            handler = handler_of(client)
            assert handler is not None
            handler.transports[client] = ConnectionIO(reader=stream, writer=stream)
            transports = Transports(client)
            transports.tune(client)
            transports.pause(client)
            transports.resume(client)
            drains = drained(client)
            await until(lambda: bool(drains))
            told = transports.was_reset(client), local_address(client)
            handler.transports[client] = io
            return told

    assert run(scene) == (False, None)


def test_the_local_address_is_the_sockets_not_the_clients_aim() -> None:
    async def scene() -> tuple[object, object]:
        async with connected() as (client, peer, _):
            return local_address(client), peer.getpeername()

    found, wanted = run(scene)
    assert found == wanted


def test_a_socket_that_mitmproxy_forgot_is_closed() -> None:
    """Its reading task was cancelled while it handed on what the peer sent last."""

    async def scene() -> bytes:
        async with connected() as (client, peer, _):
            close_leftover(client, client)
            close_leftover(client, client)
            async with asyncio.timeout(5):
                return await asyncio.get_running_loop().sock_recv(peer, 10)

    assert run(scene) == b""


def test_what_was_sent_to_a_forgotten_socket_still_arrives() -> None:
    async def scene() -> bytes:
        async with connected() as (client, peer, io):
            io.writer.write(b"421 bye\r\n")  # type: ignore[union-attr]
            close_leftover(client, client)
            async with asyncio.timeout(5):
                return await asyncio.get_running_loop().sock_recv(peer, 100)

    assert run(scene) == b"421 bye\r\n"


def test_without_a_proxyserver_there_is_no_handler() -> None:
    client = Client(peername=("192.0.2.1", 1), sockname=("192.0.2.2", 25))
    with taddons.context():
        assert handler_of(client) is None
        assert local_address(client) is None
