"""Facts to decisions: the rules and the MIME tree joined, behind ``model.decider``.

Pure but for whoever enters archives: the rule set is given, time and random octets come
from functions that are given, and the message is a buffer. So the same message under
the same rules always ends the same way, in the gateway, in ``smtpguard inspect`` and in
a replay.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, cast

from smtpguard.authors import authors
from smtpguard.editing import (
    Editor,
    Locker,
    is_structural,
    own_fields,
    rewritten_fields,
    settled,
)
from smtpguard.looking import Looker, doubts
from smtpguard.mime import (
    Edit,
    Limits,
    Message,
    apply,
    parse,
    prepend_field,
    remove_field,
)
from smtpguard.model.decision import Action, Decision, TraceStep, most_severe
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.policy.facts import FieldFacts, MessageFacts, PartFacts
from smtpguard.receivedfield import received_value
from smtpguard.reporting import report, trace
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from smtpguard.looking import Inspector, Look
    from smtpguard.mime import Field, Octets, Part
    from smtpguard.model.content import Spool
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Refusal, Settings, TrustedClient
    from smtpguard.policy import Policy, Ruleset
    from smtpguard.policy.policies import RecipientClass


PASSED = frozenset({Outcome.RELAYED, Outcome.MODIFIED})
"""The outcomes in which the message goes on to its recipients."""
MAX_CLASSES = 5
"""Classes of recipients of one transaction that are kept apart; beyond them all get
what the most severe answer says (contract 5)."""
_SUBMISSION_PORTS = frozenset({465, 587})


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The rules of the moment (``model.decider.Decider``)."""

    rules: Ruleset
    clock: Callable[[], datetime]
    """Local time with its zone, for ``time`` conditions and Received fields."""
    own_name: str = "smtpguard.invalid"
    """Our name in a Received field."""
    inspector: Inspector | None = None
    """Who enters archives; None: nobody, and rules that ask for their files get
    ``limit``."""
    random: Callable[[int], bytes] = secrets.token_bytes
    """Returns so many octets that nobody can know."""
    spool: Callable[[], BinaryIO] = BytesIO
    """Returns an empty file, for parts that are encrypted."""

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
class _Said:
    """What the rules say to a message, in pieces."""

    message: Message
    looks: Mapping[str, Look]
    parts: dict[str, Decision]
    fields: list[tuple[Field, Decision]]
    doubts: tuple[Decision, ...]
    """About containers, which are no parts by themselves."""

    def worst(self) -> Decision:
        """Return what counts for the whole message."""
        fields = (decision for _, decision in self.fields)
        return most_severe((*self.doubts, *self.parts.values(), *fields))

    def steps(self, worst: Decision) -> list[TraceStep]:
        """Return the steps that are about no part; of a header field that passes only
        the one that decided. ``worst`` may be a refusal to edit."""
        told = [step for decision in self.doubts for step in decision.trace]
        for _, decision in self.fields:
            passes = decision.action is Action.ALLOW
            told += decision.trace[-1:] if passes else decision.trace
        if worst.rule.startswith("on_"):
            told += worst.trace
        return told


