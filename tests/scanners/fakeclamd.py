"""A clamd of a few lines: each connection is treated as the test says."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


SECONDS = 10.0
"""For which anything here waits at most."""

type Treatment = Callable[[socket.socket, "FakeClamd"], None]


@dataclass(slots=True)
class FakeClamd:
    """A server that runs."""

    address: str
    taken: list[bytes] = field(default_factory=list)
    """What each connection sent, where its treatment reads it."""
    connected: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    """A client has closed its connection before it had an answer."""
    over: threading.Event = field(default_factory=threading.Event)
    """The test ends."""


@contextmanager
def fake_clamd(treat: Treatment, address: Path | str = "") -> Iterator[FakeClamd]:
    """Listen on a unix socket, or on a host's port, and treat each connection."""
    if isinstance(address, str):
        host = address or "127.0.0.1"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family, backlog=64)
        port = listener.getsockname()[1]
        server = FakeClamd(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(address))
        listener.listen(64)
        server = FakeClamd(f"unix:{address}")
    threads: list[threading.Thread] = []

    def treated(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(SECONDS)
            treat(connection, server)

    def accept() -> None:
        while not server.over.is_set():
            connection, _ = listener.accept()
            server.connected.set()
            thread = threading.Thread(target=treated, args=(connection,))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield server
    finally:
        server.over.set()
        with socket.socket(listener.family) as last:
            last.connect(listener.getsockname())
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join()


def received(connection: socket.socket) -> bytes:
    """Read one command, and return it or what INSTREAM brings."""
    with connection.makefile("rb") as sent:
        command = sent.readline()
        if command != b"nINSTREAM\n":
            return command
        octets = bytearray()
        while size := int.from_bytes(sent.read(4)):
            octets += sent.read(size)
        return bytes(octets)


def says(answer: bytes) -> Treatment:
    """Read all, answer, end."""

    def treat(connection: socket.socket, server: FakeClamd) -> None:
        octets = received(connection)
        if octets == b"nPING\n":
            connection.sendall(b"PONG\n")
            return
        server.taken.append(octets)
        connection.sendall(answer)

    return treat


def says_octet_by_octet(answer: bytes) -> Treatment:
    """Read all, answer in as many packets as there are octets, end."""

    def treat(connection: socket.socket, _: FakeClamd) -> None:
        received(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in answer:
            connection.sendall(bytes([octet]))

    return treat


def says_before_all_was_sent(answer: bytes) -> Treatment:
    """Answer at once, and only then read."""

    def treat(connection: socket.socket, server: FakeClamd) -> None:
        connection.sendall(answer)
        server.taken.append(received(connection))

    return treat


def says_and_resets(answer: bytes) -> Treatment:
    """Read a little, answer, and break the connection off."""

    def treat(connection: socket.socket, _: FakeClamd) -> None:
        connection.recv(1)
        connection.sendall(answer)
        resets(connection, _)

    return treat


def says_after_all_and_resets(answer: bytes) -> Treatment:
    """Read all, answer, and break the connection off."""

    def treat(connection: socket.socket, _: FakeClamd) -> None:
        received(connection)
        connection.sendall(answer)
        resets(connection, _)

    return treat


def resets(connection: socket.socket, _: FakeClamd) -> None:
    """Break the connection off."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def never_ends(connection: socket.socket, server: FakeClamd) -> None:
    """Read all, and answer for ever without an end of line."""
    received(connection)
    while not server.over.is_set():
        connection.sendall(b"stream: " * 8192)


def drips(connection: socket.socket, server: FakeClamd) -> None:
    """Read all, and send an octet again and again, so that no read is late."""
    received(connection)
    while not server.over.wait(0.05):
        connection.sendall(b"s")


def hangs(connection: socket.socket, server: FakeClamd) -> None:
    """Read all, and say nothing until the client goes."""
    received(connection)
    if not connection.recv(1):
        server.left.set()


def reads_nothing(_: socket.socket, server: FakeClamd) -> None:
    """Say nothing, and let the client fill all buffers."""
    server.over.wait(SECONDS)
