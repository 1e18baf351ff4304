"""Dialling an upstream again that went away before DATA (contract 3).

Once a transaction, never after AUTH: whoever logged in did so on the lost connection.
The envelope is repeated, and must be answered as before; else the client would have
been told something that is true no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import bringup, encryption
from smtpguard.dialogue.exchange import ask, leave, usable
from smtpguard.dialogue.parameters import still_offered
from smtpguard.dialogue.paths import RCPT_POSITIVE, mail_line, rcpt_line
from smtpguard.dialogue.waits import Task, UpstreamLost
from smtpguard.wire import replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.model.reply import Reply


def restore(d: Dialogue, tx: Transaction) -> Task[Reply | None]:
    """Make sure that the upstream holds the envelope as it stands.

    Returns a 451 where it does not; raises UpstreamLost, Hangup.
    """
    if d.upstream is not None and d.upstream.usable:
        return None
    reason = d.upstream.lost if d.upstream else "not connected"
    if tx.redialled or d.session.authenticated:
        raise UpstreamLost(reason)
    tx.redialled = True
    d.log(f"{tx.id}: upstream dialled again: {reason}")
    yield from bringup.settle(d, final=True)
    encryption.note_clear(d)
    if not encryption.encrypted_enough(d):
        leave(d, "no TLS after dialling again")
        return replies.TLS_REQUIRED_UPSTREAM
    if not still_offered(d, tx.envelope.reverse_path):
        leave(d, "what the sender asked for is not offered any more")
        return replies.UPSTREAM_CHANGED
    if (yield from same_again(d, tx)):
        return None
    leave(d, "envelope answered otherwise")
    return replies.UPSTREAM_CHANGED


def same_again(d: Dialogue, tx: Transaction) -> Task[bool]:
    """Repeat the envelope; tell whether everything was answered as before."""
    usable(d).mail_open = True
    reply = yield from ask(d, mail_line(tx.envelope.reverse_path))
    if tx.mail_reply is None or reply.code != tx.mail_reply.code:
        return False
    for recipient in tx.sent.values():
        if recipient.reply is None or not recipient.stands:
            continue
        octets = rcpt_line(recipient.forward_path)
        again = yield from ask(d, octets, positive=RCPT_POSITIVE)
        if again.code != recipient.reply.code:
            return False
    return True