@dataclass(frozen=True, slots=True)
class TransactionJudge:
    """One transaction's rules (``model.decider.Judge``)."""

    pipeline: Pipeline
    policy: Policy
    classes: set[RecipientClass] = field(default_factory=set, compare=False)
    """Of the recipients so far."""

    def mail(self, session: SessionFacts, reverse_path: Path) -> Decision:
        """Judge MAIL."""
        return self.policy.mail(session, reverse_path, self.pipeline.clock())

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: Path
    ) -> Decision:
        """Judge RCPT."""
        now = self.pipeline.clock()
        decision = self.policy.rcpt(session, envelope, forward_path, now)
        if decision.reply is not None or not self._keeps_apart(session):
            return decision
        return self._in_class(session, envelope, forward_path, decision)

    def message(
        self,
        session: SessionFacts,
        envelope: Envelope,
        content: Spool,
        *,
        at_once: bool = False,
    ) -> Disposition:
        """Judge a whole message; the edits are planned, nothing is copied."""
        buffer = cast("Octets", content.view())
        judged = self.examine(session, envelope, buffer, at_once=at_once)
        if judged.disposition.outcome in PASSED:
            return self._with_own_fields(session, envelope, judged)
        return judged.disposition

    def examine(
        self,
        session: SessionFacts,
        envelope: Envelope | None,
        buffer: Octets,
        *,
        at_once: bool = False,
    ) -> Judged:
        """Judge a message; ``envelope`` None where only a file is inspected.

        No field of ours is added: that belongs to a relayed message. Raises
        ``TakesLong`` where that is asked for and an archive would have to be entered.
        """
        policy = self.policy
        message = parse(buffer, self._limits())
        looker = Looker(
            self.pipeline.inspector,
            self.pipeline.clock,
            enters=policy.looks,
            at_once=at_once,
        )
        looks = looker.looks(message)
        facts = MessageFacts(
            session, envelope, authors(message), len(buffer), self.pipeline.clock()
        )
        parts = {
            part.path: settled(part, policy.part(_facts(part, looks[part.path]), facts))
            for part in message.candidates()
        }
        said = _Said(
            message,
            looks,
            parts,
            self._fields(message, facts),
            _doubtful(message, policy, looks),
        )
        identifier = (envelope.id if envelope else "") or session.id
        edits, worst = self._edits(said, envelope, identifier)
        outcome, reply = _outcome(worst, edits, identifier)
        disposition = Disposition(
            outcome,
            reply,
            apply(message, edits) if outcome is Outcome.MODIFIED else None,
            worst.rule,
            worst.action,
            worst.reason,
            tuple(trace(said.steps(worst), parts, worst)),
            report(message, parts, looks),
        )
        return Judged(message, edits, disposition)

    def _limits(self) -> Limits:
        limits = self.policy.settings.limits
        return Limits(
            depth=limits.mime_depth,
            parts=limits.mime_parts,
            header_section=limits.header_section,
        )

    def _edits(
        self, said: _Said, envelope: Envelope | None, identifier: str
    ) -> tuple[tuple[Edit, ...], Decision]:
        """Plan the edits, if it comes to that; return what counts in the end."""
        worst, message = said.worst(), said.message
        if worst.action.severity < Action.STRIP.severity:
            return (), worst
        handling = self.policy.handling
        pipeline = self.pipeline
        locker = Locker(pipeline.clock(), pipeline.random, pipeline.spool)
        editor = Editor(message, handling, identifier, locker)
        fields = [
            remove_field(message, field)
            for field, decision in said.fields
            if decision.action is Action.STRIP
        ]
        fields += rewritten_fields(message, envelope)
        refused = editor.refusal(said.parts, said.looks, edits_fields=bool(fields))
        if refused is not None:
            return (), refused
        return (*editor.parts(said.parts), *fields), worst

    def _fields(
        self, message: Message, facts: MessageFacts
    ) -> list[tuple[Field, Decision]]:
        if not self.policy.headers:
            return []
        return [(one, self._field(one, facts)) for one in message.fields]

    def _field(self, field: Field, facts: MessageFacts) -> Decision:
        """Judge a header field; one that says how the message is read stays."""
        raw = [field.raw_value, field.joined_value or b""]
        readings = (
            field.value,
            *(one.decode("utf-8", "replace") for one in raw if one),
        )
        values = tuple(dict.fromkeys(readings))
        said = self.policy.field(FieldFacts(field.name, values), facts)
        if said.action is Action.STRIP and is_structural(field):
            reason = f"{said.reason}; it says how the message is read, and stays"
            return replace(said, action=Action.ALLOW, reason=reason)
        return said

    def _with_own_fields(
        self, session: SessionFacts, envelope: Envelope, judged: Judged
    ) -> Disposition:
        """Add our fields (RFC 5321 4.4); the outcome stays what it was."""
        edits: list[Edit] = []
        if self.policy.settings.received:
            own_name, now = self.pipeline.own_name, self.pipeline.clock()
            value = received_value(session, envelope, own_name, now)
            edits.append(prepend_field(judged.message, b"Received", value))
        said = judged.disposition
        if self.policy.handling.own_fields:
            action = str(said.action or Action.ALLOW)
            action += f" ({said.rule})" if said.rule else ""
            edits += own_fields(judged.message, envelope.id, {"Action": action})
        if not edits:
            return said
        content = apply(judged.message, (*edits, *judged.edits))
        return replace(said, content=content)

    # -- recipients who differ (contract 5) ------------------------------------------

    def _keeps_apart(self, session: SessionFacts) -> bool:
        """Whether recipients whom content rules treat differently get one mail each."""
        if not self.policy.recipient_tests:
            return False
        differing = self.policy.settings.differing
        if differing:
            return differing == "separate"
        is_inside = self.policy.when is not None and not self.policy.when.is_open
        port = session.destination[1]
        return not (session.authenticated or is_inside or port in _SUBMISSION_PORTS)

    def _in_class(
        self,
        session: SessionFacts,
        envelope: Envelope,
        path: Path,
        decision: Decision,
    ) -> Decision:
        """Let a recipient in whose mail is that of the first, put off the others."""
        mine = self.policy.recipient_class(session, path)
        self.classes.add(mine)
        first = next((one.asked for one in envelope.recipients if one.may_stand), None)
        if first is None or self.policy.recipient_class(session, first) == mine:
            return decision
        many = len(self.classes) > MAX_CLASSES
        reason = "rules on content treat this recipient otherwise than the first"
        reason += f"; more than {MAX_CLASSES} classes, so all share one" if many else ""
        step = TraceStep("differing", matched=not many, reason=reason)
        if many:
            return replace(decision, trace=(*decision.trace, step))
        return Decision(
            Action.TEMPFAIL,
            "differing",
            replies.OTHER_RECIPIENTS,
            reason=reason,
            trace=(*decision.trace, step),
            own_reply=True,
        )


# -- from decisions to a disposition -------------------------------------------------


def _facts(part: Part, look: Look) -> PartFacts:
    return PartFacts(
        part.content_type,
        part.names,
        look.types,
        look.facts,
        look.contents.entries,
        part.path,
        look.why,
    )


def _doubtful(
    message: Message, policy: Policy, looks: Mapping[str, Look]
) -> tuple[Decision, ...]:
    """Return what is said to doubts about what is no part by itself: containers."""
    outside = [one for one in message.defects if one.part not in looks]
    found = (
        policy.finding(doubt, why, defect.part)
        for defect in outside
        for doubt, why in doubts([defect])
    )
    kinds: dict[str, Decision] = {}
    for decision in found:
        if decision is not None:
            kinds.setdefault(decision.rule, decision)
    return tuple(kinds.values())


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
        case Action.STRIP | Action.LOCK if edits:
            return Outcome.MODIFIED, None
        case Action.ALLOW:
            return (Outcome.MODIFIED if edits else Outcome.RELAYED), None
        case _:
            # What this build cannot do must not end as if it had been allowed.
            return Outcome.DEFERRED, replies.UNDECIDED
