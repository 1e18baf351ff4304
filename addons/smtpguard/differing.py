"""Recipients whom rules on content treat differently (contract 5, ``differing``).

One message goes to all recipients of a transaction as it is. So those of another class
than the first get 452 and a transaction of their own, or all get the worst answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.model.decision import Action, Decision, TraceStep
from smtpguard.wire import replies


if TYPE_CHECKING:
    from smtpguard.model.session import SessionFacts
    from smtpguard.policy import Policy


MAX_CLASSES = 5
"""Classes of recipients of one transaction that are kept apart; beyond them all get
what the most severe answer says."""
_SUBMISSION_PORTS = frozenset({465, 587})


def keeps_apart(policy: Policy, session: SessionFacts) -> bool:
    """Whether recipients whom content rules treat differently get one mail each."""
    if not policy.recipient_tests:
        return False
    if policy.settings.differing:
        return policy.settings.differing == "separate"
    is_inside = policy.when is not None and not policy.when.is_open
    port = session.destination[1]
    return not (session.authenticated or is_inside or port in _SUBMISSION_PORTS)


def put_off(decision: Decision, classes: int) -> Decision:
    """Return what a recipient of another class than the first is told.

    ``decision`` would let it pass; ``classes`` is how many there have been so far.
    """
    many = classes > MAX_CLASSES
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
