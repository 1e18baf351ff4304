"""What was said in a session, apart from what smtpguard made of it.

Turns a transcript of both legs into what can be said again: the client's lines with
the mails that belong to them (``Say``), its handshakes, its leaving; and the upstream's
answers, each under the question it answered (``Answers``), so that they can be found
again when other rules ask in another order. Owns no judgement: whether a mail is known
well enough to be sent again is for ``recorded`` to say.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from smtpguard.errors import ProtocolError
from smtpguard.wire import Receiver, ReplyReader, parse_bdat, replies


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from smtpguard.dialogue.transcript import Entry
    from smtpguard.model.reply import Reply


_ESCAPED: Final = re.compile(rb"\\x([89a-f][0-9a-f])")
_ESCAPED_NOISE: Final = re.compile(rb"\\(?:x([0-9a-f]{2})|t)")


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as the client sent it, dot-stuffing undone."""

    octets: bytes
    size: int
    """Octets it had; more than there are where it was not recorded whole."""
    longer: bool = False
    """It was refused for its size: it had more than ``size``, nobody knows what."""


@dataclass(frozen=True, slots=True)
class Say:
    """A line of the client."""

    octets: bytes
    """With CRLF."""
    mail: Mail | None = None
    """What followed DATA or stood in the chunks up to this BDAT."""
    told: Reply | None = None
    """What the client was told then; of DATA with a mail the answer to the mail."""
    invited: bool = False
    """DATA was answered with 354."""

    @property
    def verb(self) -> str:
        """The verb in upper case, "" where there is none."""
        words = self.octets.split(maxsplit=1)
        return words[0].decode("ascii", "replace").upper() if words else ""


@dataclass(frozen=True, slots=True)
class Shake:
    """The client's part in a TLS handshake that succeeded."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The client sends nothing more; after a reset it hears nothing either."""

    reset: bool


@dataclass(frozen=True, slots=True)
class Introduce:
    """A PROXY header that told of another client."""


type Step = Say | Shake | Leave | Introduce


@dataclass(slots=True)
class Link:
    """One connection to the upstream, as far as it came."""

    greeting: Reply | None = None
    asked_tls: bool = False
    """STARTTLS was answered with 220."""
    secure: bool = False


class Quiet(Enum):
    """Instead of a reply."""

    SILENT = "silent"
    CLOSED = "closed"


type Question = tuple[object, ...]
type Answer = Reply | Quiet


