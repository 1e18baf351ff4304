"""Between rules and scanners: what of a message is asked, and what the answers mean.

Pure. Asks for what could change the end of the message, and for each content once,
however many parts have it. A part that was to be scanned and was not is never taken for
a clean one.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from smtpguard.model.decision import Action, Decision, most_severe
from smtpguard.model.scan import Question, Subject, Told
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.policy.verdicts import on_spam, on_virus


if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from smtpguard.examining import Examined
    from smtpguard.mime import Message, Octets, Part
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.scan import Questions, Verdicts
    from smtpguard.model.session import SessionFacts
    from smtpguard.policy.antivirus import Antivirus


RAW = "raw"
"""Key of the question about a message as it came; parts have their digests."""
SPAM = "spam"
"""Key of the question about a message's score."""
_CHUNK = 256 * 1024
_SHOWN = ("text/plain", "text/html")
_NOT_ASKED = (Verdict("", VerdictKind.UNAVAILABLE, reason="nobody was asked"),)


class Scanners(Protocol):
    """Who asks the scanners."""

    def ask(self, questions: Questions) -> Future[Verdicts]:
        """Return the answers to come; they come, whatever the scanners do."""
        ...

    def health(self) -> list[tuple[str, str, str, str]]:
        """Return name, address, state and reason of each scanner that was asked."""
        ...

    def stop(self) -> None:
        """Ask nobody any more."""
        ...


def questions(examined: Examined) -> Questions:
    """Return whom to ask about what; empty where no answer would change anything."""
    found: dict[str, Question] = {}
    policy, message, worst = examined.policy, examined.message, examined.worst()
    table, spam = policy.antivirus, policy.spam
    if table is not None and _matters(table.worst, worst):
        for part in _scanned(examined, table):
            look = examined.looks[part.path]
            subject = Subject(part.decoded, look.size, look.sha256)
            found.setdefault(look.sha256, Question(subject, table.scanners))
        if table.raw and found:
            found[RAW] = Question(_whole(message, None), table.scanners)
    if (
        spam is not None
        and _matters(spam.worst, worst)
        and policy.unscored(examined.facts).action is Action.SCAN
    ):
        told = _told(examined.facts.session, examined.facts.envelope)
        found[SPAM] = Question(_whole(message, told), spam.scanners)
    return found


def answered(examined: Examined, asked: Questions, verdicts: Verdicts) -> Examined:
    """Return what is said to a message after the answers to ``asked``."""
    shown: dict[str, tuple[Verdict, ...]] = {}
    parts = dict(examined.parts)
    whole: list[Decision] = []
    table, spam = examined.policy.antivirus, examined.policy.spam
    if table is not None:
        bodies = set(_bodies(examined.message))
        for path, said in examined.parts.items():
            digest = examined.looks[path].sha256
            if not said.scans:
                continue
            if digest not in asked:
                part = examined.message.part(path)
                parts[path] = _unscanned(said, table, part)
                continue
            shown[path] = verdicts.get(digest) or _NOT_ASKED
            is_body = path in bodies
            found = on_virus(table, shown[path], path, is_body=is_body)
            parts[path] = _joined(said, found)
        if RAW in asked:
            shown[RAW] = verdicts.get(RAW) or _NOT_ASKED
            whole.append(on_virus(table, shown[RAW], "", is_body=False))
    if spam is not None:
        exception = examined.policy.unscored(examined.facts)
        if SPAM in asked:
            shown[SPAM] = verdicts.get(SPAM) or _NOT_ASKED
            whole.append(on_spam(spam, shown[SPAM]))
        elif exception.action is not Action.SCAN:
            whole.append(exception)
    return replace(examined, parts=parts, whole=tuple(whole), verdicts=shown)


def _matters(possible: Action, worst: Decision) -> bool:
    """Whether something as severe could change the end of a message."""
    ends = worst.action.severity <= Action.DISCARD.severity
    return not ends or possible.severity < worst.action.severity


def _scanned(examined: Examined, table: Antivirus) -> Iterator[Part]:
    """Yield the parts to scan. Of an attached message that was read each part is."""
    for part in examined.message.candidates():
        said = examined.parts[part.path]
        if said.scans and part.is_leaf and table.worst.severity < said.action.severity:
            yield part


def _unscanned(said: Decision, table: Antivirus, part: Part | None) -> Decision:
    """Return what counts for a part that nobody was asked about, and why that is so."""
    if said.action is not Action.SCAN:
        return said
    if part is not None and not part.is_leaf:
        return replace(said, action=Action.ALLOW, reason="its parts are scanned")
    if table.worst.severity >= Action.SCAN.severity:
        return replace(said, action=Action.ALLOW, reason="no verdict would change it")
    return said


def _joined(said: Decision, found: Decision) -> Decision:
    """Return what counts for a part after rules and scanners; scanned it passes."""
    trace = (*said.trace, *found.trace)
    if said.action is Action.SCAN:
        return replace(found, trace=trace)
    return replace(most_severe((said, found)), trace=trace)


def _bodies(message: Message) -> Iterator[str]:
    """Yield the paths of what readers show as the text: the first of each type."""
    wanted = list(_SHOWN)
    for part in message.candidates():
        if part.content_type in wanted and part.is_leaf and not part.names:
            wanted.remove(part.content_type)
            yield part.path


def _whole(message: Message, told: Told | None) -> Subject:
    octets = message.buffer
    digest = hashlib.sha256(octets).hexdigest()
    return Subject(lambda: _pieces(octets), len(octets), digest, told)


def _pieces(octets: Octets) -> Iterator[bytes]:
    for start in range(0, len(octets), _CHUNK):
        yield bytes(octets[start : start + _CHUNK])


def _told(session: SessionFacts, envelope: Envelope | None) -> Told:
    tls = session.client_leg.tls
    sender = envelope.asked.mailbox if envelope else None
    recipients = envelope.standing if envelope else []
    mailboxes = [one.asked.mailbox for one in recipients]
    return Told(
        session.client[0],
        session.helo,
        str(sender or ""),
        tuple(str(one) for one in mailboxes if one is not None),
        session.authenticated,
        tls.version if tls else "",
        (envelope.id if envelope else "") or session.id,
    )
