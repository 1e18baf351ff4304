"""A message on its way up: DATA with dot-stuffing, or one BDAT chunk (RFC 3030).

Up to its last octet the upstream has not got it; only what is sent with the request
that ``await_final`` makes can make it accept. Nothing is sent that is not the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue.exchange import ask, capabilities, usable
from smtpguard.dialogue.transcript import Entry
from smtpguard.dialogue.upstream import Request
from smtpguard.dialogue.waits import Expired, Task, UpstreamLost
from smtpguard.errors import os_text
from smtpguard.model.session import Leg
from smtpguard.wire import DotStuffer


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.dialogue.transcript import Direction
    from smtpguard.dialogue.upstream import Upstream
    from smtpguard.model.content import Content
    from smtpguard.model.reply import Reply


PACED_OCTETS = 64 * 1024
"""Less than this goes upstream without waiting until it has left our buffers."""
FINAL_POSITIVE = frozenset(range(200, 300))
"""Any 2yz to the final dot means that the upstream has the message: to call it
anything else would have the client send it again."""


class Unsound(Exception):  # noqa: N818 - never leaves the package
    """A message cannot be sent as it is; the upstream has not got it."""


def send_message(
    d: Dialogue, tx: Transaction, content: Content
) -> Task[Request | Reply]:
    """Send the message up; return the request for its final reply.

    Returns the upstream's reply instead where it refuses DATA. Raises Expired where it
    does not take the octets, UpstreamLost, OSError, Unsound.
    """
    upstream = usable(d)
    if tx.chunks is not None and "CHUNKING" in capabilities(d):
        return (yield from send_chunk(d, tx, content, upstream))
    if tx.binary:
        raise Unsound("BINARYMIME is no longer offered")
    upstream.in_data = True
    reply = yield from ask(
        d,
        b"DATA\r\n",
        positive=frozenset({354}),
        seconds=d.settings.deadlines.data_reply,
    )
    if reply.code != 354:
        upstream.in_data = False
        return reply
    return (yield from send_text(d, tx, content, upstream))


def send_text(
    d: Dialogue, tx: Transaction, content: Content, upstream: Upstream
) -> Task[Request]:
    """Send the message and its final dot after a 354."""
    stuffer = DotStuffer(dotted=tx.dotted or content is not tx.content)
    held = b""
    for chunk in content.chunks():
        if held:
            yield from send_paced(d, upstream, held)
        held = stuffer.feed(chunk)
    request = await_final(d, tx, upstream, held + stuffer.finish(), b".\r\n")
    record_sent(d, tx, content)
    if stuffer.added_crlf:
        d.log(f"{tx.id}: a final CRLF was added to a BDAT message relayed as DATA")
    return request


def send_chunk(
    d: Dialogue, tx: Transaction, content: Content, upstream: Upstream
) -> Task[Request]:
    """Send the message up as one BDAT chunk, whose size binds (RFC 3030 2)."""
    shown = held = b"BDAT %d LAST\r\n" % content.size
    left = content.size
    for chunk in content.chunks():
        left -= len(chunk)
        if left < 0:
            break
        if len(held) + len(chunk) <= PACED_OCTETS:
            held += chunk
            continue
        begin_chunk(d, upstream, shown)
        yield from send_paced(d, upstream, held)
        held = chunk
    if left:
        raise Unsound("content does not have the size it says")
    begin_chunk(d, upstream, shown)
    request = await_final(d, tx, upstream, held, b"")
    record_sent(d, tx, content)
    return request


def begin_chunk(d: Dialogue, upstream: Upstream, shown: bytes) -> None:
    """Note, once, that octets of a chunk are about to go up."""
    if not upstream.in_data:
        upstream.in_data = True
        d.record("s", shown)


def send_paced(d: Dialogue, upstream: Upstream, octets: bytes) -> Task[None]:
    """Send part of a message, wait until it has left our buffers.

    Raises Expired, UpstreamLost, ClientGone.
    """
    if upstream.lost:
        raise UpstreamLost(upstream.lost)
    d.send_upstream(octets)
    if len(octets) < PACED_OCTETS:
        return
    d.pace(Leg.UPSTREAM)
    yield from d.wait(
        lambda: Leg.UPSTREAM in d.drained or bool(upstream.lost),
        d.settings.deadlines.data,
    )


def await_final(
    d: Dialogue, tx: Transaction, upstream: Upstream, octets: bytes, shown: bytes
) -> Request:
    """Send the last octets of a message; from here on its reply is awaited.

    Only now, so that whatever the upstream said before is no answer to the message.
    """
    assert tx.dotted_at is not None
    until = tx.dotted_at + d.settings.deadlines.final_reply
    if upstream.unread:
        # The beginning of a reply; its end would be taken for the answer to the dot.
        upstream.lose("reply without a command")
    if upstream.lost:
        raise UpstreamLost(upstream.lost)
    if d.now >= until:
        raise Expired
    request = Request(octets, until, FINAL_POSITIVE, group_last=True, shown=shown)
    upstream.request(request, d.now)
    return request


def record_sent(d: Dialogue, tx: Transaction, content: Content) -> None:
    """Put what went up into the transcript; not its octets where it is what came."""
    if content is tx.content:
        entry = Entry("s", b"", "message", d.now, content.size, same=True)
        d.transcript.entries.append(entry)
    else:
        record_message(d, "s", content, content.size)


def record_message(
    d: Dialogue, direction: Direction, content: Content | None, size: int
) -> None:
    """Put a message into the transcript, cut to the limit; never raises for it."""
    kept: list[bytes] = []
    room = d.record_limit
    if content is not None and room:
        try:
            for chunk in content.chunks():
                kept.append(chunk[:room])
                room -= len(kept[-1])
                if room <= 0:
                    break
        except OSError as error:
            d.log(f"message not recorded: {os_text(error)}")
    entry = Entry(direction, b"".join(kept), "message", d.now, size)
    d.transcript.entries.append(entry)
