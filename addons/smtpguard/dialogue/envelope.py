"""MAIL, RCPT and RSET (RFC 5321 4.1.1.2, 4.1.1.3, 4.1.1.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import bringup, encryption
from smtpguard.dialogue.asking import UNDECIDED, answered, decided, obey
from smtpguard.dialogue.ending import (
    abort_transaction,
    end_transaction,
    refused_as,
    told,
)
from smtpguard.dialogue.exchange import reply_until, settled, usable
from smtpguard.dialogue.parameters import (
    requiretls_refusal,
    size_refusal,
    usable_extensions,
)
from smtpguard.dialogue.paths import (
    RCPT_POSITIVE,
    mail_line,
    rcpt_line,
    rewritten_recipient,
    rewritten_sender,
)
from smtpguard.dialogue.redial import restore
from smtpguard.dialogue.transaction import Transaction
from smtpguard.dialogue.upstream import Request
from smtpguard.dialogue.waits import Expired, Task, TlsFailed, UpstreamLost
from smtpguard.errors import ProtocolError
from smtpguard.model.envelope import Envelope, Recipient
from smtpguard.wire import (
    check_mail_parameters,
    check_rcpt_parameters,
    parse_mail,
    parse_rcpt,
    replies,
)


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.model.decider import Judge
    from smtpguard.model.decision import Decision
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply
    from smtpguard.wire import Command, Slot


REJECTED_DELAY = 2.0
"""Seconds before each RCPT is answered once a client has had too many rejected."""
MAX_RECIPIENTS = 10_000
"""RCPT commands of one transaction where the policy leaves it to the upstream: what it
may make us remember."""


def mail(d: Dialogue, command: Command) -> Task[None]:
    """Begin a transaction: check, judge, send MAIL up."""
    if d.transaction is not None:
        raise ProtocolError("MAIL within a transaction", replies.BAD_SEQUENCE)
    d.client.mail_refused = True
    if not d.session.helo:
        raise ProtocolError("MAIL before EHLO", replies.BAD_SEQUENCE)
    if d.client.identity_awaited:
        d.answer(replies.IDENTITY_REQUIRED)
        return
    path = parse_mail(command.argument)
    refusal = yield from ready_for_mail(d)
    if refusal is not None:
        d.answer(refusal)
        return
    check_mail_parameters(path, usable_extensions(d))
    refusal = size_refusal(d, path) or requiretls_refusal(d, path)
    if refusal is not None:
        d.answer(refusal)
        return
    judge = answered(d, lambda: d.decider.begin(d.session))
    if judge is None:
        d.answer(replies.UNDECIDED)
        return
    decision = decided(d, lambda: judge.mail(d.session, path))
    begin(d, path, decision, judge)
    obey(d, decision)
    if decision.reply is not None:
        d.answer(decision.reply)
        end_transaction(d, refused_as(decision.reply), decision.reply, decision.reason)
        return
    send_mail(d)


def ready_for_mail(d: Dialogue) -> Task[Reply | None]:
    """Bring the upstream up to where MAIL may go; return a refusal where it cannot."""
    try:
        yield from settled(d)
        yield from bringup.settle(d, final=True)
    except TlsFailed as lost:
        d.log(f"upstream: {lost.reason}")
        return replies.TLS_REQUIRED_UPSTREAM
    except UpstreamLost as lost:
        d.log(f"upstream: {lost.reason}")
        return replies.UPSTREAM_LOST
    if not encryption.encrypted_enough(d):
        return replies.TLS_REQUIRED_UPSTREAM
    encryption.note_clear(d)
    return None


def begin(d: Dialogue, path: Path, decision: Decision, judge: Judge) -> None:
    """Make the transaction."""
    d.transactions += 1
    body = path.parameter("BODY")
    up = rewritten_sender(path, decision)
    identifier = f"{d.session.id}.{d.transactions}"
    d.transaction = Transaction(
        id=identifier,
        envelope=Envelope(path, up, id=identifier, decision=decision),
        judge=judge,
        settings=d.settings,
        decision=decision,
        began=d.now,
        smtputf8=path.parameter("SMTPUTF8") is not None,
        binary=body is not None and (body.value or "").upper() == "BINARYMIME",
    )


def send_mail(d: Dialogue) -> None:
    """Send MAIL up; the client gets the upstream's answer in its turn."""
    tx = d.transaction
    assert tx is not None
    slot = d.client.replies.open()

    def answered(request: Request) -> None:
        reply = told(d, request)
        tx.mail_reply = reply
        slot.answer(reply)
        if not reply.is_positive and d.transaction is tx:
            d.client.mail_refused = True
            upstream.mail_open = False
            end_transaction(d, refused_as(reply), reply, request.lost)

    upstream = usable(d)
    d.client.mail_refused = False
    upstream.mail_open = True
    octets = mail_line(tx.envelope.reverse_path)
    upstream.request(Request(octets, reply_until(d), answered=answered), d.now)


