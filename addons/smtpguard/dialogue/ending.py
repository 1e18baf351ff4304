"""How a transaction ends, and what the client is told of the upstream's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import effects
from smtpguard.dialogue.exchange import reset
from smtpguard.model.disposition import Outcome
from smtpguard.wire import replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.dialogue.upstream import Request
    from smtpguard.model.reply import Reply


def told(d: Dialogue, request: Request) -> Reply:
    """Return what the client is told of the upstream's answer."""
    if request.reply is None:
        if d.client.parting:
            return replies.SESSION_CLOSED
        d.log(f"upstream: {request.lost}")
        return replies.UPSTREAM_LOST
    return passed_on(d, request.reply)


def passed_on(d: Dialogue, reply: Reply) -> Reply:
    """Return a reply of the upstream's; of a hidden one it keeps the codes alone."""
    if d.settings.hide_server:
        return replies.generic(reply.code, reply.enhanced)
    return reply


def refused_as(reply: Reply) -> Outcome:
    """Return the outcome that a refusal means for the client."""
    return Outcome.REJECTED if reply.is_permanent else Outcome.DEFERRED


def end_transaction(
    d: Dialogue, outcome: Outcome, reply: Reply | None, reason: str = ""
) -> None:
    """Record how the transaction ended; the upstream's side of it is left as it is."""
    tx = d.transaction
    if tx is None:
        return
    tx.ended = True
    d.transaction = None
    record = tx.record(d.session, outcome, reply, d.now, reason)
    d.emit(effects.TransactionEnded(record))
    tx.close(judging=tx.id in d.judging)


def abort_transaction(d: Dialogue, reason: str) -> None:
    """End a transaction without a message (RSET, EHLO ...), on both legs."""
    drop_transaction(d, reason)
    reset(d)


def drop_transaction(d: Dialogue, reason: str, last: Reply | None = None) -> None:
    """End a transaction without a message, on our side only.

    It is on record where a message was begun or every recipient refused; a client that
    probes and leaves has lost nothing. ``last`` is what the client is told.
    """
    tx = d.transaction
    if tx is None:
        return
    refused = [r for r in tx.envelope.recipients if r.reply and not r.stands]
    if tx.dotted_at is not None:
        end_transaction(d, Outcome.DEFERRED, last, reason)
    elif tx.begun:
        end_transaction(d, Outcome.DEFERRED, last, f"no end of data: {reason}")
    elif refused and not tx.envelope.standing:
        told_last = refused[-1]
        assert told_last.reply is not None
        outcome = refused_as(told_last.reply)
        end_transaction(
            d, outcome, told_last.reply, told_last.decision.reason or reason
        )
    else:
        tx.ended = True
        d.transaction = None
