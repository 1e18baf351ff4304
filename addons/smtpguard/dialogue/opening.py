"""The session's beginning: who the client is, implicit TLS, the greeting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dialogue import bringup, effects
from smtpguard.dialogue.asking import answered, choose_policy
from smtpguard.dialogue.exchange import usable
from smtpguard.dialogue.waits import Expired, Hangup, Task, UpstreamLost
from smtpguard.errors import ProtocolError
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.wire import proxyprotocol, replies


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.model.settings import TrustedClient


IMPLICIT_PORT = 465
"""RFC 8314 7.3: submissions, TLS from the first octet."""
_TLS_RECORD = b"\x16\x03"
"""Type handshake, major version 3: no SMTP command begins so."""


def open_session(d: Dialogue) -> Task[None]:
    """Take the session to its greeting. Raises Hangup where there is none to be had."""
    if d.session.loop:
        raise Hangup(replies.LOOP, "the destination is our own listener")
    yield from learn_client(d)
    choose_policy(d)
    d.client.in_tls = d.session.implicit_tls = yield from speaks_implicit_tls(d)
    try:
        if d.session.implicit_tls:
            yield from implicit_handshake(d)
        if d.upstream is None:
            yield from bringup.connect(d)
        usable(d)
    except UpstreamLost as lost:
        raise Hangup(replies.UPSTREAM_UNREACHABLE, lost.reason) from None
    d.answer(greeting(d))


def learn_client(d: Dialogue) -> Task[None]:
    """Read the PROXY header that a trusted client must send before anything else."""
    trusted = trust(d)
    if trusted is None:
        return
    d.client.trusted = True
    if trusted.protocol == "xclient":
        d.client.identity_awaited = True
        return
    until = d.now + d.settings.deadlines.tls
    reason = "no PROXY header from a trusted client"
    while True:
        try:
            header = proxyprotocol.parse(d.client.receiver)
        except ProtocolError as error:
            raise Hangup(None, f"{reason}: {error}") from None
        if header is not None:
            break
        if d.client.finished or not (yield from next_octets(d, until)):
            raise Hangup(None, reason)
    if header.source is not None:
        d.session.client = header.source
        d.mark("C", f"proxy {header.source[0]}")


def trust(d: Dialogue) -> TrustedClient | None:
    """Ask whether the peer speaks for others. Raises Hangup if that is unknown."""
    # In a tuple, since None is an answer here and not the lack of one.
    said = answered(d, lambda: (d.decider.trusted(d.session.client),))
    if said is None:
        raise Hangup(replies.UPSTREAM_UNREACHABLE, "not known whom to trust")
    return said[0]


def next_octets(d: Dialogue, until: float) -> Task[bool]:
    """Wait until something comes from the client; False where nothing did in time."""
    seen = d.client.changes
    try:
        yield from d.wait_until(lambda: d.client.changes != seen, until)
    except Expired:
        return False
    return True


def speaks_implicit_tls(d: Dialogue) -> Task[bool]:
    """Tell whether TLS comes first (RFC 8314 3.3); ``auto`` waits for a ClientHello."""
    match d.settings.client_tls.implicit:
        case "true":
            return True
        case "false":
            return False
        case "port":
            return d.session.destination[1] == IMPLICIT_PORT
    until = d.now + d.settings.deadlines.auto_tls
    while len(d.client.receiver) < len(_TLS_RECORD) and not d.client.finished:
        if not (yield from next_octets(d, until)):
            break
    return d.client.receiver.peek(2) == _TLS_RECORD


def implicit_handshake(d: Dialogue) -> Task[None]:
    """Encrypt the client leg before any greeting; the upstream is brought up within."""

    def upstream_first() -> Task[None]:
        try:
            yield from bringup.settle(d, final=False)
        except UpstreamLost as lost:
            # The client learns it from a greeting that it can read.
            d.log(f"upstream: {lost.reason}")

    data = d.client.receiver.take(len(d.client.receiver))
    yield from client_handshake(d, upstream_first, data, how="implicit")


def client_handshake(
    d: Dialogue,
    upstream_first: Callable[[], Task[None]],
    data: bytes = b"",
    *,
    how: str,
) -> Task[None]:
    """Encrypt the client leg.

    ``upstream_first`` is called (as a task) once the ClientHello has told the name, and
    before the handshake goes on: the certificate may follow the upstream's. Raises
    Hangup or ClientGone; nothing can be said to this client any more then.
    """
    d.hello.clear()
    d.tls_finished.pop(Leg.CLIENT, None)
    seconds = d.settings.deadlines.tls
    d.flush()
    d.client.in_tls = True
    d.emit(effects.StartTls(Leg.CLIENT, data=data))
    try:
        yield from d.wait(lambda: d.hello.is_set, seconds)
        assert d.hello.value is not None
        d.client.name = d.hello.value.name
        yield from upstream_first()
        d.emit(effects.ContinueTls())
        yield from d.wait(lambda: Leg.CLIENT in d.tls_finished, seconds)
    except Expired:
        raise Hangup(None, "client's TLS handshake not finished in time") from None
    facts = d.tls_finished[Leg.CLIENT].facts
    assert facts is not None, "an error is a client that is gone"
    d.client.in_tls = False
    d.client.secure = True
    d.set_tls(Leg.CLIENT, facts, how)


def greeting(d: Dialogue) -> Reply:
    """Return our 220: the upstream's words unless the policy has others."""
    if d.settings.banner:
        return Reply(220, (d.settings.banner.encode("ascii", "replace"),))
    if d.settings.hide_server or d.greeting is None:
        return replies.greeting(d.own_name.decode("ascii"))
    return d.greeting
