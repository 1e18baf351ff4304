"""A gateway before a sink, and a client that says what it likes to it."""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.bed.process import wait_until
from tests.integration.raw import Wire, connect
from tests.integration.sink import Sink


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard
    from tests.integration.sink import Session


NAME = "127.0.0.1"
OUTER = b"EHLO outer.example.test"
"""What the client says in clear."""
INNER = b"EHLO inner.example.test"
"""What it says within TLS: whichever name is seen tells the phase that it came from."""
RECIPIENT = "rcpt@own.example"
MAIL = (
    b"MAIL FROM:<sender@client.example.test>",
    b"RCPT TO:<%s>" % RECIPIENT.encode("ascii"),
    b"DATA",
)
RULES = """\
version: 1
policies:
  - name: everything
    tls: {client: {starttls: allowed}, server: {starttls: %s}}
    rcpt_to: [{match: "*", action: allow}]
    content_types: [{match: "*", action: allow}]
"""
BYE = b"QUIT"
READY = "220 2.0.0 Ready to start TLS"
TEXT = b"Subject: legal\r\n\r\ntext\r\n"
_DISCARDED = re.compile(r"(\d+) octets in clear behind STARTTLS discarded")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A mitmdump with smtpguard, and the upstream behind it."""

    guard: Guard
    sink: Sink

    @contextmanager
    def client(self, first: bytes = OUTER) -> Iterator[Wire]:
        """Connect, read the greeting, say ``first`` and expect its 250."""
        with connect(self.guard.port) as wire:
            assert wire.reply().startswith("220 ")
            if first:
                assert wire.ask(first).startswith("250-")
            yield wire

    def context(self) -> ssl.SSLContext:
        """Return what a client needs to verify the gateway."""
        return client_context(self.guard.trust)

    def starttls(self, wire: Wire, *pieces: bytes) -> None:
        """Send pieces that begin with STARTTLS; our 220 leaves when all were read.

        For a gateway whose upstream's STARTTLS waits for the client's (``follow``).
        """
        self.sink.gate.clear()
        try:
            wire.send_apart(*pieces)
        finally:
            self.sink.gate.set()
        assert wire.reply() == READY

    def hello(self, context: ssl.SSLContext | None = None) -> bytes:
        """Return a whole ClientHello of a handshake that goes no further."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or self.context()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=NAME)
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()

    @property
    def number(self) -> int:
        """The number that the upstream's next session will have."""
        return len(self.sink.sessions)

    def upstream(self, number: int) -> Session:
        """Return the upstream's session of that number, once it has ended."""
        return self.sink.wait_session(number)

    def discarded(self) -> list[int]:
        """Return how many octets were logged as discarded, one for each time."""
        return [int(found) for found in _DISCARDED.findall(self.guard.log)]

    def wait_discarded(self, before: int, expected: list[int]) -> None:
        """Wait until as many are logged as expected, and compare them."""
        wait_until(
            lambda: len(self.discarded()) >= before + len(expected),
            f"{len(expected)} lines about discarded octets",
        )
        assert self.discarded()[before:] == expected


def run_gateway(
    policy: str, identity: Identity, start_unowned_guard: StartGuard
) -> Iterator[Gateway]:
    """Run a gateway with this value of ``tls.server.starttls``, for a fixture."""
    with Sink(identity, b"CHUNKING", b"BINARYMIME", keep=True) as sink:
        mode = f"reverse:tcp://127.0.0.1:{sink.port}"
        guard = start_unowned_guard(mode, RULES % policy)
        yield Gateway(guard, sink)
        assert guard.stop() == 0
        assert "Traceback" not in guard.log


def client_context(trust: Path) -> ssl.SSLContext:
    """Return a context whose ClientHello is short: there is less to cut it at."""
    context = ssl.create_default_context(cafile=str(trust))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM")
    return context


def deliver(wire: Wire, text: bytes = TEXT) -> None:
    """Send a mail and leave: one reply to each command, and then no octet more."""
    assert wire.ask(INNER).startswith("250-")
    assert [wire.ask(line)[:3] for line in MAIL] == ["250", "250", "354"]
    wire.send(text + b".\r\n")
    assert wire.reply() == "250 2.0.0 kept"
    assert wire.ask(BYE).startswith("221 ")
    assert wire.rest() == b""


def cut_everywhere(octets: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the octets in two segments, in every way; first in one."""
    for place in range(len(octets)):
        yield octets[:place], octets[place:]
