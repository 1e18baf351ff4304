"""Facts to decisions: the rules and the MIME tree joined, behind ``model.decider``.

Pure: the rule set is given, the time comes from a function that is given, and the
message is a buffer. So the same message under the same rules always ends the same way,
in the gateway, in ``smtpguard inspect`` and in a replay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from smtpguard.authors import authors
from smtpguard.mime import (
    Defect,
    Edit,
    Limits,
    Message,
    Notice,
    Part,
    Variables,
    apply,
    deny_message,
    outline,
    outline_defects,
    parse,
    prepend_field,
    strip,
)
from smtpguard.model.decision import Action, Decision, TraceStep, most_severe
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.policy.facts import MessageFacts, PartFacts
from smtpguard.policy.replies import MESSAGE_DENIED
from smtpguard.receivedfield import received_value
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from smtpguard.mime import Octets
    from smtpguard.model.content import Spool
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Refusal, Settings, TrustedClient
    from smtpguard.policy import Policy, Ruleset


PASSED = frozenset({Outcome.RELAYED, Outcome.MODIFIED})
"""The outcomes in which the message goes on to its recipients."""
MAX_TRACE = 2000
"""Steps of a message's trace; a thousand parts under a hundred rules would have a
hundred times as many in every record. The part that decided is always in it."""
UNREAD_RULE = "limit"
"""What stands as the rule where a message was too much to be read to its end."""
AMBIGUOUS_RULE = "ambiguous"
"""The same, where another reader could see parts in it that we do not."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The rules of the moment (``model.decider.Decider``)."""

    rules: Ruleset
    clock: Callable[[], datetime]
    """Local time with its zone, for ``time`` conditions and Received fields."""
    own_name: str = "smtpguard.invalid"
    """Our name in a Received field."""

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        """Say whether this peer must tell us the real client's address."""
        return self.rules.trusted(client)

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        """Choose the policy of a new session."""
        return self.rules.choose(session).settings

    def helo(self, session: SessionFacts) -> Decision:
        """Judge the name the client greets with."""
        return self.rules.choose(session).helo(session, self.clock())

    def begin(self, session: SessionFacts) -> TransactionJudge:
        """Begin a transaction under the rules of the moment."""
        return TransactionJudge(self, self.rules.choose(session))


@dataclass(frozen=True, slots=True)
class Judged:
    """A message, what is to be changed in it, and what is to become of it."""

    message: Message
    edits: tuple[Edit, ...]
    disposition: Disposition


@dataclass(frozen=True, slots=True)
class TransactionJudge:
    """One transaction's rules (``model.decider.Judge``)."""

    pipeline: Pipeline
    policy: Policy

    def mail(self, session: SessionFacts, reverse_path: Path) -> Decision:
        """Judge MAIL."""
        return self.policy.mail(session, reverse_path, self.pipeline.clock())

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: Path
    ) -> Decision:
        """Judge RCPT."""
        now = self.pipeline.clock()
        return self.policy.rcpt(session, envelope, forward_path, now)

    def message(
        self, session: SessionFacts, envelope: Envelope, content: Spool
    ) -> Disposition:
        """Judge a whole message; the edits are planned, nothing is copied."""
        buffer = cast("Octets", content.view())
        judged = self.examine(session, envelope, buffer)
        if self.policy.settings.received and judged.disposition.outcome in PASSED:
            return self._add_received(session, envelope, judged)
        return judged.disposition

    def examine(
        self, session: SessionFacts, envelope: Envelope | None, buffer: Octets
    ) -> Judged:
        """Judge a message; ``envelope`` None where only a file is inspected.

        No Received field is added: that belongs to a relayed message.
        """
        limits = self.policy.settings.limits
        message = parse(
            buffer,
            Limits(
                depth=limits.mime_depth,
                parts=limits.mime_parts,
                header_section=limits.header_section,
            ),
        )
        facts = MessageFacts(
            session, envelope, authors(message), len(buffer), self.pipeline.clock()
        )
        decisions = {
            part.path: self.policy.part(PartFacts(part.content_type, part.names), facts)
            for part in message.candidates()
        }
        unread = _unread(message, self.policy)
        worst = most_severe((*decisions.values(), *unread))
        identifier = (envelope.id if envelope else "") or session.id
        edits: tuple[Edit, ...] = ()
        if worst.action is Action.STRIP:
            edits = _edits(identifier, message, decisions)
        outcome, reply = _outcome(worst, edits, identifier)
        told = (step for decision in unread for step in decision.trace)
        disposition = Disposition(
            outcome,
            reply,
            apply(message, edits) if outcome is Outcome.MODIFIED else None,
            worst.rule,
            worst.action,
            worst.reason,
            (*told, *_trace(decisions, worst)),
            _report(message, decisions),
        )
        return Judged(message, edits, disposition)

    def _add_received(
        self, session: SessionFacts, envelope: Envelope, judged: Judged
    ) -> Disposition:
        """Add our Received field (RFC 5321 4.4); the outcome stays what it was."""
        own_name, now = self.pipeline.own_name, self.pipeline.clock()
        value = received_value(session, envelope, own_name, now)
        edit = prepend_field(judged.message, b"Received", value)
        content = apply(judged.message, (*judged.edits, edit))
        return replace(judged.disposition, content=content)


