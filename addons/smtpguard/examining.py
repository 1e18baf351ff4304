"""What the rules say to a message, piece by piece, before anything follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from smtpguard.editing import is_structural, settled
from smtpguard.locking.container import is_container
from smtpguard.looking import doubts
from smtpguard.model.decision import (
    Action,
    Decision,
    SideActions,
    TraceStep,
    all_sides,
    most_severe,
)
from smtpguard.policy.facts import FieldFacts, PartFacts


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from smtpguard.looking import Look
    from smtpguard.mime import Field, Message, Part
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.verdict import Verdict
    from smtpguard.policy import Policy
    from smtpguard.policy.facts import MessageFacts


@dataclass(frozen=True, slots=True)
class Examined:
    """A message and what is said to it, in pieces."""

    policy: Policy
    facts: MessageFacts
    message: Message
    looks: Mapping[str, Look]
    parts: Mapping[str, Decision]
    """By path."""
    fields: Sequence[tuple[Field, Decision]]
    doubts: tuple[Decision, ...]
    """About containers, which are no parts by themselves."""
    whole: tuple[Decision, ...] = ()
    """By scanners, about the message as such."""
    verdicts: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """Of parts, by path; of the message under ``scanning.RAW`` and ``SPAM``."""

    def worst(self) -> Decision:
        """Return what counts for the whole message."""
        fields = (decision for _, decision in self.fields)
        parts = self.parts.values()
        return most_severe((*self.doubts, *self.whole, *parts, *fields))

    def about_all(self) -> list[Decision]:
        """Return what is said to the message as such."""
        fields = (decision for _, decision in self.fields)
        return [*self.doubts, *self.whole, *fields, _NOTHING]

    def side(self) -> SideActions:
        """Return what all that was said has done beside what counts.

        Whoever gets the message needs no copy of it. Copies and notices of ours may
        come through here again, and make no others.
        """
        said = (*self.about_all(), *self.parts.values())
        own = self.policy.handling.side
        side = all_sides((own, *(one.side for one in said)))
        envelope = self.facts.envelope
        if envelope is None or not side:
            return side
        paths = (one.forward_path for one in envelope.standing)
        there = {_key(path.mailbox) for path in paths if path.mailbox}
        bcc = tuple(one for one in side.bcc if _key(one) not in there)
        if there <= set(map(_key, side.bcc)):
            bcc = ()
        notify, is_ours = side.notify, envelope.reverse_path.mailbox is None
        if is_ours and there <= set(map(_key, notify)):
            notify = ()
        return replace(side, bcc=bcc, notify=notify)

    def goes_on(self) -> bool:
        """Whether the message goes to its recipients, with or without edits.

        A part that is kept is taken out of it; where something else would have the
        message itself kept or discarded, or it is in doubt, all of it is kept.
        """
        worst = self.worst().action.severity
        if worst >= Action.STRIP.severity:
            return True
        others = (*self.about_all(), *self.parts.values())
        kept = [
            path for path, one in self.parts.items() if one.action is Action.QUARANTINE
        ]
        endings = self.policy.handling.endings
        is_in_doubt = any(
            kind in endings and endings[kind].action is Action.QUARANTINE
            for path in kept
            for kind in self.looks[path].why
        )
        return (
            worst == Action.QUARANTINE.severity
            and not any(one.action is Action.DISCARD for one in others)
            and most_severe(self.about_all()).action.severity > worst
            and not is_in_doubt
            and len(kept) <= MAX_KEPT
        )

    def released(self) -> Examined:
        """Return what is said to a message that was kept once and released."""
        fields = [(field, _let_go(decision)) for field, decision in self.fields]
        parts = {path: _let_go(decision) for path, decision in self.parts.items()}
        doubts, whole = (
            tuple(map(_let_go, said)) for said in (self.doubts, self.whole)
        )
        return replace(self, fields=fields, parts=parts, doubts=doubts, whole=whole)

    def removed(self) -> list[Field]:
        """Return the header fields that are to go, if the message goes on."""
        return [one for one, said in self.fields if said.action is Action.STRIP]

    def tag(self) -> Decision | None:
        """Return the decision that has the message tagged, None without one."""
        return next((one for one in self.whole if one.action is Action.TAG), None)

    def steps(self, worst: Decision) -> list[TraceStep]:
        """Return the steps that are about no part; of a header field that passes only
        the one that decided. ``worst`` may be a refusal to edit."""
        told = [step for said in (*self.doubts, *self.whole) for step in said.trace]
        for _, decision in self.fields:
            passes = decision.action is Action.ALLOW
            told += decision.trace[-1:] if passes else decision.trace
        if worst.rule.startswith("on_"):
            told += worst.trace
        return told


MAX_KEPT = 50
"""Parts of a message that are kept by themselves; of more all of it is."""
_NOTHING = Decision(Action.ALLOW)


def _key(mailbox: Mailbox) -> tuple[str, str]:
    """Return what addresses are compared by: local parts without case, as in rules."""
    return mailbox.local_part.casefold(), mailbox.domain


def _let_go(said: Decision) -> Decision:
    if said.action is not Action.QUARANTINE:
        return said
    reason = f"{said.reason}; it was released from the quarantine"
    step = TraceStep("released", matched=True, reason=reason)
    trace = (*said.trace, step)
    # Whom it was to be told was told; what goes on now was not copied so far.
    side = replace(said.side, notify=())
    return replace(said, action=Action.ALLOW, reason=reason, trace=trace, side=side)


def examined(
    policy: Policy, message: Message, looks: Mapping[str, Look], facts: MessageFacts
) -> Examined:
    """Ask the rules of a policy about all that a message holds."""
    asked = [_facts(part, looks[part.path]) for part in message.candidates()]
    parts = {one.path: settled(one, policy.part(one, facts)) for one in asked}
    listed = message.fields if policy.headers else ()
    fields = [(one, _field(policy, one, facts)) for one in listed]
    doubtful = _doubtful(policy, message, looks)
    return Examined(policy, facts, message, looks, parts, fields, doubtful)


def _facts(part: Part, look: Look) -> PartFacts:
    return PartFacts(
        part.content_type,
        part.names,
        look.types,
        look.facts,
        look.contents.entries,
        part.path,
        look.why,
        look.is_only_encrypted,
        is_container(part.content_type, part.names, part.decoded()),
    )


def _field(policy: Policy, field: Field, facts: MessageFacts) -> Decision:
    """Judge a header field; one that says how the message is read stays."""
    raw = [field.raw_value, field.joined_value or b""]
    readings = (
        field.value,
        *(one.decode("utf-8", "replace") for one in raw if one),
    )
    values = tuple(dict.fromkeys(readings))
    said = policy.field(FieldFacts(field.name, values), facts)
    if said.action is Action.STRIP and is_structural(field):
        reason = f"{said.reason}; it says how the message is read, and stays"
        return replace(said, action=Action.ALLOW, reason=reason)
    return said


def _doubtful(
    policy: Policy, message: Message, looks: Mapping[str, Look]
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
