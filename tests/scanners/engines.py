"""Fakes of spam engines: a script for each connection, in threads of their own.

They are no part of the client's event loop, so that every task and every connection
there is the client's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from smtpguard.errors import ScanError, ScannerUnavailableError
from smtpguard.model.scan import Subject, Told
from smtpguard.model.verdict import Verdict


type FakeScript = Callable[[Fake, socket.socket], None]


class Asked(Protocol):
    async def scan(self, subject: Subject) -> Verdict: ...


def subject(octets: bytes, told: Told | None = None, piece: int = 1000) -> Subject:
    """Return a message to scan that comes in pieces."""

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(octets), piece):
            yield octets[start : start + piece]

    return Subject(chunks, len(octets), "0" * 64, told)


HAM = subject(b"Subject: hello\r\n\r\nhello\r\n")


@dataclass(slots=True)
class Fake:
    """One listening fake; ``questions`` is what it has read so far."""

    address: str
    """``127.0.0.1:PORT``, or the path of its socket."""
    questions: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    """Set when the client's end of a connection is gone."""


@contextmanager
def fake(script: FakeScript, path: Path | None = None) -> Iterator[Fake]:
    """Listen on loopback, or at ``path``; each connection is a run of the script."""
    family = socket.AF_UNIX if path else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind(str(path) if path else ("127.0.0.1", 0))
        listener.listen(64)
        where = str(path) if path else f"127.0.0.1:{listener.getsockname()[1]}"
        made = Fake(where)
        thread = threading.Thread(target=_accept, args=(listener, made, script))
        thread.start()
        try:
            yield made
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def _accept(listener: socket.socket, made: Fake, script: FakeScript) -> None:
    threads = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        made.connections += 1
        thread = threading.Thread(target=_run, args=(connection, made, script))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(10)


def _run(
    connection: socket.socket,
    made: Fake,
    script: FakeScript,
) -> None:
    with connection, suppress(OSError):
        connection.settimeout(8)
        script(made, connection)


@contextmanager
def full(address: tuple[str, int]) -> Iterator[None]:
    """Fill a listener's backlog: whoever connects now waits."""
    with ExitStack() as stack:
        for _ in range(4):
            waits = stack.enter_context(socket.socket())
            waits.setblocking(False)
            waits.connect_ex(address)
        yield


def answering(answer: bytes, read: Callable[[socket.socket], bytes]) -> FakeScript:
    """Read a question, answer, close."""

    def script(made: Fake, connection: socket.socket) -> None:
        made.questions.append(read(connection))
        connection.sendall(answer)

    return script


def dripping(answer: bytes, read: Callable[[socket.socket], bytes]) -> FakeScript:
    """As ``answering``, one octet at a time."""

    def script(made: Fake, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.questions.append(read(connection))
        for octet in answer:
            connection.sendall(bytes([octet]))

    return script


def resetting(answer: bytes, read: Callable[[socket.socket], bytes]) -> FakeScript:
    """As ``answering``, with a reset in place of an orderly end."""

    def script(made: Fake, connection: socket.socket) -> None:
        made.questions.append(read(connection))
        connection.sendall(answer)
        reset(connection)

    return script


def reset(connection: socket.socket) -> None:
    """Let ``close`` send RST."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def waiting(answer: bytes, read: Callable[[socket.socket], bytes]) -> FakeScript:
    """Read what ``read`` reads, answer so far, then wait for the client to leave."""

    def script(made: Fake, connection: socket.socket) -> None:
        made.questions.append(read(connection))
        connection.sendall(answer)
        with suppress(ConnectionError):
            while connection.recv(1 << 16):
                pass
            # A half-close looks the same; writing now and then tells it from an end.
            while True:
                time.sleep(0.02)
                connection.sendall(b" ")
        made.closed.set()

    return script


def nothing(_connection: socket.socket) -> bytes:
    """Read nothing."""
    return b""


def to_the_end(connection: socket.socket) -> bytes:
    """Read until the client ends its half, as spamd's does after its question."""
    octets = bytearray()
    while piece := connection.recv(1 << 16):
        octets += piece
    return bytes(octets)


def http_request(connection: socket.socket) -> bytes:
    """Read one request with its body."""
    octets = bytearray()
    while b"\r\n\r\n" not in octets:
        octets += _some(connection)
    head, _, body = bytes(octets).partition(b"\r\n\r\n")
    size = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"content-length":
            size = int(value)
    while len(body) < size:
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 16)
    if not piece:
        raise ConnectionError
    return piece


def asked(scanner: Asked, scanned: Subject = HAM, seconds: float = 8) -> Verdict | str:
    """Return the verdict, or ``unavailable: ...`` or ``failed: ...``.

    Nothing may be left of the question, tasks least of all.
    """

    async def ask() -> Verdict | str:
        try:
            async with asyncio.timeout(seconds):
                return await scanner.scan(scanned)
        except ScannerUnavailableError as error:
            return f"unavailable: {error}"
        except ScanError as error:
            return f"failed: {error}"
        finally:
            await nothing_left()

    return asyncio.run(ask())


async def nothing_left() -> None:
    """Some turns later, when httpx's generators of what was not read to its end are
    closed, no task is left."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def cancelled(scanner: Asked, scanned: Subject, made: Fake) -> None:
    """Cancel a scan that waits; its connection must end, and no task be left."""

    async def cancel() -> None:
        task = asyncio.ensure_future(scanner.scan(scanned))
        await asyncio.sleep(0.2)
        assert not task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        # At once: no further turn of the loop, no collector of garbage.
        assert asyncio.all_tasks() == {asyncio.current_task()}
        gone = await asyncio.to_thread(made.closed.wait, 5)
        assert gone

    asyncio.run(cancel())


HOSTILE = (
    "\r\nX-Injected: yes",
    "\nX-Injected: yes",
    "\rX-Injected: yes",
    "nul\0nul",
    "b\xfccher\u202e\N{PILE OF POO}",
    "\udcff\ud800",
    " blanks\tand\x0btabs ",
    "\x7f\x85\u2028",
    '<>"(),;:\\[] by evil with ESMTPA (Authenticated sender: x)',
    "x" * 5000,
    "\xe9" * 5000,
)
"""Texts of a peer that would say something else if they came out as they are."""


def hostile_told(text: str) -> Iterator[Told]:
    """Yield what an engine is told with this text in one field, then in all."""
    usual = {
        "client": "192.0.2.1",
        "helo": "mx.example.test",
        "reverse_path": "a@example.test",
        "tls": "TLSv1.3",
        "id": "5f3a.2",
    }
    paths = (text, f"{text}@example.test", f"a@{text}")
    for name in usual:
        for value in paths if name == "reverse_path" else (text,):
            yield Told(**{**usual, name: value}, forward_paths=("b@example.test",))  # type: ignore[arg-type]
    yield Told(**usual, forward_paths=paths)  # type: ignore[arg-type]
    yield Told(text, text, text, paths, authenticated=True, tls=text, id=text)
