"""clamd, asked through pyclamd, which is made strict here.

pyclamd 0.4.0 takes a connection that ends without an answer for "clean", waits five
times its timeout, and sends parts of what it was given. Here a scan has a connection of
its own and one deadline, and an answer counts if it is whole and of a known form.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pyclamd

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from smtpguard.model.scan import Subject


CHUNK = 64 * 1024
"""Octets sent at once."""
MAX_ANSWER = 4096
"""Octets of an answer: one line, with the name of a virus."""
SIZE_SECONDS = 600.0
"""For which the size is remembered that clamd refused (its StreamMaxLength cannot be
asked for)."""

_VERDICT = re.compile("stream: (?:OK|[!-~][ -~]{0,1023} (?:FOUND|ERROR))")
_PONG = re.compile("PONG")
_TOO_LONG = b"INSTREAM size limit exceeded. ERROR\n"
_ENCRYPTED = "Heuristics.Encrypted."
_LIMITS = "Heuristics.Limits.Exceeded"
_UNIX = "unix:"


class Clamd:
    """clamd at one address: ``unix:/path`` or ``HOST:PORT``."""

    def __init__(self, name: str, address: str, max_size: int, timeout: float) -> None:
        """Prepare; connects to nobody. ``timeout`` is of one scan, in seconds."""
        self._name = name
        self._address = address
        self._max_size = max_size
        self._timeout = timeout
        self._refused_size = 0
        self._refused_until = 0.0

    async def scan(self, subject: Subject) -> Verdict:
        """Return what clamd says of some octets (``base.Scanner``)."""
        if subject.size > self._most():
            reason = f"{subject.size} octets are more than it takes"
            return Verdict(self._name, VerdictKind.OVERSIZE, reason=reason)
        client = _Client(self._address, time.monotonic() + self._timeout)
        try:
            status, words = await asyncio.to_thread(client.scanned, subject)
        finally:
            # Where nobody waits any more the thread ends with its connection.
            client.cut()
        return self._verdict(status, words, subject)

    async def ping(self) -> None:
        """Ask whether it answers (``base.Scanner``)."""
        client = _Client(self._address, time.monotonic() + self._timeout)
        try:
            await asyncio.to_thread(client.pinged)
        finally:
            client.cut()

    def _verdict(self, status: str, words: str, subject: Subject) -> Verdict:
        name, reason = "", ""
        match status:
            case "OK":
                kind = VerdictKind.CLEAN
            case "LONG":
                self._refused_size = subject.size
                self._refused_until = time.monotonic() + SIZE_SECONDS
                kind, reason = VerdictKind.OVERSIZE, "more than its StreamMaxLength"
            case "FOUND" if words.startswith(_ENCRYPTED):
                kind, name = VerdictKind.ENCRYPTED, words
            case "FOUND" if words.startswith(_LIMITS):
                kind, reason = VerdictKind.OVERSIZE, words
            case "FOUND":
                kind, name = VerdictKind.INFECTED, words
            case _:
                raise ScanError(f"clamd says: {words}")
        return Verdict(self._name, kind, name, reason)

    def _most(self) -> int:
        if self._refused_size and time.monotonic() < self._refused_until:
            return min(self._max_size, self._refused_size - 1)
        return self._max_size


class _Client(pyclamd.ClamdNetworkSocket):  # type: ignore[misc]
    """One question: pyclamd's words over a socket that keeps one deadline.

    Raises ScannerUnavailableError where nobody takes the connection, ScannerDiedError
    where it ends without an answer, ScanError for all else; OSError of the subject's.
    """

    def __init__(self, address: str, deadline: float) -> None:
        # Not pyclamd's own, which connects once to see whether somebody is there.
        self._address = address
        self._form = _VERDICT
        self._answer = ""
        self.clamd_socket = _Socket(deadline)

    def scanned(self, subject: Subject) -> tuple[str, str]:
        """Return OK, FOUND, ERROR or LONG, and clamd's words."""
        try:
            found = self.scan_stream(_Reader(subject), chunk_size=CHUNK)
        except _RefusedError:
            return "LONG", ""
        finally:
            self.clamd_socket.close()
        if found is None and self._answer == "stream: OK":
            return "OK", ""
        if not isinstance(found, dict) or list(found) != ["stream"]:
            raise ScanError(f"clamd says: {self._answer}")
        status, words = found["stream"]
        return status, words

    def pinged(self) -> None:
        """Return if clamd answers."""
        self._form = _PONG
        try:
            self.ping()
        finally:
            self.clamd_socket.close()

    def cut(self) -> None:
        """End the connection under the thread that waits for something on it."""
        self.clamd_socket.cut()

    # -- what pyclamd calls --------------------------------------------------------

    def _init_socket(self) -> None:
        self.clamd_socket.connect(self._address)

    def _recv_response(self) -> str:
        if self._answer:
            return ""
        line = self.clamd_socket.answer()
        if not self._form.fullmatch(line):
            raise ScanError(f"clamd says: {line}")
        self._answer = line
        return line


