"""From the client's final dot to its answer: verdict, delivery, the end (contract 2).

This is where a message is accepted or is not. The order is always the same: the
upstream (or the quarantine, or the log of a discard) has the message, then the client
hears 2xx.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.dialogue import effects
from smtpguard.dialogue.asking import block
from smtpguard.dialogue.ending import end_transaction, passed_on, refused_as
from smtpguard.dialogue.exchange import leave, reply_to, reset, settled
from smtpguard.dialogue.keepalive import wait_keeping
from smtpguard.dialogue.redial import restore
from smtpguard.dialogue.sending import Unsound, record_message, send_message
from smtpguard.dialogue.waits import NEVER, Expired, Hangup, Task, UpstreamLost
from smtpguard.errors import os_text
from smtpguard.model.decision import Action
from smtpguard.model.disposition import Outcome
from smtpguard.model.reply import Reply
from smtpguard.wire import TextReader, replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.dialogue.upstream import Request
    from smtpguard.model.content import Content
    from smtpguard.model.disposition import Disposition


_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a message ended."""

    outcome: Outcome
    reply: Reply | None
    """None closes both legs without a word."""
    reason: str = ""


def conclude(d: Dialogue, tx: Transaction, refusal: Reply | None) -> Task[None]:
    """Bring a message that has come in whole to its end, and answer the client.

    ``refusal`` is why its octets alone are refused, None if they are not.
    """
    tx.dotted_at = d.now
    d.client.progress()
    record_message(d, "C", tx.content, tx.size)
    refusal = refusal or loop_refusal(d, tx)
    if refusal is not None:
        ending = Ending(refused_as(refusal), refusal, "octets refused")
    else:
        yield from judge(d, tx)
        ending = yield from carry_out(d, tx)
    finish(d, tx, ending)


def finish(d: Dialogue, tx: Transaction, ending: Ending) -> None:
    """Log, answer, leave the upstream without a transaction: in this order."""
    assert d.transaction is tx
    reset(d)
    said = tx.disposition
    if ending.outcome is Outcome.DROPPED and said and said.action is Action.BLOCK:
        block(d, said.rule)
    end_transaction(d, ending.outcome, ending.reply, ending.reason)
    if ending.reply is None:
        raise Hangup(None, ending.reason or "message dropped")
    d.answer(ending.reply)


def loop_refusal(d: Dialogue, tx: Transaction) -> Reply | None:
    """Refuse a message that has been received too often (RFC 5321 6.3)."""
    assert tx.content is not None
    limits = d.settings.limits
    try:
        head = next(iter(tx.content.chunks()), b"")[: limits.header_section]
    except OSError as error:
        d.log(f"{tx.id}: the message cannot be read: {os_text(error)}", logging.ERROR)
        return replies.STORAGE_FAILED
    section = b"" if head.startswith(b"\r\n") else head.partition(b"\r\n\r\n")[0]
    many = len(_RECEIVED.findall(section)) > limits.received_fields
    return replies.LOOP if many else None


# -- the verdict ---------------------------------------------------------------------


def judge(d: Dialogue, tx: Transaction) -> Task[None]:
    """Have the message judged; whatever goes wrong leaves ``tx.disposition`` None."""
    d.judging[tx.id] = tx
    d.emit(effects.AskVerdict(tx))
    try:
        yield from wait_keeping(
            d, lambda: tx.verdict_came, d.now + d.settings.deadlines.verdict
        )
    except Expired:
        d.log(f"{tx.id}: no verdict in time", logging.ERROR)


def carry_out(d: Dialogue, tx: Transaction) -> Task[Ending]:
    """Do what the verdict asks for. Undecided is 451."""
    said = tx.disposition
    if said is None or not fits(said):
        what = "no verdict" if said is None else f"{said.outcome} does not fit"
        d.log(f"{tx.id}: undecided: {what}", logging.ERROR)
        return Ending(Outcome.DEFERRED, replies.UNDECIDED, "undecided")
    if said.outcome not in {Outcome.RELAYED, Outcome.MODIFIED}:
        return Ending(said.outcome, said.reply, said.reason)
    content = said.content or tx.content
    assert content is not None
    return (yield from deliver(d, tx, content, said.outcome))


