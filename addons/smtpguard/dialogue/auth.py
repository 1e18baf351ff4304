"""AUTH passed through (RFC 4954): the credentials are the upstream's business.

What the client sends within the exchange never reaches the transcript unless it is to
be recorded, and never a log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import bringup
from smtpguard.dialogue.ending import passed_on
from smtpguard.dialogue.exchange import ask, capabilities, usable
from smtpguard.dialogue.hello import what
from smtpguard.dialogue.lines import next_line
from smtpguard.dialogue.waits import Hangup, Task, UpstreamLost
from smtpguard.errors import ProtocolError
from smtpguard.wire import offered_mechanisms, replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.model.reply import Reply
    from smtpguard.wire import Command


MASK = b"*\r\n"
AUTH_POSITIVE = frozenset({235, 334})


def auth(d: Dialogue, command: Command) -> Task[None]:
    """Pass an AUTH exchange through, line by line."""
    if d.transaction is not None or not d.session.helo or d.session.authenticated:
        raise ProtocolError("AUTH out of place", replies.BAD_SEQUENCE)
    refusal = yield from auth_refusal(d, command)
    if refusal is not None:
        d.answer(refusal)
        return
    try:
        reply = yield from exchange_lines(d, command)
    except UpstreamLost as lost:
        d.log(f"upstream: {lost.reason}")
        d.answer(replies.AUTH_UNAVAILABLE)
        return
    d.answer(passed_on(d, reply))
    d.session.authenticated = reply.code == 235


def auth_refusal(d: Dialogue, command: Command) -> Task[Reply | None]:
    """Return why AUTH cannot go up: a leg in clear, or a mechanism that cannot work."""
    if not d.client.secure:
        return replies.AUTH_NEEDS_TLS
    if d.client.identity_awaited:
        return replies.IDENTITY_REQUIRED
    try:
        yield from bringup.settle(d, final=True)
    except UpstreamLost as lost:
        d.log(f"upstream: {lost.reason}")
        return replies.TLS_NOT_AVAILABLE
    if not usable(d).secure:
        return replies.TLS_NOT_AVAILABLE
    offered = offered_mechanisms(capabilities(d), what(d))
    return None if mechanism(command) in offered else replies.MECHANISM_UNAVAILABLE


def mechanism(command: Command) -> str:
    """Return the mechanism that AUTH names, in upper case."""
    return command.argument.split(b" ", 1)[0].decode("ascii", "replace").upper()


def exchange_lines(d: Dialogue, command: Command) -> Task[Reply]:
    """Pass lines and challenges through; return the reply that ends the exchange."""
    upstream = usable(d)
    first = b" *" if b" " in command.argument else b""
    shown = f"AUTH {mechanism(command)}".encode("ascii", "replace") + first + b"\r\n"
    octets = command.line + b"\r\n"
    upstream.in_auth = True
    while True:
        reply = yield from ask(
            d,
            octets,
            positive=AUTH_POSITIVE,
            shown=octets if d.record_auth else shown,
        )
        if reply.code != 334:
            upstream.in_auth = False
            return reply
        d.answer(reply)
        d.flush()
        octets = yield from response(d)
        shown = MASK


def response(d: Dialogue) -> Task[bytes]:
    """Return the client's next line of the exchange, with CRLF."""
    line = yield from next_line(d, d.settings.limits.auth_line)
    if line is None:
        raise Hangup(None, "client closed within AUTH")
    d.record("C", line + b"\r\n" if d.record_auth else MASK)
    return line + b"\r\n"
