"""From verdicts to decisions: the ``antivirus`` and ``spam`` tables asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.model.decision import Action, Decision, TraceStep
from smtpguard.model.reply import Reply
from smtpguard.model.verdict import UNDECIDED, VerdictKind
from smtpguard.policy.actions import EDITING
from smtpguard.policy.antivirus import word
from smtpguard.policy.replies import MESSAGE_DENIED, TRY_LATER
from smtpguard.policy.spam import CLEAN


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpguard.model.verdict import Verdict
    from smtpguard.policy.antivirus import Antivirus
    from smtpguard.policy.endings import Ending
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.spam import Spam


SPAM_DENIED = Reply.make(571, "5.7.1", "Delivery not authorized, message refused")
_WHOLE = {
    VerdictKind.INFECTED: Action.DENY,
    VerdictKind.ENCRYPTED: Action.ALLOW,
    VerdictKind.OVERSIZE: Action.ALLOW,
    VerdictKind.FAILED: Action.TEMPFAIL,
    VerdictKind.UNAVAILABLE: Action.TEMPFAIL,
}
"""What stands for strip and lock where the message as it came was scanned: each part
of it was as well."""


def on_virus(
    table: Antivirus, verdicts: Sequence[Verdict], part: str, *, is_body: bool
) -> Decision:
    """Return what becomes of a part (path ``part``, "" for a whole message).

    ``verdicts`` are of one or more scanners. ``is_body``: it is what readers show as
    the text, which is not replaced only since it could not be scanned: tempfail.
    """
    verdict = _counting(table, verdicts)
    ending = table.ending(verdict.kind)
    reason = told(verdict)
    action = ending.action
    if is_body and verdict.kind in UNDECIDED and action in EDITING:
        reason += f"; the text of a mail is not replaced for that ({action})"
        action = Action.TEMPFAIL
    if not part and action in (Action.STRIP, Action.LOCK):
        action = _WHOLE.get(verdict.kind, Action.TEMPFAIL)
        reason += f"; of a whole message that is {action}, not {ending.action}"
    rule = f"antivirus.{word(verdict.kind)}"
    return _decision(
        rule, action, ending, reason, table.mark, part=part, verdict=verdict
    )


def on_spam(table: Spam, verdicts: Sequence[Verdict]) -> Decision:
    """Return what becomes of a message that engines were asked about."""
    verdict = verdicts[-1]
    if verdict.kind is not VerdictKind.SCORED or verdict.score is None:
        worst = min(verdicts, key=lambda one: table.ending(one.kind).action.severity)
        ending = table.ending(worst.kind)
        rule = f"spam.{word(worst.kind)}"
        return _decision(rule, ending.action, ending, told(worst), table.mark)
    category = table.category(verdict.score)
    reason = f"{verdict.scanner}: score {verdict.score:g}"
    if category is None:
        step = TraceStep(f"spam.{CLEAN}", matched=False, reason=reason)
        return Decision(Action.ALLOW, step.rule, reason=reason, trace=(step,))
    reason += f", {category.name} from {category.at:g}"
    ending, rule = category.ending, f"spam.{category.name}"
    return _decision(
        rule, ending.action, ending, reason, table.mark, denied=SPAM_DENIED
    )


def told(verdict: Verdict) -> str:
    """Return a verdict in words, for traces and logs."""
    words = f"{verdict.scanner}: {verdict.kind}"
    more = verdict.name or verdict.reason
    return f"{words} ({more})" if more else words


def _counting(table: Antivirus, verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict that counts: the one that says something of the content, or of
    those that say nothing the one with the most severe action."""
    if verdicts[-1].kind not in UNDECIDED:
        return verdicts[-1]
    return min(verdicts, key=lambda one: table.ending(one.kind).action.severity)


def _decision(
    rule: str,
    action: Action,
    ending: Ending,
    reason: str,
    mark: Mark | None,
    *,
    part: str = "",
    verdict: Verdict | None = None,
    denied: Reply | None = None,
) -> Decision:
    step = TraceStep(
        rule, matched=True, reason=reason, place=str(mark or ""), part=part
    )
    reply, own = None, False
    if ending.reply is not None and action is ending.action:
        reply, own = ending.reply, True
    elif action is Action.DENY:
        reply, own = denied or MESSAGE_DENIED, denied is not None
    elif action is Action.TEMPFAIL:
        reply = TRY_LATER
    return Decision(
        action,
        rule,
        reply,
        reason=reason,
        trace=(step,),
        own_reply=own,
        message=ending.message,
        virus=(verdict.name or str(verdict.kind)) if verdict else "",
        side=ending.side,
    )