def rcpt(d: Dialogue, command: Command) -> Task[None]:
    """Add a recipient: check, judge, send RCPT up."""
    tx = d.transaction
    if tx is None or tx.chunks is not None:
        out_of_place(d, "RCPT")
        return
    path = parse_rcpt(command.argument, smtputf8=tx.smtputf8)
    limit = d.settings.limits.recipients
    if len(tx.envelope.recipients) >= (MAX_RECIPIENTS if limit is None else limit):
        d.answer(replies.TOO_MANY_RECIPIENTS)
        return
    if d.client.rejected >= d.settings.limits.rejected_recipients:
        yield from pause(d, REJECTED_DELAY)
        d.answer(replies.TOO_MANY_REJECTED)
        return
    extensions = usable_extensions(d)
    check_rcpt_parameters(path, extensions)
    decision = yield from judged(d, tx, path)
    if d.transaction is not tx:
        # The upstream refused MAIL meanwhile.
        out_of_place(d, "RCPT")
        return
    up = rewritten_recipient(path, decision, dsn="DSN" in extensions)
    recipient = Recipient(path, up, decision)
    tx.envelope.recipients.append(recipient)
    obey(d, decision)
    refusal = decision.reply
    if refusal is None and d.upstream is not None and d.upstream.lost:
        refusal = yield from restored(d, tx)
    elif refusal not in {None, replies.OTHER_RECIPIENTS} and decision is not UNDECIDED:
        d.client.rejected += 1
    if refusal is not None:
        recipient.reply = refusal
        d.answer(refusal)
        return
    send_rcpt(d, tx, recipient)


def judged(d: Dialogue, tx: Transaction, path: Path) -> Task[Decision]:
    """Have a recipient judged; the transaction may have ended meanwhile.

    It is put off for the sake of recipients that stand. Where the upstream has answered
    for none yet, that is awaited: it may refuse them all, each time the client tries.
    """
    decision = decided(d, lambda: tx.judge.rcpt(d.session, tx.envelope, path))
    if decision.reply != replies.OTHER_RECIPIENTS or tx.envelope.standing:
        return decision
    yield from settled(d)
    if d.transaction is not tx:
        return UNDECIDED
    return decided(d, lambda: tx.judge.rcpt(d.session, tx.envelope, path))


def restored(d: Dialogue, tx: Transaction) -> Task[Reply | None]:
    """Have the upstream hold the envelope again; return what to say if it does not."""
    try:
        return (yield from restore(d, tx))
    except UpstreamLost as lost:
        d.log(f"upstream: {lost.reason}")
        return replies.UPSTREAM_LOST


def out_of_place(d: Dialogue, verb: str) -> None:
    """Answer 503; after a refused MAIL it is no error of a client that pipelines."""
    if not d.client.mail_refused:
        raise ProtocolError(f"{verb} out of place", replies.BAD_SEQUENCE)
    d.answer(replies.BAD_SEQUENCE)


def send_rcpt(d: Dialogue, tx: Transaction, recipient: Recipient) -> None:
    """Send RCPT up, or share the answer of the same recipient asked for before."""
    upstream = usable(d)
    slot = d.client.replies.open()
    mailbox = recipient.forward_path.mailbox
    assert mailbox is not None
    key = (mailbox.local_part, mailbox.domain)
    first = tx.sent.get(key)
    if first is not None and not (first.reply and first.reply.is_transient):
        share(first, recipient, slot)
        return
    tx.sent[key] = recipient

    def answered(request: Request) -> None:
        reply = told(d, request)
        mail_stands = tx.mail_reply is not None and tx.mail_reply.is_positive
        if reply.is_permanent and mail_stands:
            d.client.rejected += 1
        recipient.reply = reply
        slot.answer(reply)
        for also, its_slot in recipient.sharers:
            also.reply = reply
            its_slot.answer(reply)

    octets = rcpt_line(recipient.forward_path)
    request = Request(octets, reply_until(d), RCPT_POSITIVE, answered=answered)
    upstream.request(request, d.now)


def share(first: Recipient, recipient: Recipient, slot: Slot) -> None:
    """Give a recipient the reply of an equal one, now or when it comes."""
    if first.reply is not None:
        recipient.reply = first.reply
        slot.answer(first.reply)
    else:
        first.sharers.append((recipient, slot))


def rset(d: Dialogue, _command: Command) -> Task[None]:
    """Forget the transaction on both legs."""
    yield from settled(d)
    d.client.mail_refused = False
    abort_transaction(d, "RSET")
    d.answer(replies.OK)


def pause(d: Dialogue, seconds: float) -> Task[None]:
    """Wait on purpose."""
    try:
        yield from d.wait(lambda: False, seconds)
    except Expired:
        return