@dataclass(slots=True)
class Answers:
    """What the upstream said, by question, in order."""

    links: list[Link] = field(default_factory=list)
    known: dict[Question, list[Answer]] = field(default_factory=dict)
    lost_after: set[int] = field(default_factory=set)
    """Lines of the client, counted from 1, after which the upstream went away (or spoke
    out of turn, which loses it) though nothing was asked."""

    def add(self, question: Question) -> int:
        """Note that something was asked; return the place of its answer."""
        self.known.setdefault(question, []).append(Quiet.SILENT)
        return len(self.known[question]) - 1


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded session."""

    name: str
    """For messages: the file and, where it holds several, the number in it."""
    session: Mapping[str, Any]
    """As in ``proxy.sessionrecord``."""
    legs: Mapping[str, Any]
    steps: tuple[Step, ...]
    answers: Answers
    transactions: tuple[Mapping[str, Any], ...] = ()
    """The recorded outcomes, where there are any."""
    cut: str = ""
    """Which flow it was where recording came to its limit before the session ended."""


def client_steps(entries: Iterable[Entry]) -> tuple[Step, ...]:
    """Return what the client did, each line with its mail and its reply.

    The first reply is the greeting, whatever the client said before it. Its leaving
    comes last: what stands behind it was sent before it, and read later.
    """
    steps: list[Step] = []
    greeted = False
    open_: deque[int] = deque()
    leave: Leave | None = None
    for entry in entries:
        match entry.direction, entry.kind:
            case "C", "line":
                open_.append(len(steps))
                steps.append(Say(_as_said(entry.octets)))
            case "C", "message":
                _take_mail(steps, open_, Mail(entry.octets, entry.size))
            case "C", "mark" if entry.octets in {b"closed", b"reset"}:
                leave = Leave(reset=entry.octets == b"reset")
            case "C", "mark":
                _take_mark(steps, entry.octets)
            case "c", "line" if greeted:
                _take_reply(steps, open_, entry.octets)
            case "c", "line":
                greeted = True
    return (*steps, leave) if leave else tuple(steps)


def _take_mail(steps: list[Step], open_: deque[int], mail: Mail) -> None:
    for place in reversed(range(len(steps))):
        step = steps[place]
        if isinstance(step, Say) and step.verb in {"DATA", "BDAT"}:
            steps[place] = replace(step, mail=mail)
            if step.verb == "DATA":
                # Its next reply is the one to the mail.
                open_.append(place)
            return


def _take_mark(steps: list[Step], mark: bytes) -> None:
    if mark.startswith(b"tls"):
        steps.append(Shake())
    elif mark.startswith(b"proxy"):
        steps.append(Introduce())


def _take_reply(steps: list[Step], open_: deque[int], octets: bytes) -> None:
    """Give a reply to the oldest line that waits for one; a 421 may find none."""
    reply = read_reply(octets)
    if reply is None or not open_:
        return
    place = open_.popleft()
    step = steps[place]
    if not isinstance(step, Say):
        return
    if reply.code == 354:
        steps[place] = replace(step, invited=True)
        return
    mail = step.mail
    if mail is not None and reply.lines == replies.MESSAGE_TOO_LARGE.lines:
        mail = replace(mail, longer=True)
    steps[place] = replace(step, told=reply, mail=mail)


def read_reply(octets: bytes) -> Reply | None:
    """Return the reply that these octets are, None if they are none."""
    receiver = Receiver()
    receiver.feed(octets)
    try:
        return ReplyReader().next_reply(receiver)
    except ProtocolError:
        return None


def _as_said(octets: bytes) -> bytes:
    """Undo the escapes with which a line was made printable.

    In a command they can only stand for UTF-8 (a backslash may be the client's own, in
    a quoted local part), in what has no verb for anything.
    """
    if b"\\" in octets.split(b" ", 1)[0]:
        return _ESCAPED_NOISE.sub(_octet, octets)
    plain = _ESCAPED.sub(_octet, octets)
    try:
        plain.decode("utf-8")
    except UnicodeDecodeError:
        return octets
    return plain


def _octet(found: re.Match[bytes]) -> bytes:
    return bytes([int(found[1], 16)]) if found[1] else b"\t"


def chunk_size(line: bytes) -> int:
    """Return the octets that a BDAT line announces, 0 where it cannot be read."""
    try:
        return parse_bdat(line.strip()[4:].strip())[0]
    except ProtocolError:
        return 0


def outcomes(recording: Recording) -> dict[int, Mapping[str, Any]]:
    """Return the recorded transactions by the client's MAIL they began with, from 1.

    An id counts the MAIL commands that came as far as the rules. Of those that were
    refused only a record of its own tells that.
    """
    by_id = {str(each.get("transaction")): each for each in recording.transactions}
    found: dict[int, Mapping[str, Any]] = {}
    number = 0
    said = (step for step in recording.steps if isinstance(step, Say))
    mails = (step for step in said if step.verb == "MAIL")
    for place, step in enumerate(mails, start=1):
        record = by_id.get(f"{recording.session.get('id')}.{number + 1}")
        began = step.told is not None and step.told.is_positive
        if began or (record is not None and _ended_at_mail(record, step.told)):
            number += 1
            if record is not None:
                found[place] = record
    return found


def _ended_at_mail(record: Mapping[str, Any], told: Reply | None) -> bool:
    """Say whether a record is that of a refused MAIL: nobody was asked for after it."""
    match record.get("envelope"):
        case {"rcpt_to": list(recipients)}:
            asked = any(isinstance(r, dict) and r.get("reply") for r in recipients)
            return not asked and record.get("reply") == str(told)
    return False
