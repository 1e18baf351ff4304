"""Taking the client's next line, within its deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue.exchange import settled
from smtpguard.dialogue.fairness import take_turn
from smtpguard.dialogue.keepalive import wait_keeping
from smtpguard.dialogue.waits import NEVER, Hangup, Task
from smtpguard.errors import ProtocolError
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue.engine import Dialogue


def next_line(d: Dialogue, limit: int) -> Task[bytes | None]:
    """Return the client's next line without CRLF, None once it sends nothing more.

    The deadline is set when the client has all its replies: single octets do not move
    it. Raises ProtocolError, always with ``closes``; ClientGone, Expired, and Hangup
    where the process is stopping.
    """
    yield from take_turn(d)
    until = d.now + d.settings.deadlines.command
    while True:
        line = taken(d, limit)
        if line is not None:
            return line
        if d.client.finished:
            return None
        if d.stopping:
            yield from settled(d)
            raise Hangup(replies.SHUTTING_DOWN, "stopping")
        waits_for_us = not d.client.replies.settled
        happened = something(d, waits_for_us=waits_for_us)
        yield from wait_keeping(d, happened, NEVER if waits_for_us else until)
        if waits_for_us:
            until = d.now + d.settings.deadlines.command


def something(d: Dialogue, *, waits_for_us: bool) -> Callable[[], bool]:
    """Return a test: the client did something, has its last reply, or we stop."""
    client, changes = d.client, d.client.changes

    def happened() -> bool:
        answered = waits_for_us and not client.replies.unanswered
        return client.changes != changes or answered or d.stopping

    return happened


def taken(d: Dialogue, limit: int) -> bytes | None:
    """Take a line that is there, None if none is; an overlong one ends the session."""
    try:
        return d.client.receiver.next_line(limit)
    except ProtocolError as error:
        raise ProtocolError(str(error), error.reply, closes=True) from None
