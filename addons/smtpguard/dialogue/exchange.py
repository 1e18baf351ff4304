"""One command to the upstream and its reply; what it can; how a connection is left.

The lowest of the files that talk to the upstream: knows nothing of what is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import effects
from smtpguard.dialogue.upstream import POSITIVE, Request, Upstream
from smtpguard.dialogue.waits import NEVER, Task, UpstreamLost
from smtpguard.model.session import Leg
from smtpguard.wire import Capabilities


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.model.reply import Reply


def usable(d: Dialogue) -> Upstream:
    """Return the upstream; raise UpstreamLost where there is none."""
    if d.upstream is None:
        raise UpstreamLost("not connected")
    if not d.upstream.usable:
        raise UpstreamLost(d.upstream.lost)
    return d.upstream


def capabilities(d: Dialogue) -> Capabilities:
    """Return what the upstream said to our last EHLO or HELO; nothing without one."""
    said = d.upstream.capabilities if d.upstream else None
    return said or Capabilities(d.own_name)


def reply_until(d: Dialogue) -> float:
    """Return when the upstream's reply to a command sent now is overdue."""
    return d.now + d.settings.deadlines.reply


def ask(
    d: Dialogue,
    octets: bytes,
    *,
    positive: frozenset[int] = POSITIVE,
    seconds: float | None = None,
    shown: bytes | None = None,
    shielded: bool = False,
) -> Task[Reply]:
    """Send one command upstream, wait for its reply, return it.

    Raises UpstreamLost instead of returning nonsense, ClientGone unless shielded.
    """
    upstream = usable(d)
    until = reply_until(d) if seconds is None else d.now + seconds
    request = Request(octets, until, positive, group_last=True, shown=shown)
    upstream.request(request, d.now)
    return (yield from reply_to(d, request, shielded=shielded))


def reply_to(d: Dialogue, request: Request, *, shielded: bool = False) -> Task[Reply]:
    """Wait for the reply to a request that was sent.

    The driver loses an upstream whose reply is overdue, so there is no deadline here.
    """
    yield from d.wait_until(lambda: request.done, NEVER, shielded=shielded)
    if request.reply is None:
        raise UpstreamLost(request.lost)
    return request.reply


def settled(d: Dialogue) -> Task[None]:
    """Wait until every request that was sent upstream is answered (or lost)."""
    upstream = d.upstream
    if (upstream is None or upstream.settled) and not d.client.reset:
        return
    yield from d.wait_until(lambda: d.upstream is None or d.upstream.settled, NEVER)


def leave(d: Dialogue, reason: str) -> None:
    """Close the upstream's connection cleanly, whatever state it is in."""
    upstream = d.upstream
    if upstream is None or upstream.left:
        return
    upstream.left = True
    upstream.lose(reason)
    if upstream.takes_quit:
        d.record("s", b"QUIT\r\n")
        d.send_upstream(b"QUIT\r\n")
    d.mark("s", "closed")
    d.emit(effects.Close(Leg.UPSTREAM))


RESETS_A_CONNECTION = 50
"""Each mail that the rules refuse costs a RSET; Postfix delays every command from the
hundred-and-first junk command on (``smtpd_junk_command_limit``) and gives up at 120."""


def reset(d: Dialogue) -> None:
    """Undo a transaction upstream, where one is open.

    Its reply is awaited by ``settled`` before the next MAIL goes up.
    """
    upstream = d.upstream
    if upstream is None or not upstream.usable or not upstream.mail_open:
        return
    if upstream.in_data:
        leave(d, "message abandoned")
        return
    upstream.resets += 1
    if upstream.resets > RESETS_A_CONNECTION:
        leave(d, "many transactions undone")
        return
    upstream.mail_open = False

    def answered(request: Request) -> None:
        if request.reply is not None and not request.reply.is_positive:
            leave(d, f"RSET answered {request.reply}")

    request = Request(b"RSET\r\n", reply_until(d), answered=answered)
    upstream.request(request, d.now)
