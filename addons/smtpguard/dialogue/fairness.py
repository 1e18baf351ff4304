"""What one client may take of a process that serves many.

A client that pipelines without end, or never reads what it is told, must cost others
neither time nor memory: after so many lines or octets its turn is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue.exchange import settled
from smtpguard.dialogue.keepalive import wait_keeping
from smtpguard.dialogue.waits import Anomaly, Expired, Hangup, Task
from smtpguard.model.session import Leg
from smtpguard.wire import parse_bdat, replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.wire import Command


TURN_LINES = 25
"""Lines of a client that are taken in a row, about a millisecond's work: more than most
sessions have, and few enough that twenty floods leave others most of the time."""
TURN_OCTETS = 64 * 1024
"""Octets of replies after which a client must have read what it was told."""
QUEUED = 100
"""Commands that may wait for the upstream's answer to one of them."""

IDLE_SECONDS = 300.0
"""In so many seconds ``Limits.commands`` that bring no mail on are forgotten, one by
one: a kept connection may say NOOP every three seconds for ever, whatever the network
does to their distances."""
NAMED = 20_000
"""Commands of mails without a message (RCPT, and what is pipelined behind it), from
which on they count as any other: more than any mail has recipients, but an end for a
client that goes on after every refusal. So many are forgotten in ``IDLE_SECONDS``."""
OPENINGS = 8
"""Commands that open a session and do not count: EHLO, STARTTLS, EHLO, AUTH, and as
many for XCLIENT, or a HELO or mechanism that was refused."""
OPENING = frozenset({"AUTH", "EHLO", "HELO", "STARTTLS", "XCLIENT"})
OF_A_MAIL = frozenset({"BDAT", "DATA", "RSET"})
"""Verbs that are part of a mail behind its MAIL, be it refused."""
SMALL_CHUNK = 64
"""Octets: a chunk below is hardly more than its command, and counts."""


def count_command(d: Dialogue, command: Command) -> None:
    """Count a command that brings no mail on; whoever goes on and on is closed.

    Raises Hangup beyond the limit, ProtocolError for a chunk without a readable size.
    """
    client = d.client
    if brings_mail(d, command) or command.verb == "QUIT":
        return
    limit = d.settings.limits.commands
    forgotten = (d.now - client.idle_since) / IDLE_SECONDS
    client.idle_since = d.now
    client.named = max(0.0, client.named - forgotten * NAMED)
    client.idle = max(0.0, client.idle - forgotten * limit) + 1
    if client.idle > limit:
        what = "too many commands without a message"
        raise Anomaly(replies.TOO_MANY_COMMANDS, what)


def brings_mail(d: Dialogue, command: Command) -> bool:
    """Whether a command is part of a mail, or opens the session that is to bring one.

    A client that pipelines has sent the rest of a mail before it hears that MAIL or
    every RCPT was refused.
    """
    client, verb = d.client, command.verb
    if verb == "BDAT" and d.transaction is not None:
        size, last = parse_bdat(command.argument)
        if not last:
            return size >= SMALL_CHUNK
    behind_mail = client.mail_refused or d.transaction is not None
    if verb == "RCPT" or (behind_mail and verb in OF_A_MAIL):
        client.named += 1
        return client.named <= NAMED
    if verb in OPENING:
        client.opened += 1
        return client.opened <= OPENINGS
    return False


def take_turn(d: Dialogue) -> Task[None]:
    """Count a line that is about to be taken; at the end of its turn the client waits.

    It waits until its replies have left our buffers, as far as there are any, and at
    least until whoever else waits for the process has had a turn. Raises ClientGone,
    and Hangup where it does not read.
    """
    client = d.client
    if client.taken < TURN_LINES and client.owed < TURN_OCTETS:
        client.taken += 1
        return
    if len(client.replies) >= QUEUED:
        yield from settled(d)
    d.flush()
    d.pace(Leg.CLIENT)
    until = d.now + d.settings.deadlines.command
    try:
        yield from wait_keeping(d, lambda: Leg.CLIENT in d.drained, until)
    except Expired:
        raise Hangup(replies.TIMEOUT, "client does not read its replies") from None
    client.taken, client.owed = 1, 0