def fits(said: Disposition) -> bool:
    """Whether reply and content are those that the outcome needs."""
    reply = said.reply
    edited = said.content is not None
    match said.outcome:
        case Outcome.RELAYED:
            # With content where a trace field was added: no rule has changed it.
            return reply is None
        case Outcome.MODIFIED:
            return reply is None and edited
        case Outcome.DISCARDED | Outcome.QUARANTINED:
            return reply is not None and reply.code == 250
        case Outcome.REJECTED:
            return reply is not None and reply.is_permanent
        case Outcome.DEFERRED:
            return reply is not None and reply.is_transient and reply.code != 421
        case _:
            return reply is None


def check_edited(content: Content) -> None:
    """Raise Unsound unless CRLF is the only line end of an edited message.

    What an edit inserts came out of a file or out of the message; nobody may be able to
    end the data by it (SMTP smuggling).
    """
    reader = TextReader(limit=content.size)
    for chunk in content.chunks():
        reader.write_chunk(chunk, lambda _: None)
    reader.finish(lambda _: None)
    if reader.stray:
        raise Unsound("an edit left a bare CR, bare LF or NUL")


# -- delivery ------------------------------------------------------------------------


def deliver(
    d: Dialogue, tx: Transaction, content: Content, outcome: Outcome
) -> Task[Ending]:
    """Send a message up and return how it ended there.

    The client gives up ten minutes after its dot, so nothing of this lasts longer.
    """
    assert tx.dotted_at is not None
    d.cap = tx.dotted_at + d.settings.deadlines.final_reply
    try:
        if content is not tx.content and not tx.binary:
            check_edited(content)
        yield from settled(d)
        refused = yield from restore(d, tx)
        if refused is not None:
            return Ending(Outcome.DEFERRED, refused, "upstream dialled again")
        reply = yield from upstream_reply(d, tx, content)
    except UpstreamLost as lost:
        return upstream_lost(d, lost)
    except Expired:
        leave(d, "no reply in time")
        return Ending(Outcome.DEFERRED, replies.UPSTREAM_SILENT, "upstream too slow")
    except OSError as error:
        return Ending(
            Outcome.DEFERRED, replies.STORAGE_FAILED, f"storage: {os_text(error)}"
        )
    except Unsound as error:
        d.log(f"{tx.id}: {error}", logging.ERROR)
        return Ending(Outcome.DEFERRED, replies.UNDECIDED, str(error))
    finally:
        d.cap = NEVER
    said = passed_on(d, reply)
    if not reply.is_positive:
        return Ending(refused_as(reply), said, f"upstream says {reply}")
    if d.client.reset:
        doubt(d, tx, "client gone after the upstream's 250")
    return Ending(outcome, said if said.code == 250 else Reply(250, said.lines))


def upstream_reply(d: Dialogue, tx: Transaction, content: Content) -> Task[Reply]:
    """Return the upstream's answer to the message, or to DATA where it refuses that."""
    sent = yield from send_message(d, tx, content)
    return sent if isinstance(sent, Reply) else (yield from final_reply(d, tx, sent))


def final_reply(d: Dialogue, tx: Transaction, request: Request) -> Task[Reply]:
    """Wait for the reply to the final dot, whether or not the client still waits."""
    upstream = d.upstream
    assert upstream is not None
    tx.handed_over = True
    try:
        reply = yield from reply_to(d, request, shielded=True)
    except (Expired, UpstreamLost):
        tx.handed_over = not upstream.said_goodbye
        if tx.handed_over:
            doubt(d, tx, "upstream silent after the final dot")
        raise
    tx.handed_over = reply.is_positive
    upstream.in_data = False
    # A refusal ends the transaction too (RFC 5321 4.1.1.4), but not in Postfix
    # after smtpd_end_of_data_restrictions: then RSET must follow.
    upstream.mail_open = not reply.is_positive
    return reply


def upstream_lost(d: Dialogue, lost: UpstreamLost) -> Ending:
    """Return how a message ends whose upstream went away under it."""
    early = d.upstream.early_refusal if d.upstream else None
    if early is not None:
        told = passed_on(d, early)
        return Ending(refused_as(early), told, f"upstream says {early}")
    return Ending(Outcome.DEFERRED, replies.UPSTREAM_LOST, f"upstream: {lost.reason}")


def doubt(d: Dialogue, tx: Transaction, why: str) -> None:
    """Note a place where a duplicate cannot be excluded."""
    tx.in_doubt = why
    d.log(f"{tx.id}: in doubt: {why}", logging.WARNING)
