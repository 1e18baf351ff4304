"""What is saved of a dialogue that a fault of ours broke off (contract 2).

Its transaction must not vanish: it gets its record, its message's storage is given
back, and where the upstream may have the message that is said. Decides nothing and says
nothing to a peer; the dialogue is not asked any more afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from logging import WARNING
from typing import TYPE_CHECKING

from smtpguard.dialogue import effects
from smtpguard.dialogue.ending import drop_transaction
from smtpguard.model.disposition import Outcome
from smtpguard.model.session import Leg


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpguard.dialogue import Dialogue, TransactionRecord
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.model.reply import Reply


IN_DOUBT = "fault of ours after the final dot"
REASON = "internal error"
_TAKEN = frozenset({Outcome.RELAYED, Outcome.MODIFIED, Outcome.QUARANTINED})
"""Somebody has the message: who sends it again makes a duplicate."""

type Saved = effects.TransactionEnded | effects.Log


def break_off(
    dialogue: Dialogue, batch: Sequence[effects.Effect], done: int, last: Reply
) -> list[Saved]:
    """End a dialogue; return what is still to be recorded and logged.

    ``batch`` are the effects that were being carried out, ``done`` how many of them
    were; ``last`` is what the client is told instead of the rest. May be called twice.
    """
    tx = dialogue.transaction
    if tx is not None:
        if not tx.in_doubt and may_be_taken(tx):
            tx.in_doubt = IN_DOUBT
        drop_transaction(dialogue, REASON, last)
    unsaid = [*batch[done:], *dialogue.abandon()]
    for effect in unsaid:
        if isinstance(effect, effects.AskVerdict):
            # Nobody was asked, so no verdict will come that gives the storage back.
            dialogue.judging.pop(effect.transaction.id, None)
            effect.transaction.close(judging=False)
    saved: list[Saved] = []
    if any(isinstance(e, effects.Send) and e.leg is Leg.CLIENT for e in unsaid):
        # Its record is out, its 250 is not.
        told = _records(batch[:done])
        saved.extend(_doubt(each) for each in told if each.outcome in _TAKEN)
    for record in _records(unsaid):
        taken = record.outcome in _TAKEN
        doubt = record.in_doubt or (IN_DOUBT if taken else "")
        ended = replace(record, in_doubt=doubt, reply=str(last))
        saved.append(effects.TransactionEnded(ended))
        if doubt:
            saved.append(_doubt(ended))
    return saved


def may_be_taken(tx: Transaction) -> bool:
    """Whether somebody may have, or come to have, the whole message."""
    said = tx.disposition
    quarantined = said is not None and said.outcome is Outcome.QUARANTINED
    return tx.handed_over or quarantined


def _records(todo: Sequence[effects.Effect]) -> list[TransactionRecord]:
    return [each.record for each in todo if isinstance(each, effects.TransactionEnded)]


def _doubt(record: TransactionRecord) -> effects.Log:
    why = record.in_doubt or IN_DOUBT
    return effects.Log(WARNING, f"{record.id}: in doubt: {why}")
