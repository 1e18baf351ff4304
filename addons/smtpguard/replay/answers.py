"""The upstream of a replay: it answers as it was recorded, else it agrees.

Every answer of the recording lies under the question it answered: EHLO by whether TLS
was on, MAIL, DATA and the end of data by the client's MAIL they belong to, RCPT by its
mailbox too, the rest by verb in order. So rules that ask less, more or in another order
still get the recorded answers; what was never asked is answered positively.

Reads what the dialogue sends, as a server would: lines, message, chunks.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from smtpguard.errors import ProtocolError
from smtpguard.model.reply import Reply
from smtpguard.replay.recording import (
    Answer,
    Answers,
    Link,
    Question,
    Quiet,
    chunk_size,
    read_reply,
)
from smtpguard.wire import DataReader, Receiver, parse_rcpt, proxyprotocol


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from smtpguard.dialogue.transcript import Entry


LINE_LIMIT: Final = 64 * 1024
MESSAGE_LIMIT: Final = 1 << 40
"""The dialogue has limited what it sends; here nothing is kept."""

GREETING: Final = Reply.make(220, "", "upstream.example ESMTP")
_KEYWORDS: Final = (
    *("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME"),
    "ENHANCEDSTATUSCODES",
)
EHLO: Final = Reply(250, (b"upstream.example", *(word.encode() for word in _KEYWORDS)))
_AGREED: Final = {
    "AUTH": Reply.make(235, "2.7.0", "Authentication succeeded"),
    "DATA": Reply.make(354, "", "Go on"),
    "HELO": Reply.make(250, "", "upstream.example"),
    "QUIT": Reply.make(221, "2.0.0", "Bye"),
    "STARTTLS": Reply.make(220, "2.0.0", "Go ahead"),
    "XCLIENT": GREETING,
}
_OK: Final = Reply.make(250, "2.0.0", "OK")
_KEPT: Final = frozenset({"EHLO", "HELO", "MAIL", "RCPT", "DATA", "FINAL"})
"""Questions whose last answer is given again; the others are agreed to then."""

_PROXY_BEGINS: Final = (b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n")


def question(line: bytes, mail: int, *, secure: bool) -> Question:
    """Return under which question the answer to a line lies.

    ``mail`` counts the client's MAIL commands, from 1; 0 before the first.
    """
    verb, _, argument = line.strip().partition(b" ")
    name = verb.decode("ascii", "replace").upper()
    match name:
        case "EHLO" | "HELO":
            return (name, secure)
        case "MAIL" | "DATA":
            return (name, mail)
        case "BDAT" | ".":
            return ("FINAL", mail)
        case "RCPT":
            return (name, mail, _mailbox(argument))
        case "AUTH" | "NOOP" | "QUIT" | "RSET" | "STARTTLS" | "XCLIENT" | "ETRN":
            return (name,)
    # What is no verb that the dialogue sends is a line within an AUTH exchange.
    return ("AUTH",)


def may_introduce(receiver: Receiver) -> bool:
    """Say whether what is there is, or may become, a PROXY header."""
    begins = ((receiver.peek(len(head)), head) for head in _PROXY_BEGINS)
    return any(found and head.startswith(found) for found, head in begins)


def _mailbox(argument: bytes) -> object:
    try:
        path = parse_rcpt(argument, smtputf8=True)
    except ProtocolError:
        return argument
    assert path.mailbox is not None
    return (path.mailbox.local_part, path.mailbox.domain)


def collect(entries: Iterable[Entry]) -> Answers:
    """Return the upstream's answers from a transcript of both legs."""
    reader = _Collector()
    for entry in entries:
        reader.take(entry)
    return reader.answers


