"""``smtpguard inspect``: message files through the rules, as if they had been sent.

Asks what the gateway asks, in its order: HELO, sender and recipients where they are
given, then the octets, then the rules on content. One message at a time. What is read
and how stands in ``mailfiles``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from smtpguard.dialogue.paths import rewritten_recipient, rewritten_sender
from smtpguard.errors import SmtpGuardError
from smtpguard.inspected import Inspected, sha256
from smtpguard.mailfiles import Stored, Unreadable, stored_messages
from smtpguard.model.decision import CLOSING, Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.envelope import Envelope, Recipient
from smtpguard.model.mailbox import Parameter
from smtpguard.model.mailbox import Path as MailPath
from smtpguard.model.session import LegFacts, SessionFacts, TlsFacts
from smtpguard.pipeline import TransactionJudge
from smtpguard.policy.ruleset import UNDECIDED_POLICY
from smtpguard.wire import TextReader, parse_mailbox, replies


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from smtpguard.model.decision import TraceStep
    from smtpguard.model.reply import Reply
    from smtpguard.pipeline import Pipeline
    from smtpguard.policy import Policy


ID = "inspect"
"""What stands where a transaction would have its id, in replies and notices."""
_ACCEPTED = frozenset({Action.ALLOW, Action.REWRITE})
_REFUSED = {
    Action.DENY: Outcome.REJECTED,
    **dict.fromkeys(CLOSING, Outcome.DROPPED),
}


@dataclass(frozen=True, slots=True)
class Question:
    """How the messages are to be taken to have come."""

    mail_from: str | None = None
    """None skips ``mail_from``; "" and "<>" are the null reverse-path."""
    rcpt_to: tuple[str, ...] = ()
    """() skips ``rcpt_to``."""
    client_ip: str = "192.0.2.1"
    helo: str | None = None
    """None skips ``helo``."""
    authenticated: bool = False
    tls: bool = False
    policy: str | None = None
    """None has the rules choose by the client's address, port 25."""
    raw: bool = False
    """Leave the octets as they are: LF-only files are not read as if sent with CRLF,
    and bare CR, LF and NUL are not refused."""


