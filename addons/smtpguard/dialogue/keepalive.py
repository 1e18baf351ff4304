"""Keeping an upstream that waits for DATA from giving up (contract 3).

Only between RCPT and DATA, never with a reply outstanding, and a few times at most:
servers count commands that lead nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue.exchange import reply_until
from smtpguard.dialogue.upstream import Request
from smtpguard.dialogue.waits import Expired, Task


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue.engine import Dialogue


NOOPS_A_TRANSACTION = 4
NOOPS_A_SESSION = 8
"""Exim drops a client at its eleventh (``smtp_accept_max_nonmail``)."""


def wait_keeping(d: Dialogue, ready: Callable[[], bool], until: float) -> Task[None]:
    """Wait until ``ready()`` or that time, saying NOOP upstream now and then.

    Raises ClientGone, Expired.
    """
    while True:
        try:
            yield from d.wait_until(ready, min(until, next_look(d)))
        except Expired:
            if d.now >= until:
                raise
        else:
            return
        keep_alive(d)


def next_look(d: Dialogue) -> float:
    """Return when it is worth looking again whether the upstream needs a NOOP."""
    interval = d.settings.deadlines.keepalive
    due = d.upstream.sent_at + interval if d.upstream else 0.0
    return due if due > d.now else d.now + interval


def keep_alive(d: Dialogue) -> None:
    """Say NOOP to an upstream that waits for DATA, where that is allowed."""
    upstream = d.upstream
    tx = d.transaction
    if upstream is None or tx is None or not upstream.usable or not upstream.settled:
        return
    if not upstream.mail_open or upstream.in_data or not tx.envelope.standing:
        return
    if tx.noops >= NOOPS_A_TRANSACTION or upstream.noops >= NOOPS_A_SESSION:
        return
    tx.noops += 1
    upstream.noops += 1
    request = Request(b"NOOP\r\n", reply_until(d), group_last=True)
    upstream.request(request, d.now)