class _Collector:
    """Gives each reply of the upstream's leg to what was asked before it."""

    def __init__(self) -> None:
        self.answers = Answers()
        self._lines = 0
        """Lines of the client so far."""
        self._mail = 0
        self._chunked = False
        self._in_data = False
        """The upstream waits for a message."""
        self._open: deque[tuple[Question, int]] = deque()

    def take(self, entry: Entry) -> None:
        match entry.direction, entry.kind:
            case "C", "line":
                self._lines += 1
                self._mail += entry.octets[:4].upper() == b"MAIL"
            case "s", "mark" if entry.octets == b"open":
                self._open.clear()
                self._in_data = False
                self.answers.links.append(Link())
            case "S", "mark":
                self._take_mark(entry.octets)
            case "s", "line":
                self._take_line(entry.octets)
            case "s", "message" if self._chunked:
                # BDAT: the reply that counts is the one to the whole message.
                self._ask(("FINAL", self._mail))
            case "S", "line":
                self._take_reply(entry.octets)

    def _take_mark(self, mark: bytes) -> None:
        if mark.startswith(b"tls"):
            self._link().secure = True
        elif mark in {b"closed", b"reset"}:
            self._lose()

    def _lose(self) -> None:
        """Note that the upstream went away, with or without a question open."""
        for asked, place in self._open:
            self.answers.known[asked][place] = Quiet.CLOSED
        if self._in_data and not self._open:
            self.answers.known.setdefault(("FINAL", self._mail), []).append(
                Quiet.CLOSED
            )
        elif not self._open and self._link().greeting is not None:
            self.answers.lost_after.add(self._lines)
        self._open.clear()
        self._in_data = False

    def _take_line(self, octets: bytes) -> None:
        self._chunked = octets[:4] == b"BDAT"
        if not self._chunked:
            self._ask(question(octets, self._mail, secure=self._link().secure))

    def _ask(self, asked: Question) -> None:
        self._in_data = False
        self._open.append((asked, self.answers.add(asked)))

    def _take_reply(self, octets: bytes) -> None:
        reply = read_reply(octets)
        link = self._link()
        if reply is None:
            self._lose()
        elif link.greeting is None:
            link.greeting = reply
        elif self._open:
            asked, place = self._open.popleft()
            self.answers.known[asked][place] = reply
            link.asked_tls |= asked == ("STARTTLS",) and reply.code == 220
            self._in_data = asked[0] == "DATA" and reply.code == 354
        elif self._in_data and reply.code >= 400:
            # Said before the whole message was there: it is the answer to it.
            self._in_data = False
            self.answers.known.setdefault(("FINAL", self._mail), []).append(reply)
        else:
            self._lose()

    def _link(self) -> Link:
        if not self.answers.links:
            self.answers.links.append(Link())
        return self.answers.links[-1]


class Upstream:
    """Plays the upstream from the answers of a recording."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._asked: dict[Question, int] = {}
        self.mail = 0
        """Which of the client's MAIL commands is being played, from 1."""
        self.secure = False
        self._link = -1
        self._receiver = Receiver()
        self._reader: DataReader | None = None
        self._chunk = 0
        self._last = b""

    def connect(self) -> bool:
        """Take a new connection; False where none was to be had."""
        self._link += 1
        self.secure = False
        self._receiver = Receiver()
        self._reader = None
        self._chunk = 0
        link = self._recorded_link()
        return link is None or link.greeting is not None or link.secure

    def greeting(self) -> Reply:
        """Return the greeting of this connection."""
        link = self._recorded_link()
        return GREETING if link is None or link.greeting is None else link.greeting

    def shakes_hands(self) -> bool:
        """Say whether a handshake succeeds: unless it is on record that it did not."""
        link = self._recorded_link()
        return link is None or link.secure or not link.asked_tls

    def feed(self, octets: bytes) -> Sequence[Answer]:
        """Take what the dialogue has sent; return the answers to it, in order."""
        self._receiver.feed(octets)
        said: list[Answer] = []
        while self._step(said):
            pass
        return said

    def _step(self, said: list[Answer]) -> bool:
        """Read one thing; False where octets are missing."""
        if self._reader is not None:
            if not self._reader.read(self._receiver, lambda _: None):
                return False
            self._reader = None
            said.append(self._answer(("FINAL", self.mail)))
            return True
        if self._chunk:
            self._chunk -= len(self._receiver.take(self._chunk))
            if self._chunk:
                return False
            said.append(self._answer(("FINAL", self.mail)))
            return True
        if may_introduce(self._receiver):
            return proxyprotocol.parse(self._receiver) is not None
        line = self._receiver.next_line(LINE_LIMIT)
        if line is None:
            return False
        self._take_line(line, said)
        return True

    def _take_line(self, line: bytes, said: list[Answer]) -> None:
        asked = question(line, self.mail, secure=self.secure)
        if line[:4] == b"BDAT":
            self._chunk = chunk_size(line)
            if self._chunk:
                return
        reply = self._answer(asked)
        said.append(reply)
        if asked[0] == "DATA" and isinstance(reply, Reply) and reply.code == 354:
            self._reader = DataReader(limit=MESSAGE_LIMIT)

    def _answer(self, asked: Question) -> Answer:
        known = self._answers.known.get(asked)
        at = self._asked.get(asked, 0)
        self._asked[asked] = at + 1
        if known is None:
            return self._unasked(asked)
        if at < len(known):
            return known[at]
        again = known[-1] if asked[0] in _KEPT else None
        return again if isinstance(again, Reply) else self._unasked(asked)

    def _unasked(self, asked: Question) -> Reply:
        verb = str(asked[0])
        if verb == "EHLO":
            return self._capabilities()
        return _AGREED.get(verb, _OK)

    def _capabilities(self) -> Reply:
        """Answer an EHLO that was never said in this state of TLS from the other."""
        other = self._answers.known.get(("EHLO", not self.secure), [])
        said = (reply for reply in reversed(other) if isinstance(reply, Reply))
        reply = next((reply for reply in said if reply.is_positive), EHLO)
        lines = [
            line
            for line in reply.lines[1:]
            if line.upper() != b"STARTTLS" or not self.secure
        ]
        return Reply(250, (reply.lines[0], *lines))

    def _recorded_link(self) -> Link | None:
        links = self._answers.links
        return links[min(self._link, len(links) - 1)] if links else None