class Inspector:
    """Judges stored messages that came as one question says."""

    def __init__(self, pipeline: Pipeline, question: Question) -> None:
        """Prepare; raises SmtpGuardError where the question cannot be asked."""
        self._question = question
        self._pipeline = pipeline
        self._session = _session(question)
        self._policy = _policy(pipeline, self._session, question.policy)
        self._session.policy = self._policy.name
        self._judge = TransactionJudge(pipeline, self._policy)
        self._reverse_path = None
        if question.mail_from is not None:
            self._reverse_path = _path(question.mail_from)
        self._forward_paths = [_path(address) for address in question.rcpt_to]
        if any(path.mailbox is None for path in self._forward_paths):
            raise SmtpGuardError("not a recipient: '' (only a sender can be <>)")

    def paths(self, paths: Iterable[Path]) -> Iterator[Inspected | Unreadable]:
        """Judge every message in files, folders (recursively) and mbox files."""
        limit = self._policy.settings.limits.message
        for stored in stored_messages(paths, limit):
            yield stored if isinstance(stored, Unreadable) else self.message(stored)

    def message(self, stored: Stored) -> Inspected:
        """Judge one message."""
        name, policy = stored.name, self._policy.name
        octets, refusal = self._as_sent(stored)
        size, digest = stored.size, stored.sha256
        if octets is not None:
            size, digest = len(octets), sha256(octets)
        try:
            said = self._dispose(octets, size, refusal)
        except Exception as error:  # noqa: BLE001 - as in the gateway: undecided is 451
            reason = f"undecided: {error!r}"
            said = Disposition(Outcome.DEFERRED, replies.UNDECIDED, reason=reason)
        return Inspected(name, octets, size, digest, policy, said)

    def _as_sent(self, stored: Stored) -> tuple[bytes | None, Reply | None]:
        """Return the octets a client would have sent, and why they are refused."""
        octets = stored.octets
        if octets is None or self._question.raw:
            return octets, None if octets is not None else replies.MESSAGE_TOO_LARGE
        if b"\r\n" not in octets:
            octets = octets.replace(b"\n", b"\r\n")
        settings = self._policy.settings
        normalise = settings.bare_newlines == "normalise"
        reader = TextReader(limit=settings.limits.message, normalise=normalise)
        pieces: list[bytes] = []
        reader.write_chunk(octets, pieces.append)
        reader.finish(pieces.append)
        if reader.too_large:
            return None, replies.MESSAGE_TOO_LARGE
        if not reader.stray:
            return octets, None
        if normalise:
            return b"".join(pieces), None
        return octets, replies.BARE_NEWLINE

    def _dispose(
        self, octets: bytes | None, size: int, refusal: Reply | None
    ) -> Disposition:
        envelope = self._envelope(size)
        steps, refused = self._addresses(envelope)
        if refused is not None:
            return _ending(refused, steps)
        if octets is None:
            reply = refusal or replies.MESSAGE_TOO_LARGE
            return Disposition(Outcome.REJECTED, reply, trace=steps)
        judged = self._judge.judged(self._session, envelope, octets)
        said = replace(judged.disposition, trace=(*steps, *judged.disposition.trace))
        received = sum(field.is_named("received") for field in judged.message.fields)
        if received > self._policy.settings.limits.received_fields:
            refusal = refusal or replies.LOOP
        if refusal is None:
            return said
        # Refused for its octets, before a rule is asked; what is in it is shown still.
        return Disposition(Outcome.REJECTED, refusal, trace=steps, report=said.report)

    def _envelope(self, size: int) -> Envelope | None:
        if self._reverse_path is None and not self._forward_paths:
            return None
        path = self._reverse_path or MailPath(None)
        # Nearly every client tells the size (RFC 1870), and rules may ask for it.
        path = replace(path, parameters=(Parameter("SIZE", str(size)),))
        return Envelope(asked=path, reverse_path=path, id=ID)

    def _addresses(
        self, envelope: Envelope | None
    ) -> tuple[tuple[TraceStep, ...], Decision | None]:
        """Ask the rules on HELO and addresses; return the end, if that is one."""
        steps: list[TraceStep] = []
        session, judge = self._session, self._judge
        if self._question.helo is not None:
            decision = self._policy.helo(session, self._pipeline.clock())
            steps += decision.trace
            if decision.action not in _ACCEPTED:
                return tuple(steps), decision
        if envelope is None:
            return tuple(steps), None
        if self._reverse_path is not None:
            decision = judge.mail(session, envelope.asked)
            steps += decision.trace
            if decision.action not in _ACCEPTED:
                return tuple(steps), decision
            envelope.decision = decision
            envelope.reverse_path = rewritten_sender(envelope.asked, decision)
        refused: Decision | None = None
        for path in self._forward_paths:
            decision = judge.rcpt(session, envelope, path)
            steps += decision.trace
            if decision.action in CLOSING:
                return tuple(steps), decision
            if decision.action in _ACCEPTED:
                to = rewritten_recipient(path, decision, dsn=False)
                envelope.recipients.append(
                    Recipient(path, to, decision, replies.RCPT_OK)
                )
            else:
                refused = refused or decision
        return tuple(steps), None if envelope.recipients else refused


def _session(question: Question) -> SessionFacts:
    try:
        ip_address(question.client_ip)
    except ValueError:
        raise SmtpGuardError(f"not an IP address: {question.client_ip!r}") from None
    tls = TlsFacts("TLSv1.3", "") if question.tls else None
    return SessionFacts(
        id=ID,
        client=(question.client_ip, 0),
        destination=("", 25),
        helo="client.invalid" if question.helo is None else question.helo,
        esmtp=True,
        authenticated=question.authenticated,
        client_leg=LegFacts(tls),
    )


def _policy(pipeline: Pipeline, session: SessionFacts, name: str | None) -> Policy:
    rules = pipeline.rules
    names = ", ".join(policy.name for policy in rules.policies)
    if name is not None:
        found = rules.named(name)
        if found is None:
            raise SmtpGuardError(f"no policy {name!r}; there are: {names}")
        return found
    found = rules.choose(session)
    if found is UNDECIDED_POLICY:
        raise SmtpGuardError(
            f"which policy depends on more than the client; choose by --policy: {names}"
        )
    return found


def _path(address: str) -> MailPath:
    if address in {"", "<>"}:
        return MailPath(None)
    try:
        return MailPath(parse_mailbox(address))
    except ValueError as error:
        raise SmtpGuardError(f"not an address: {address!r} ({error})") from None


def _ending(decision: Decision, steps: tuple[TraceStep, ...]) -> Disposition:
    return Disposition(
        _REFUSED.get(decision.action, Outcome.DEFERRED),
        decision.reply,
        None,
        decision.rule,
        decision.action,
        decision.reason,
        steps,
    )
