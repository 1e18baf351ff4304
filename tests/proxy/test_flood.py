"""Twenty clients that flood a real gateway and never read: attacks F10."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.proxy.live import (
    RULES,
    Gateway,
    Sink,
    client,
    connected,
    send,
    wait_until,
)
from tests.proxy.peers import Authority


pytestmark = pytest.mark.slow

FLOODERS = 20
PIECE = 120_000
"""Octets that are sent at once."""
SECONDS = 8.0
"""In which a client that behaves has its greeting, and its mail is through. Without a
flood it is a twentieth of a second, with one up to two seconds, or four on a machine
that has others to serve; while events were worked off in one go it was a minute."""
MEMORY = 200 * 2**20
"""What a flood may add to a process; recordings without a bound were 1.7 GB."""
PATIENT = RULES + "    session: {max_commands: 100000, max_errors: 1000}\n"
"""No session is closed for its commands: only turns keep them apart."""

ENVELOPE = b"EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@example.org>\r\n"
FLOODS = {
    "noop": (RULES, b"EHLO a.example\r\n", b"NOOP\r\n"),
    "noop without end": (PATIENT, b"EHLO a.example\r\n", b"NOOP\r\n"),
    "ehlo without end": (PATIENT, b"", b"EHLO a.example\r\n"),
    "refused mail": (
        PATIENT,
        b"EHLO a.example\r\n",
        b"MAIL FROM:<a@b.example> SIZE=9999999999\r\n",
    ),
    "too many recipients": (RULES, ENVELOPE, b"RCPT TO:<b@example.org>\r\n"),
    "small chunks": (PATIENT, ENVELOPE, b"BDAT 1\r\nx"),
    "empty lines": (RULES, b"", b"\r\n"),
    "wrong words": (PATIENT, b"", b"XYZZY\r\n"),
}


class Flood:
    """Clients that send on and on, read nothing, and come back when they are closed."""

    def __init__(
        self, gateway: Gateway, begin: bytes, piece: bytes, *, tls: bool
    ) -> None:
        self._gateway, self._begin, self._tls = gateway, begin, tls
        self._piece = piece * (PIECE // len(piece))
        self._stop = threading.Event()
        self.sent = 0
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(FLOODERS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError), self._connection() as conn:
                conn.sendall(self._begin)
                while not self._stop.is_set():
                    conn.sendall(self._piece)
                    self.sent += 1
            self._stop.wait(0.02)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        with connected(self._gateway, 2.0) as raw:
            if not self._tls:
                yield raw
                return
            raw.recv(1000)
            raw.sendall(b"STARTTLS\r\n")
            raw.recv(1000)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with context.wrap_socket(raw) as wrapped:
                yield wrapped

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)


@pytest.fixture(scope="module")
def sink(authority: Authority) -> Iterator[Sink]:
    made = Sink(authority.folder / "mx.example.pem")
    yield made
    made.stop()


@pytest.fixture
def flooded(
    tmp_path: Path, sink: Sink
) -> Iterator[Callable[..., tuple[Gateway, Flood]]]:
    made: list[Gateway] = []
    floods: list[Flood] = []

    def flood(
        rules: str, begin: bytes, piece: bytes, *, tls: bool = False
    ) -> tuple[Gateway, Flood]:
        made.append(Gateway(tmp_path, sink.port, rules=rules))
        made[-1].ready()
        send_one(made[-1])  # modules and keys that are loaded late
        floods.append(Flood(made[-1], begin, piece, tls=tls))
        return made[-1], floods[-1]

    yield flood
    for each in floods:
        each.stop()
    for gateway in made:
        gateway.stop()


def send_one(gateway: Gateway) -> float:
    """Send a mail; return the seconds it took from the connection on."""
    began = time.monotonic()
    with client(gateway, tls=False) as good:
        assert send(good) == 250
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("flood", "tls"),
    [*((name, False) for name in FLOODS), ("noop without end", True)],
)
def test_F10_clients_that_never_read_starve_nobody(
    flooded: Callable[..., tuple[Gateway, Flood]], flood: str, tls: bool
) -> None:
    gateway, crowd = flooded(*FLOODS[flood], tls=tls)
    before = gateway.resident
    wait_until(lambda: crowd.sent >= FLOODERS)
    took, grown = [], 0
    for _ in range(8):
        took.append(send_one(gateway))
        grown = max(grown, gateway.resident - before)
        time.sleep(0.3)

    assert max(took) < SECONDS
    assert grown < MEMORY
    assert "mitmproxy has crashed" not in gateway.log
