"""The engine: ordered rules, first match wins, every try is told.

Pure and total: the same question always gets the same answer, and where no rule
decides (it cannot happen in a checked list) the answer is tempfail.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smtpguard.model.decision import NO_SIDE, Action, Decision, TraceStep
from smtpguard.policy.actions import REPLYING
from smtpguard.policy.replies import UNDECIDED
from smtpguard.policy.truth import Truth, all_of


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpguard.model.reply import Reply
    from smtpguard.policy.facts import Facts
    from smtpguard.policy.rules import Rule


@dataclass(frozen=True, slots=True)
class Ruling[S]:
    """What a list of rules says."""

    action: Action
    rule: Rule[S] | None
    """The rule that decided; None where none did."""
    known: bool
    """False where ``on_unknown`` decided."""
    trace: tuple[TraceStep, ...]

    def decision(self, default: Reply | None) -> Decision:
        """Return the decision; ``default`` answers deny or tempfail without reply."""
        rule = self.rule
        if rule is None:
            text = "no rule decided"
            return Decision(self.action, "", UNDECIDED, None, text, self.trace)
        reason = self.trace[-1].reason
        said = Decision(
            self.action,
            rule.id,
            reason=reason,
            trace=self.trace,
            message=rule.message,
            name=rule.name,
            # Where it is not known whether the rule applies, nothing is done for it.
            side=rule.side if self.known else NO_SIDE,
        )
        if self.action not in REPLYING:
            return said
        if rule.reply is not None and rule.action is self.action:
            return replace(said, reply=rule.reply, own_reply=True)
        if not self.known and self.action is Action.TEMPFAIL:
            return replace(said, reply=UNDECIDED)
        return replace(said, reply=default)


def evaluate[S](
    rules: Sequence[Rule[S]],
    subject: S,
    shown: str,
    facts: Facts,
    domains: tuple[str, ...],
    *,
    part: str = "",
) -> Ruling[S]:
    """Ask rules in order about a subject, which traces call ``shown``; ``part`` is the
    path of the part that it is, if it is one."""
    trace: list[TraceStep] = []
    for rule in rules:
        applies, reason = apply(rule, subject, shown, facts, domains)
        trace.append(rule.step(applies, reason, part))
        if applies is Truth.YES:
            return Ruling(rule.action, rule, known=True, trace=tuple(trace))
        if applies is Truth.UNKNOWN and rule.on_unknown is not None:
            return Ruling(rule.on_unknown, rule, known=False, trace=tuple(trace))
    return Ruling(Action.TEMPFAIL, None, known=False, trace=tuple(trace))


def apply[S](
    rule: Rule[S], subject: S, shown: str, facts: Facts, domains: tuple[str, ...]
) -> tuple[Truth, str]:
    """Say whether one rule applies, and why."""
    matched = rule.match.test(subject)
    if matched is Truth.NO:
        return matched, f"match: {shown} is not {rule.match.text}"
    unknown = "" if matched is Truth.YES else f"match: {rule.match.text} is not known"
    for condition in rule.when:
        holds = condition.test(facts, domains)
        if holds is Truth.NO:
            return holds, f"when.{condition.name} does not hold"
        if holds is Truth.UNKNOWN:
            unknown = unknown or f"when.{condition.name} is not known"
    if rule.unless:
        stays = all_of(one.test(facts, domains) for one in rule.unless).negate()
        names = ", ".join(one.name for one in rule.unless)
        if stays is Truth.NO:
            return stays, f"unless.{names} holds"
        if stays is Truth.UNKNOWN:
            unknown = unknown or f"unless.{names} is not known"
    if unknown:
        return Truth.UNKNOWN, unknown
    return Truth.YES, f"{rule.match.told(subject, shown)} is {rule.match.text}"