# -- from decisions to a disposition -------------------------------------------------


def _unread(message: Message, policy: Policy) -> tuple[Decision, ...]:
    """Return a refusal where a rule could mean parts that we do not see: behind a
    limit, or where another reader of the message finds others.

    Rules that let everything pass need not have seen them.
    """
    rules = (*policy.content_types, *policy.filenames)
    if all(rule.action is Action.ALLOW for rule in rules):
        return ()
    for defect in message.defects:
        if defect.is_limit:
            return (_refusal(UNREAD_RULE, defect, "not read to its end"),)
    for defect in message.defects:
        if defect.is_ambiguity:
            return (_refusal(AMBIGUOUS_RULE, defect, "others could see other parts"),)
    return ()


def _refusal(rule: str, defect: Defect, why: str) -> Decision:
    reason = f"{defect.kind} in part {defect.part}: {why}"
    step = TraceStep(rule, matched=True, reason=reason, part=defect.part)
    return Decision(Action.DENY, rule, MESSAGE_DENIED, reason=reason, trace=(step,))


def _outcome(
    worst: Decision, edits: tuple[Edit, ...], identifier: str
) -> tuple[Outcome, Reply | None]:
    """Return what the most severe decision means for the whole message."""
    match worst.action:
        case Action.DENY if worst.reply is not None:
            if worst.own_reply:
                return Outcome.REJECTED, worst.reply
            # Ours tells the reference as well.
            return Outcome.REJECTED, replies.policy_refused(identifier)
        case Action.TEMPFAIL if worst.reply is not None:
            return Outcome.DEFERRED, worst.reply
        case Action.DISCARD:
            return Outcome.DISCARDED, replies.OK
        case Action.DROP:
            return Outcome.DROPPED, None
        case Action.STRIP if edits:
            return Outcome.MODIFIED, None
        case Action.ALLOW:
            return Outcome.RELAYED, None
        case _:
            # What this build cannot do must not end as if it had been allowed.
            return Outcome.DEFERRED, replies.UNDECIDED


def _edits(
    identifier: str, message: Message, decisions: dict[str, Decision]
) -> tuple[Edit, ...]:
    edits: list[Edit] = []
    for part in message.candidates():
        decision = decisions[part.path]
        if decision.action is Action.STRIP:
            edits += strip(message, part, _notice(identifier, part, decision))
    return tuple(edits)


def _notice(identifier: str, part: Part, decision: Decision) -> Notice:
    return deny_message(
        None,
        Variables(
            reason=f"{decision.reason} ({decision.rule})",
            type=part.content_type,
            filename=part.names[0] if part.names else "",
            action=str(decision.action),
            id=identifier,
        ),
    )


# -- what is told about it -----------------------------------------------------------


def _trace(decisions: dict[str, Decision], worst: Decision) -> Iterator[TraceStep]:
    """Yield the steps of every part, the deciding part's first where they are many."""
    paths = list(decisions)
    if sum(len(decision.trace) for decision in decisions.values()) > MAX_TRACE:
        paths.sort(key=lambda path: decisions[path] is not worst)
    steps = ((path, step) for path in paths for step in decisions[path].trace)
    for path, step in islice(steps, MAX_TRACE):
        # Many times a mail, and ``replace`` takes several times as long.
        yield TraceStep(step.rule, step.matched, step.reason, step.place, path)


def _report(message: Message, decisions: dict[str, Decision]) -> dict[str, Any]:
    """Return ``ambiguous`` to ``findings`` of contract 10.

    Nothing is detected or scanned yet: ``detected`` is None, ``verdicts`` is empty.
    """
    parts = outline(message)
    return {
        "ambiguous": any(defect.is_ambiguity for defect in message.defects),
        "defects": outline_defects(message),
        "parts": [_part(part, decisions.get(part["path"])) for part in parts],
        "findings": [],
    }


def _part(part: dict[str, Any], decision: Decision | None) -> dict[str, Any]:
    return {
        "path": part["path"],
        "type": part["type"],
        "detected": None,
        "names": part["names"],
        "size": part["size"],
        "sha256": part["sha256"],
        "facts": part["facts"],
        "entries": part["entries"],
        "verdicts": [],
        "rule": decision.rule if decision else "",
        "action": str(decision.action) if decision else "",
    }