class _RefusedError(Exception):
    """clamd takes no more of this."""


class _Reader:
    """A subject as a file for pyclamd."""

    def __init__(self, subject: Subject) -> None:
        self._chunks = subject.chunks()
        self._due = subject.size
        self._left = b""

    def read(self, size: int) -> bytes:
        """Return the next octets, at most ``size``; b"" at the end.

        Raises ScanError where there are more or less than there should be.
        """
        while not self._left:
            piece = next(self._chunks, None)
            if piece is None:
                if self._due:
                    raise ScanError(f"not scanned whole: {self._due} octets left")
                return b""
            self._due -= len(piece)
            self._left = piece
        taken, self._left = self._left[:size], self._left[size:]
        return taken


class _Socket:
    """A connection with one deadline for all that is done on it.

    Of one thread, but for ``cut``.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._lock = threading.Lock()
        """So that nobody cuts what is closed: its number may be another's by then."""
        self._socket: socket.socket | None = None
        self._is_cut = False
        self._incoming = select.poll()

    def connect(self, address: str) -> None:
        """Connect. Raises ScannerUnavailableError."""
        try:
            if address.startswith(_UNIX):
                self._open(socket.AF_UNIX, address.removeprefix(_UNIX))
            else:
                self._open_host(*address.rsplit(":", 1))
        except (OSError, ValueError) as error:
            raise ScannerUnavailableError(f"{address}: {error}") from None

    def send(self, octets: bytes) -> None:
        """Send all of it, while the peer is silent: it has not heard the end yet."""
        try:
            connected = self._timed()
            if not self._incoming.poll(0):
                connected.sendall(octets)
                return
        except TimeoutError:
            self._late()
        except OSError:
            pass  # It may have said why before it went.
        raise ScanError(f"clamd says before it had all: {self.answer()}")

    def answer(self) -> str:
        """Return the one line that the peer says before it ends, without its end."""
        said = bytearray()
        try:
            while octets := self._recv():
                said += octets
                if said == _TOO_LONG:
                    # It need not end well: there is more in flight than it reads.
                    raise _RefusedError
                if len(said) > MAX_ANSWER:
                    raise ScanError("clamd answers without an end")
        except OSError as error:
            if said.endswith(b"\n"):
                raise ScanError(f"clamd says before {error}: {_text(said)}") from None
            raise ScannerDiedError(f"clamd: {error}") from None
        if not said.endswith(b"\n"):
            raise ScannerDiedError("clamd ended without a whole answer")
        return _text(said[:-1])

    def cut(self) -> None:
        """End the connection; the thread that waits on it is told, and closes it."""
        with self._lock:
            self._is_cut = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _open(self, family: int, where: str | tuple[Any, ...]) -> None:
        fresh = socket.socket(family, socket.SOCK_STREAM)
        with self._lock:
            self._socket = fresh
        self._timed().connect(where)
        if family != socket.AF_UNIX:
            fresh.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._incoming.register(fresh, select.POLLIN)

    def _open_host(self, host: str, port: str) -> None:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for family, _, _, _, where in found[:-1]:
            try:
                self._open(family, where)
            except OSError:
                self.close()
            else:
                return
        self._open(found[-1][0], found[-1][4])

    def _recv(self) -> bytes:
        try:
            return self._timed().recv(MAX_ANSWER)
        except TimeoutError:
            self._late()

    def _timed(self) -> socket.socket:
        if self._socket is None or self._is_cut:
            raise ScanError("the connection is cut")
        left = self._deadline - time.monotonic()
        if left <= 0:
            self._late()
        self._socket.settimeout(left)
        return self._socket

    def _late(self) -> NoReturn:
        raise ScannerTimeoutError("no answer in time")


def _text(octets: bytes | bytearray) -> str:
    return octets.decode("ascii", "backslashreplace")
