"""SpamAssassin, asked by spamd's protocol (SPAMC/1.5): ``SYMBOLS``.

Owns the connection, and the fields that are put before the message: the protocol has
none for the envelope, so SpamAssassin reads it where an MTA before it would have
written it. ``REPORT`` would tell each test's score, but in a text that every site words
for itself; so each symbol's score is 0 here, and only their sum counts.

aiospamc reads the answers. Its own connections are not used: they read without a bound,
stay open when they are cancelled, want the whole message in one piece and copy it, and
have a deadline (600 s) beside the caller's. It is loaded with the first answer: it does
not load at all for a user without a name, and may not keep smtpguard from starting. It
logs nothing: its loguru is off unless a program turns it on.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from string import ascii_letters, digits
from typing import TYPE_CHECKING

from smtpguard.errors import ScanError, ScannerUnavailableError, os_text
from smtpguard.model.verdict import Symbol, Verdict, VerdictKind
from smtpguard.scanners.spamfacts import (
    MAX_SYMBOLS,
    announced,
    believed_name,
    believed_score,
    escaped,
    escaped_path,
    told_ip,
)


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aiospamc.responses import Response

    from smtpguard.model.scan import Subject, Told


MAX_ANSWER = 256 << 10
"""Octets: more than ``MAX_SYMBOLS`` names of ``MAX_NAME`` characters have."""
MAX_HEAD = 4096
"""Octets of an answer's header section; spamd's has less than 100. aiospamc copies the
whole rest of the answer for each of its lines."""
_PIECE = 64 << 10

_WORD = frozenset(ascii_letters + digits + "-._:!")
"""What is one word in a Received field wherever it stands, and names no value (``=``)
that SpamAssassin looks for in one."""


class SpamAssassin:
    """One spamd."""

    def __init__(self, name: str, address: str, max_size: int) -> None:
        """``address`` is ``HOST:PORT``, ``[IPv6]:PORT`` or ``unix:/path``.

        Messages of more than ``max_size`` octets are not sent. Raises ValueError for
        an address without a port.
        """
        self._name = name
        self._max_size = max_size
        self._socket = ""
        self._host, self._port = "", 0
        if address.startswith("unix:"):
            self._socket = address.removeprefix("unix:")
        else:
            host, _, port = address.rpartition(":")
            self._host, self._port = host.strip("[]"), int(port)

    async def scan(self, subject: Subject) -> Verdict:
        """Return SpamAssassin's score and symbols for a message.

        Leaves no connection behind, however it ends. Raises what ``Scanner.scan`` does.
        """
        if subject.size > self._max_size:
            return Verdict(self._name, VerdictKind.OVERSIZE)
        fields = told_fields(subject.told, datetime.now(UTC)) if subject.told else b""
        size = len(fields) + subject.size
        question = b"SYMBOLS SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % size
        answer = await self._ask(question + fields, announced(subject))
        return read_answer(self._name, answer)

    async def ping(self) -> None:
        """Ask whether spamd is there. Raises ScanError."""
        answer = await self._ask(b"PING SPAMC/1.5\r\n\r\n", ())
        if _response(answer).message != "PONG":
            raise ScanError(f"pinged, it says {answer[:50]!r}")

    async def _ask(self, begin: bytes, chunks: Iterable[bytes]) -> bytes:
        reader, writer = await self._connect()
        try:
            await _send(writer, begin)
            for chunk in chunks:  # its OSError is the caller's
                await _send(writer, chunk)
            with _losing():
                # spamd reads lines: it waits for the end of one that has none.
                writer.write_eof()
                return await _read(reader)
        finally:
            # Not closed but aborted: whatever was not sent yet is not wanted any more.
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            if self._socket:
                return await asyncio.open_unix_connection(self._socket)
            return await asyncio.open_connection(self._host, self._port)
        except OSError as error:
            raise ScannerUnavailableError(
                f"cannot connect: {os_text(error)}"
            ) from error


@contextmanager
def _losing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScanError(f"connection lost: {os_text(error)}") from error


async def _send(writer: asyncio.StreamWriter, octets: bytes) -> None:
    for start in range(0, len(octets), _PIECE):
        with _losing():
            writer.write(octets[start : start + _PIECE])
            await writer.drain()
        # drain() itself waits only for a peer that is slow.
        await asyncio.sleep(0)


async def _read(reader: asyncio.StreamReader) -> bytes:
    answer = bytearray()
    while piece := await reader.read(_PIECE):
        answer += piece
        if len(answer) > MAX_ANSWER:
            raise ScanError(f"an answer of more than {MAX_ANSWER} octets")
    return bytes(answer)


def told_fields(told: Told, now: datetime) -> bytes:
    """Return the fields that tell SpamAssassin of a message, as lines of ASCII.

    Of the client it believes the first Received field; where ``envelope-from`` is in
    it, no field that the sender wrote takes its place. ``unknown`` is the client's name
    in the DNS, which nobody asked for. Recipients are not told: no test reads them.
    """
    path = escaped_path(told.reverse_path)
    lines = []
    if path is not None:
        # Before Received, else SpamAssassin takes them for another hop's.
        lines += [f"X-Envelope-From: <{path}>", f"Return-Path: <{path}>"]
    if client := told_ip(told.client):
        envelope = f" (envelope-from <{_plain(path)}>)" if path else ""
        lines += [
            f"Received: from unknown ([{client}] helo={_helo(told.helo)})",
            f"\tby smtpguard with {_protocol(told)} id {_word(told.id)}{envelope};",
            f"\t{format_datetime(now)}",
        ]
    # Last, so that a message which begins with a blank continues nothing of weight.
    lines.append(f"X-SmtpGuard-Id: {_word(told.id)}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def _protocol(told: Told) -> str:
    """Return how the message came (RFC 3848); the ``A`` makes SpamAssassin trust it."""
    return f"ESMTP{'S' if told.tls else ''}{'A' if told.authenticated else ''}"


def _helo(helo: str) -> str:
    # SpamAssassin writes the brackets of an address literal as "!" in what tests read.
    literal = helo.replace("[", "!").replace("]", "!")
    return _plain(escaped(literal, _WORD)) or "unknown"


def _word(text: str) -> str:
    return escaped(text, _WORD) or "unknown"


def _plain(word: str) -> str:
    # A Received field that holds this word is read as one of Exim's.
    return word.replace("Exim", "%45xim")


def read_answer(name: str, octets: bytes) -> Verdict:
    """Return what a whole answer to ``SYMBOLS`` says; raises ScanError."""
    response = _response(octets)
    spam = response.headers.get("Spam")
    if spam is None or "Content-length" not in response.headers:
        raise ScanError("an answer without score or length")
    if b"\r\n\r\n" not in octets:
        raise ScanError("an answer that was cut off")
    believed_score(spam.threshold)
    return Verdict(
        name,
        VerdictKind.SCORED,
        score=believed_score(spam.score),
        symbols=tuple(_symbols(response.body)),
        said="spam" if spam.value else "ham",
    )


def _response(octets: bytes) -> Response:
    # Not above: see this module's head.
    from aiospamc import (  # noqa: PLC0415
        exceptions,
        incremental_parser,
        responses,
    )

    _check_head(octets.partition(b"\r\n\r\n")[0])
    try:
        fields = incremental_parser.ResponseParser().parse(octets)
        response = responses.Response(**fields)
        response.raise_for_status()
    except responses.ResponseException as error:
        raise ScanError(f"spamd says: {error.code} {error}") from error
    except (exceptions.ParseError, ValueError) as error:
        raise ScanError(f"an answer that is none: {octets[:50]!r}") from error
    return response


def _check_head(head: bytes) -> None:
    if len(head) > MAX_HEAD:
        raise ScanError(f"an answer whose header has more than {MAX_HEAD} octets")
    names = [line.partition(b":")[0].strip().lower() for line in head.split(b"\r\n")]
    if len(set(names)) != len(names):
        raise ScanError("an answer that says one thing twice")


def _symbols(body: bytes) -> Iterator[Symbol]:
    names = body.decode("latin-1").strip().split(",") if body.strip() else []
    if len(names) > MAX_SYMBOLS:
        raise ScanError(f"an answer with {len(names)} symbols")
    return (Symbol(believed_name(name), 0.0) for name in names)
