"""Asking the rules and other addons, so that no fault of theirs opens a way.

What raises, says nothing or says what does not fit is undecided: ``451 4.3.0``, or
``421 4.3.2`` where there is no policy to go on with (contract 2.2).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from smtpguard.dialogue import effects
from smtpguard.dialogue.ending import end_transaction
from smtpguard.dialogue.waits import Expired, Hangup, Task
from smtpguard.model.decision import CLOSING, Action, Decision, TraceStep
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.settings import Refusal
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.wire import Command


UNDECIDED = Decision(Action.TEMPFAIL, reply=replies.UNDECIDED, reason="undecided")


def decided(
    d: Dialogue, ask: Callable[[], Decision], *, may_rewrite: bool = True
) -> Decision:
    """Return what the rules say, or that they are undecided.

    What closes the session is for ``obey``.
    """
    decision = answered(d, ask)
    if decision is None:
        return UNDECIDED
    if decision.action in CLOSING or fits(decision, may_rewrite=may_rewrite):
        return decision
    # Not the rest of it: that holds addresses.
    said = f"{decision.action} by {decision.rule}"
    d.log(f"rules said what does not fit here: {said}", logging.ERROR)
    return UNDECIDED


def obey(d: Dialogue, decision: Decision) -> None:
    """Close the session without a word where the rules say so. Raises Hangup."""
    if decision.action not in CLOSING:
        return
    d.client.dropped = True
    if decision.action is Action.BLOCK:
        block(d, decision.rule)
    end_transaction(d, Outcome.DROPPED, None, decision.reason)
    raise Hangup(None, f"{decision.action} by {decision.rule}")


def block(d: Dialogue, rule: str) -> None:
    """Have the client refused from now on."""
    _log_block(d, lambda about: d.decider.block(d.session, rule, about))


def report_anomaly(d: Dialogue) -> None:
    """Have it counted that the client broke SMTP."""
    _log_block(d, lambda about: d.decider.anomaly(d.session, about))


def _log_block(d: Dialogue, ask: Callable[[str], str]) -> None:
    identifier = d.transaction.id if d.transaction else d.session.id
    said = answered(d, lambda: ask(identifier))
    if said:
        d.log(f"{identifier}: {said}", logging.WARNING)


def fits(decision: Decision, *, may_rewrite: bool) -> bool:
    """Whether an action that does not close the session is whole: as it must be."""
    reply = decision.reply
    match decision.action:
        case Action.ALLOW:
            return reply is None and decision.rewrite_to is None
        case Action.REWRITE:
            return may_rewrite and reply is None and decision.rewrite_to is not None
        case Action.DENY:
            return reply is not None and reply.is_permanent
        case Action.TEMPFAIL:
            return reply is not None and reply.is_transient and reply.code != 421
        case _:
            return False


def sound(said: object) -> Disposition | None:
    """Return a verdict whose every field is what it must be, None for anything else.

    Any addon may have set it; a fault in it must show before the message goes up, not
    when it is put on record.
    """
    if not isinstance(said, Disposition):
        return None
    found: Any = said  # what the types promise is what is not known here
    content, reply, action = found.content, found.reply, found.action
    whole = (
        isinstance(found.outcome, Outcome)
        and (reply is None or isinstance(reply, Reply))
        and (action is None or isinstance(action, Action))
        and isinstance(found.rule, str)
        and isinstance(found.reason, str)
        and isinstance(found.report, dict)
        and isinstance(found.trace, tuple)
        and all(isinstance(step, TraceStep) for step in found.trace)
        and (content is None or isinstance(getattr(content, "size", None), int))
        and (content is None or callable(getattr(content, "chunks", None)))
    )
    return said if whole else None


def answered[T](d: Dialogue, ask: Callable[[], T]) -> T | None:
    """Return what the rules answer, None where they raise."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - a fault of the rules is an answer: no
        d.log(f"rules failed: {type(error).__name__}: {error}", logging.ERROR)
        return None


def choose_policy(d: Dialogue) -> None:
    """Have the rules choose the policy for this client. Raises Hangup."""
    chosen = answered(d, lambda: d.decider.connect(d.session))
    if chosen is None:
        raise Hangup(replies.UPSTREAM_UNREACHABLE, "no policy")
    if isinstance(chosen, Refusal):
        raise Hangup(chosen.reply, chosen.reason)
    d.settings = chosen
    d.session.policy = chosen.policy


def ask_others(d: Dialogue, command: Command) -> Task[Reply | None]:
    """Ask other addons about a command; no answer in time is 451.

    None lets the command go on.
    """
    d.commands_asked += 1
    d.command_judged.clear()
    d.emit(effects.AskCommand(command))
    try:
        yield from d.wait(lambda: d.command_judged.is_set, d.settings.deadlines.verdict)
    except Expired:
        return replies.UNDECIDED
    judged = d.command_judged.value
    return replies.UNDECIDED if judged is None else judged.reply
