"""An upstream that keeps what it is sent octet for octet, by DATA and by BDAT.

aiosmtpd has no BDAT, and Postfix puts fields on top; this one changes nothing. It also
keeps each session's commands, in clear and in TLS apart, and answers STARTTLS as a test
wants it: late, in pieces, with something behind the 220. It demands TLS for mail, reads
strictly (only CRLF ends a line), and repairs nothing.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.integration.bed.listener import Listener
from tests.integration.bed.process import wait_until
from tests.integration.raw import Wire


if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterable

    from tests.integration.bed.certificates import Identity


KEYWORDS = (b"PIPELINING", b"SIZE 52428800", b"8BITMIME", b"ENHANCEDSTATUSCODES")
GO = b"220 2.0.0 go\r\n"
_RCPT = re.compile(rb"RCPT TO:<([^>]*)>", re.IGNORECASE)
_BAD_DOT = re.compile(rb"\r\n\.(?!\.)")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One copy of a message."""

    message: bytes
    """Its octets, dots undone."""
    how: str
    """``DATA`` or ``BDAT``."""


@dataclass(slots=True)
class Session:
    """One connection, as the upstream saw it."""

    wire: Wire
    clear: list[bytes] = field(default_factory=list)
    """Command lines before TLS."""
    secure: list[bytes] = field(default_factory=list)
    """Command lines within TLS."""
    early: bytes = b""
    """What lay behind STARTTLS before it was answered."""
    after: bytes = b""
    """What came in clear after an answer that leads to no handshake."""
    in_tls: bool = False
    fault: str = ""
    """Why the handshake failed."""
    ended: threading.Event = field(default_factory=threading.Event)

    def assert_never_seen(self, hello: bytes) -> None:
        """Nothing of this ClientHello came: its random is in no octets (``keep``)."""
        random = hello[11:43]
        assert len(random) == 32
        assert b"STARTTLS\r\n\x16\x03" in self.wire.came  # ours is there
        assert random not in self.wire.came


class Sink(Listener):
    """The upstream: a context that listens on loopback.

    STARTTLS is answered once its ``gate`` is set.
    """

    def __init__(
        self,
        identity: Identity,
        *extra_keywords: bytes,
        keep: bool = False,
    ) -> None:
        """Offer KEYWORDS, ``extra_keywords`` and STARTTLS; ``keep`` see ``Wire``."""
        super().__init__(identity)
        self.sessions: list[Session] = []
        self.copies: dict[str, list[Arrived]] = {}
        """By recipient."""
        self.ill_stuffed = 0
        """Messages with a line that began with a single dot."""
        self.behave()
        self._keywords = KEYWORDS + extra_keywords
        self._keep = keep
        self._lock = threading.Lock()

    def behave(self) -> None:
        """Be an ordinary server (again)."""
        self.greeting = b"220 sink.example.test ESMTP\r\n"
        self.ehlo_answer = b""
        """What is said to EHLO instead of the keywords."""
        self.past_tls = b""
        """What is sent in clear, whatever the phase, instead of an answer to MAIL."""
        self.starttls_answer: tuple[bytes, ...] = (GO,)
        """The pieces, each sent once the one before was read."""
        self.gate.set()

    def wait_session(self, number: int) -> Session:
        """Wait until the session of that number (from 0) has ended; return it.

        Raises ``BedError`` in vain.
        """
        wait_until(
            lambda: (
                len(self.sessions) > number and self.sessions[number].ended.is_set()
            ),
            f"the end of session {number} at the upstream",
            20,
        )
        return self.sessions[number]

    def _serve_next(self, sock: socket.socket) -> Callable[[], None]:
        session = Session(Wire(sock, keep=self._keep))
        self.sessions.append(session)
        return partial(self._serve, session)

    def _serve(self, session: Session) -> None:
        server = _Server(self, session, self._context, self._keywords)
        with session.wire:
            try:
                server.serve()
            except OSError as error:  # a peer that has gone, or failed in TLS
                session.fault = str(error)
        session.ended.set()

    def keep(self, recipients: Iterable[str], message: bytes, how: str) -> None:
        """Take a message in."""
        with self._lock:
            for recipient in recipients:
                self.copies.setdefault(recipient, []).append(Arrived(message, how))


