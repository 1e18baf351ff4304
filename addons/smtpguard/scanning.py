"""Between rules and scanners: what of a message is asked, and what the answers mean.

Pure. Asks for what could change the end of the message, and for each content once,
however many parts have it. A part that was to be scanned and was not is never taken for
a clean one.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from smtpguard.editing import around
from smtpguard.model.decision import Action, Decision, all_sides, most_severe
from smtpguard.model.scan import Question, Subject, Told
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.policy.verdicts import on_spam, on_virus


if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from concurrent.futures import Future

    from smtpguard.examining import Examined
    from smtpguard.mime import Message, Octets
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.scan import Questions, Verdicts
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.model.session import SessionFacts
    from smtpguard.policy.antivirus import Antivirus


RAW = "raw"
"""Key of the question about a message as it came; parts have their paths."""
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

    def keep(self, specs: AbstractSet[ScannerSpec]) -> None:
        """Forget all scanners but these; what they are asked already they answer."""
        ...

    def stop(self) -> None:
        """Ask nobody any more."""
        ...


def questions(examined: Examined) -> Questions:
    """Return whom to ask about what; empty where no answer would change anything.

    Parts are asked about by their path.
    """
    found: dict[str, Question] = {}
    policy, message = examined.policy, examined.message
    table, spam = policy.antivirus, policy.spam
    if table is not None and _matters(table.worst, examined):
        for path, subject in _subjects(examined, table):
            found[path] = Question(subject, table.scanners)
        if table.raw and found:
            found[RAW] = Question(_whole(message, None), table.scanners)
    if (
        spam is not None
        and _matters(spam.worst, examined)
        and policy.unscored(examined.facts).scans
    ):
        told = _told(examined.facts.session, examined.facts.envelope)
        found[SPAM] = Question(_whole(message, told), spam.scanners)
    return found


def answered(examined: Examined, asked: Questions, verdicts: Verdicts) -> Examined:
    """Return what is said to a message after the answers to ``asked``."""
    shown = {key: verdicts.get(key) or _NOT_ASKED for key in asked}
    parts = dict(examined.parts)
    whole: list[Decision] = []
    table, spam = examined.policy.antivirus, examined.policy.spam
    if table is not None:
        bodies = set(_bodies(examined.message))
        covered = _covered(examined)
        for path, said in examined.parts.items():
            if path in asked:
                is_body = path in bodies
                found = on_virus(table, shown[path], path, is_body=is_body)
                parts[path] = _joined(said, found)
            elif said.action is Action.SCAN:
                parts[path] = _passed_over(said, table, is_covered=path in covered)
        if RAW in asked:
            whole.append(on_virus(table, shown[RAW], "", is_body=False))
    if spam is not None:
        exception = examined.policy.unscored(examined.facts)
        if exception.action is not Action.SCAN:
            whole.append(exception)
        elif exception.side:
            # It is scored, and what its rule has done beside that is done.
            whole.append(replace(exception, action=Action.ALLOW))
        if SPAM in asked:
            whole.append(on_spam(spam, shown[SPAM]))
    return replace(examined, parts=parts, whole=tuple(whole), verdicts=shown)


def _matters(possible: Action, examined: Examined) -> bool:
    """Whether something as severe could change the end of a message."""
    worst = examined.worst().action
    return examined.goes_on() or possible.severity < worst.severity


def _subjects(examined: Examined, table: Antivirus) -> Iterator[tuple[str, Subject]]:
    """Yield the parts to scan, by path.

    An attached message whose parts are all scanned is not, as a whole.
    """
    covered = _covered(examined)
    for part in examined.message.candidates():
        said = examined.parts[part.path]
        if not said.scans or table.worst.severity >= said.action.severity:
            continue
        if part.is_leaf:
            look = examined.looks[part.path]
            yield part.path, Subject(part.decoded, look.size, look.sha256)
        elif part.path not in covered:
            yield part.path, Subject(part.decoded, *part.measure())


def _covered(examined: Examined) -> set[str]:
    """Return the paths of attached messages of which each leaf is scanned."""
    parts = list(examined.message.candidates())
    found = {part.path for part in parts if not part.is_leaf}
    for part in parts:
        if part.is_leaf and not examined.parts[part.path].scans:
            found.difference_update(around(part.path))
    return found


def _passed_over(said: Decision, table: Antivirus, *, is_covered: bool) -> Decision:
    """Return what counts for a part to scan that nobody was asked about.

    Without a reason it stays to be scanned, which lets no message pass.
    """
    if is_covered:
        return replace(said, action=Action.ALLOW, reason="its parts are scanned")
    if table.worst.severity >= Action.SCAN.severity:
        return replace(said, action=Action.ALLOW, reason="no verdict would change it")
    return said


def _joined(said: Decision, found: Decision) -> Decision:
    """Return what counts for a part after rules and scanners; scanned it passes."""
    trace = (*said.trace, *found.trace)
    side = all_sides((said.side, found.side))
    if said.action is Action.SCAN:
        return replace(found, trace=trace, side=side)
    return replace(most_severe((said, found)), trace=trace, side=side)


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
