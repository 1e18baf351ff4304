"""The small verbs: NOOP, QUIT, HELP, VRFY, ETRN, XCLIENT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import bringup
from smtpguard.dialogue.asking import choose_policy
from smtpguard.dialogue.ending import abort_transaction, told
from smtpguard.dialogue.exchange import reply_until, settled, usable
from smtpguard.dialogue.hello import etrn_offered, forget
from smtpguard.dialogue.opening import greeting
from smtpguard.dialogue.upstream import Request
from smtpguard.dialogue.waits import Hangup, Task, UpstreamLost
from smtpguard.errors import ProtocolError
from smtpguard.wire import replies, xclient


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.wire import Command


ETRN_POSITIVE = frozenset({250, 251, 252, 253})


def noop(d: Dialogue, _command: Command) -> Task[None]:
    """Answer NOOP ourselves; its argument is ignored (RFC 5321 4.1.1.9)."""
    d.answer(replies.OK)
    yield from ()


def help_(d: Dialogue, _command: Command) -> Task[None]:
    """Answer HELP ourselves."""
    d.answer(replies.HELP)
    yield from ()


def vrfy(d: Dialogue, _command: Command) -> Task[None]:
    """Answer VRFY without telling anything (RFC 5321 7.3)."""
    d.answer(replies.VRFY_252)
    yield from ()


def quit_(d: Dialogue, _command: Command) -> Task[None]:
    """Answer QUIT and end the session."""
    yield from settled(d)
    raise Hangup(replies.BYE, "")


def etrn(d: Dialogue, command: Command) -> Task[None]:
    """Pass ETRN on where the policy allows it to a trusted client (RFC 1985)."""
    if not d.settings.etrn or not d.client.trusted:
        raise ProtocolError("ETRN is not offered", replies.NOT_IMPLEMENTED)
    yield from settled(d)
    if d.transaction is not None or not d.session.helo:
        raise ProtocolError("ETRN out of place", replies.BAD_SEQUENCE)
    if d.client.identity_awaited:
        d.answer(replies.IDENTITY_REQUIRED)
        return
    try:
        yield from bringup.settle(d, final=True)
    except UpstreamLost as lost:
        d.log(f"upstream: {lost.reason}")
        d.answer(replies.UPSTREAM_LOST)
        return
    if not etrn_offered(d):
        raise ProtocolError("ETRN is not offered", replies.NOT_IMPLEMENTED)
    slot = d.client.replies.open()
    request = Request(
        command.line + b"\r\n",
        reply_until(d),
        ETRN_POSITIVE,
        group_last=True,
        answered=lambda request: slot.answer(told(d, request)),
    )
    usable(d).request(request, d.now)


def xclient_(d: Dialogue, command: Command) -> Task[None]:
    """Take the real client's address from a trusted client, and begin anew."""
    if not d.client.identity_awaited:
        d.answer(replies.BAD_SEQUENCE if d.client.trusted else replies.XCLIENT_REFUSED)
        return
    yield from settled(d)
    told_us = xclient.parse(command.argument)
    address = told_us.get("ADDR")
    if address is None:
        d.answer(replies.IDENTITY_REQUIRED)
        return
    d.session.client = (address, int(told_us.get("PORT") or "0"))
    d.client.identity_awaited = False
    d.mark("C", f"xclient {address}")
    abort_transaction(d, "XCLIENT")
    choose_policy(d)
    forget(d)
    try:
        yield from bringup.connect(d)
    except UpstreamLost as lost:
        raise Hangup(replies.UPSTREAM_UNREACHABLE, lost.reason) from None
    d.answer(greeting(d))
