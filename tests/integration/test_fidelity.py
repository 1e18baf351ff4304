"""Octets in are octets out: mails of others through one live mitmdump (contract 2.3).

Every file of the shared corpora goes through four ways: by DATA and by BDAT, to an
upstream with CHUNKING and to one without; STARTTLS on both legs, many mails on a
connection, pipelined. What contract 3 refuses is counted apart.
"""

from __future__ import annotations

import re
import ssl
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.process import free_port
from tests.integration.raw import Wire, connect
from tests.integration.sink import Arrived, Sink


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.integration.bed.certificates import Identity
    from tests.integration.conftest import StartGuard


RULES = """\
version: 1
policies:
  - name: everything
    session: {max_recipients: upstream}
    tls:
      client: {starttls: required}
      server: {starttls: required, verify: webpki}
    rcpt_to: [{match: "*", action: allow}]
    content_types: [{match: "*", action: allow}]
    filenames: [{match: "*", action: allow}]
"""
FOLDERS = ("mime", "corpus", "evasion")
WITH, WITHOUT = "with CHUNKING", "without CHUNKING"
CONNECTIONS = 3
"""At the same time, to each of the two listeners."""
BARE = "550 5.6.0 Bare CR, LF or NUL in the message"
ADDED = "a final CRLF was added to a BDAT message relayed as DATA"


@dataclass(frozen=True, slots=True)
class Sent:
    """One message, on its way to one recipient of its own."""

    file: Path
    recipient: str
    message: bytes
    """As the client has it, before dot-stuffing."""

    @property
    def envelope(self) -> bytes:
        return b"MAIL FROM:<sender@client.example.test>\r\nRCPT TO:<%s>\r\n" % (
            self.recipient.encode("ascii")
        )