class _Server:
    """The server's side of one session."""

    def __init__(
        self,
        sink: Sink,
        session: Session,
        context: ssl.SSLContext,
        keywords: tuple[bytes, ...],
    ) -> None:
        self._sink = sink
        self._session = session
        self._wire = session.wire
        self._context = context
        self._keywords = keywords
        self._recipients: list[str] = []
        self._chunks: list[bytes] = []

    def serve(self) -> None:
        """Speak until QUIT or the peer's end."""
        self._wire.later(self._sink.greeting)
        while (line := self._wire.line()) is not None:
            session = self._session
            (session.secure if session.in_tls else session.clear).append(line)
            verb = line.split(b" ")[0].upper()
            if verb == b"QUIT":
                self._wire.send(b"221 2.0.0 bye\r\n")
                return
            if verb == b"STARTTLS" and not session.in_tls:
                if not self._starttls():
                    return
            elif verb == b"MAIL" and self._sink.past_tls:
                self._wire.flush()
                self._wire.sock.sendall(self._sink.past_tls)
            elif verb == b"EHLO":
                self._wire.later(self._sink.ehlo_answer or self._ehlo())
            elif verb in {b"DATA", b"BDAT"}:
                self._message(verb, line)
            else:
                self._wire.later(self._answer(verb, line))

    def _ehlo(self) -> bytes:
        keywords = [*self._keywords]
        if not self._session.in_tls:
            keywords.append(b"STARTTLS")
        lines = [b"sink.example.test", *keywords]
        text = b"".join(b"250-%s\r\n" % line for line in lines[:-1])
        return text + b"250 %s\r\n" % lines[-1]

    def _answer(self, verb: bytes, line: bytes) -> bytes:
        if verb == b"RSET":
            self._recipients.clear()
            self._chunks.clear()
        if verb in {b"NOOP", b"RSET"}:
            return b"250 2.0.0 done\r\n"
        if not self._session.in_tls:
            return b"530 5.7.0 TLS first\r\n"
        if verb == b"MAIL":
            return b"250 2.1.0 sender\r\n"
        found = _RCPT.match(line)
        if found:
            self._recipients.append(found[1].decode("ascii"))
            return b"250 2.1.5 recipient\r\n"
        return b"502 5.5.1 what?\r\n"

    def _message(self, verb: bytes, line: bytes) -> None:
        if verb == b"DATA":
            self._wire.send(b"354 go ahead\r\n")
            message = self._data()
        else:
            words = line.split(b" ")
            chunk = self._wire.exactly(int(words[1]))
            if chunk is None:
                return
            self._chunks.append(chunk)
            if words[-1].upper() != b"LAST":
                self._wire.later(b"250 2.0.0 chunk\r\n")
                return
            message, self._chunks = b"".join(self._chunks), []
        if message is not None:
            self._sink.keep(self._recipients, message, verb.decode("ascii"))
            self._recipients.clear()
            self._wire.later(b"250 2.0.0 kept\r\n")

    def _data(self) -> bytes | None:
        """Return a message in DATA without its stuffing; None where its end is cut."""
        first = self._wire.exactly(3)
        if first is None or first == b".\r\n":
            return first and b""
        self._wire.put_back(first)
        rest = self._wire.until(b"\r\n.\r\n")
        if rest is None:
            return None
        text = b"\r\n" + rest[:-3]
        if _BAD_DOT.search(text):
            self._sink.ill_stuffed += 1
        return text.replace(b"\r\n.", b"\r\n")[2:]

    def _starttls(self) -> bool:
        """Answer as the test wants it; False where the session has ended by it."""
        wire, session = self._wire, self._session
        self._sink.gate.wait(30)
        session.early = wire.unread
        pieces = self._sink.starttls_answer
        wire.flush()
        with suppress(ConnectionError):  # closed after the first piece
            wire.send_apart(*pieces)
        if b"".join(pieces) != GO:
            session.after = wire.rest()
            return False
        wire.accept_tls(self._context)
        session.in_tls = True
        return True