def as_sent(octets: bytes) -> bytes:
    """Return a file as a mail program sends it: lone LF is CRLF, the rest untouched."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets)


def refusal(message: bytes) -> str:
    """Return why contract 3 refuses these octets, "" where it does not."""
    if b"\0" in message:
        return "NUL"
    without = message.replace(b"\r\n", b"")
    return "bare CR" if b"\r" in without else "bare LF" if b"\n" in without else ""


def stuffed(message: bytes) -> bytes:
    """Return a message as DATA sends it, with its end (RFC 5321 4.5.2)."""
    text = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:]
    return text + (b".\r\n" if text.endswith(b"\r\n") else b"\r\n.\r\n")


def chunks(message: bytes) -> list[bytes]:
    """Cut a message where a relay could lose its way: within a CRLF and behind a dot.

    Where there is no such place, in the middle; the last chunk may be empty.
    """
    at = message.find(b"\r\n.") + 1 or message.find(b"\r\n") + 1 or len(message) // 2
    end = at + 2 if message[at : at + 2] == b"\n." else len(message) - len(message) % 3
    return [message[:at], message[at : max(at, end)], message[max(at, end) :]]


def encrypt(wire: Wire, trust: Path) -> None:
    """Take a session into TLS and greet."""
    assert wire.reply().startswith("220 ")
    assert "\n250-STARTTLS" in wire.ask(b"EHLO client.example.test")
    assert wire.ask(b"STARTTLS").startswith("220 ")
    wire.start_tls(ssl.create_default_context(cafile=str(trust)), "127.0.0.1")
    offered = wire.ask(b"EHLO client.example.test").replace("-", " ").split("\n")
    assert {"250 CHUNKING", "250 PIPELINING"} <= set(offered)


def send_by_data(wire: Wire, mails: Sequence[Sent]) -> Iterator[str]:
    """Send all mails, each one's end with the next one's envelope (RFC 2920 3.1)."""
    before = b""
    for mail in mails:
        wire.send(before + mail.envelope + b"DATA\r\n")
        if before:
            yield wire.reply()
        assert [wire.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
        before = stuffed(mail.message)
    wire.send(before)
    yield wire.reply()


def send_by_bdat(wire: Wire, mails: Sequence[Sent]) -> Iterator[str]:
    """Send all mails, each whole one without waiting for any reply."""
    for mail in mails:
        *first, last = chunks(mail.message)
        wire.send(
            mail.envelope
            + b"".join(b"BDAT %d\r\n%s" % (len(chunk), chunk) for chunk in first)
            + b"BDAT %d LAST\r\n%s" % (len(last), last)
        )
        before_last = [wire.reply()[:3] for _ in range(2 + len(first))]
        assert before_last == ["250"] * len(before_last)
        yield wire.reply()


SEND = {"DATA": send_by_data, "BDAT": send_by_bdat}


class Load:
    """Mails on several connections at the same time, and what was said to each."""

    def __init__(self, trust: Path) -> None:
        self.told: dict[str, str] = {}
        """The final reply, by recipient."""
        self._trust = trust
        self._failed: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, way: str, port: int, mails: Sequence[Sent]) -> None:
        """Begin to send."""
        thread = threading.Thread(target=self._send, args=(way, port, mails))
        self._threads.append(thread)
        thread.start()

    def finish(self) -> None:
        """Wait until all is sent; raise what went wrong."""
        for thread in self._threads:
            thread.join(240)
        assert not any(thread.is_alive() for thread in self._threads)
        for error in self._failed:
            raise error

    def _send(self, way: str, port: int, mails: Sequence[Sent]) -> None:
        try:
            with connect(port) as wire:
                encrypt(wire, self._trust)
                for mail, reply in zip(mails, SEND[way](wire, mails), strict=True):
                    self.told[mail.recipient] = reply
                assert wire.ask(b"QUIT").startswith("221 ")
                assert wire.rest() == b""
        except BaseException as error:  # noqa: BLE001 - raised by ``finish``
            self._failed.append(error)


def corpus(shared: Path) -> list[Path]:
    """Return every file of the three folders, expected results too: octets are octets.

    The mails among them end in ``.eml``.
    """
    found = (path for name in FOLDERS for path in (shared / "corpus" / name).rglob("*"))
    return sorted(path for path in found if path.is_file())


def make_mails(files: Sequence[Path], verb: str, upstream: str) -> tuple[Sent, ...]:
    domain = f"{verb}.{upstream}.own.example".replace(" ", "-").lower()
    return tuple(
        Sent(path, f"m{number}@{domain}", as_sent(path.read_bytes()))
        for number, path in enumerate(files)
    )


def expected(mail: Sent, verb: str, upstream: str) -> Arrived:
    """Return what must arrive: octet for octet what was sent.

    DATA has no way to say that a message does not end in CRLF.
    """
    how = "BDAT" if (verb, upstream) == ("BDAT", WITH) else "DATA"
    lacks = how == "DATA" and not mail.message.endswith(b"\r\n")
    return Arrived(mail.message + b"\r\n" * lacks, how)


@dataclass(frozen=True, slots=True)
class Way:
    """One of the four ways that every file goes."""

    verb: str
    upstream: str
    sink: Sink
    port: int
    """Of the gateway."""
    mails: tuple[Sent, ...]

    def outcome(self, mail: Sent, told: str) -> str:
        """Return ``identical``, why it was refused, or what is wrong."""
        copies = self.sink.copies.get(mail.recipient, [])
        why = refusal(mail.message)
        if why and told == BARE and not copies:
            return f"refused for {why}"
        if not why and told[:4] == "250 ":
            arrived = copies == [expected(mail, self.verb, self.upstream)]
            return "identical" if arrived else f"changed: {mail.recipient} {mail.file}"
        return f"told {told!r}: {mail.recipient} {mail.file}"


type Found = Counter[tuple[str, str, str]]
"""How many mails by verb, upstream and outcome."""


def send_all(ways: Sequence[Way], trust: Path) -> Found:
    """Send every mail of every way, and say what became of them."""
    load = Load(trust)
    for way in ways:
        for number in range(CONNECTIONS):
            load.start(way.verb, way.port, way.mails[number::CONNECTIONS])
    load.finish()
    return Counter(
        (way.verb, way.upstream, way.outcome(mail, load.told[mail.recipient]))
        for way in ways
        for mail in way.mails
    )


def report(files: Sequence[Path], found: Found) -> str:
    """Return the counts as a table."""
    mails = sum(path.suffix == ".eml" for path in files)
    lines = [f"\n{len(files)} files, {mails} of them mails (.eml):"]
    lines += [
        f"  {verb} to an upstream {name}: {outcome}: {number}"
        for (verb, name, outcome), number in sorted(found.items())
    ]
    total = sum(n for (_, _, outcome), n in found.items() if outcome == "identical")
    return "\n".join([*lines, f"  sent {found.total()}, identical {total}"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_mail_of_the_corpora_arrives_octet_for_octet(
    shared: Path,
    identity: Identity,
    start_guard: StartGuard,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = corpus(shared)
    with Sink(identity, b"CHUNKING") as chunking, Sink(identity) as plain:
        other = free_port()
        guard = start_guard(
            f"reverse:tcp://127.0.0.1:{chunking.port}",
            RULES,
            *("--mode", f"reverse:tcp://127.0.0.1:{plain.port}@127.0.0.1:{other}"),
        )
        guard.process.wait_listening(other)
        ways = [
            Way(verb, name, sink, port, make_mails(files, verb, name))
            for name, sink, port in (
                (WITH, chunking, guard.port),
                (WITHOUT, plain, other),
            )
            for verb in SEND
        ]
        found = send_all(ways, guard.trust)
        assert guard.stop() == 0
        assert "Traceback" not in guard.log
    with capsys.disabled():
        print(report(files, found))  # noqa: T201 - these counts are to be seen
    messages = [as_sent(path.read_bytes()) for path in files]
    wanted = Counter(
        f"refused for {why}" if (why := refusal(message)) else "identical"
        for message in messages
    )
    assert found == {
        (way.verb, way.upstream, outcome): number
        for way in ways
        for outcome, number in wanted.items()
    }
    assert wanted.keys() == {"identical", "refused for bare CR", "refused for NUL"}
    assert (good := wanted["identical"]) > 1500
    assert (chunking.ill_stuffed, plain.ill_stuffed) == (0, 0)
    assert guard.log.count(" disposition=relayed ") == 4 * good
    assert guard.log.count(" disposition=") == 4 * len(files)
    assert guard.log.count(ADDED) == sum(
        not message.endswith(b"\r\n") and not refusal(message) for message in messages
    )
