"""Bringing the upstream up: connection, greeting, EHLO, TLS, identity.

``settle`` is the one entry: it takes the upstream as far as it can go with what is
known so far, and may be called again and again. The TLS question stays open while the
name to ask for is known only to a client that has not said it yet (transparent mode, in
clear); ``final`` closes it (contract 3 and 4).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smtpguard.dialogue import effects, encryption
from smtpguard.dialogue.exchange import ask, capabilities, leave, usable
from smtpguard.dialogue.upstream import Upstream
from smtpguard.dialogue.waits import Expired, Hangup, Task, TlsFailed, UpstreamLost
from smtpguard.wire import Capabilities, proxyprotocol, replies, xclient


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue


_PROXY_HEADERS = {
    "proxy_v1": proxyprotocol.build_v1,
    "proxy_v2": proxyprotocol.build_v2,
}


def settle(d: Dialogue, *, final: bool) -> Task[None]:
    """Bring the upstream as far as it can go now. Raises UpstreamLost, ClientGone.

    Where TLS is wanted and cannot be had, the connection stays as it is: see
    ``encryption.encrypted_enough``. Raises Hangup where only a new session of the
    client can help.
    """
    if d.upstream is None or d.upstream.lost:
        if d.session.authenticated:
            # Whoever logged in did so on a connection that is gone.
            raise Hangup(replies.CLOSED_BY_UPSTREAM, "upstream lost after AUTH")
        yield from connect(d)
    yield from greet(d)
    if not usable(d).secure and encryption.tls_wanted(d):
        yield from upgrade(d, final=final)
        yield from greet(d)
    if final or not encryption.tls_open(d):
        yield from identify(d)


def connect(d: Dialogue) -> Task[None]:
    """Open a new connection and read the upstream's whole greeting."""
    leave(d, "dialled again")
    d.session.upstream_leg.tls = None
    d.upstream = Upstream(send=d.send_upstream, record=d.record)
    d.opened.clear()
    d.mark("s", "open")
    d.emit(effects.OpenUpstream())
    try:
        yield from d.wait(lambda: d.opened.is_set, d.settings.deadlines.connect)
    except Expired:
        leave(d, "connection not made in time")
        raise UpstreamLost(d.upstream.lost) from None
    if d.opened.value is not None and d.opened.value.error is not None:
        d.upstream.lose(f"cannot connect: {d.opened.value.error}", gone=True)
        raise UpstreamLost(d.upstream.lost)
    d.upstream.opened = True
    send_proxy_header(d)
    if d.session.upstream_implicit_tls:
        yield from encryption.handshake(
            d, encryption.tls_name(d) or d.session.destination[0]
        )
    greeting = yield from ask(
        d, b"", positive=frozenset({220}), seconds=d.settings.deadlines.greeting
    )
    if greeting.code != 220:
        leave(d, f"greeted with {greeting}")
        raise UpstreamLost(f"greeted with {greeting}")
    d.greeting = greeting


def send_proxy_header(d: Dialogue) -> None:
    """Send the PROXY header as the first octets of the connection, where asked for."""
    build = _PROXY_HEADERS.get(d.settings.identity)
    if build is not None:
        usable(d).identified = True
        d.mark("s", f"{d.settings.identity} {d.session.client[0]}")
        session = d.session
        d.send_upstream(build(session.client, session.local or session.destination))


def greet(d: Dialogue) -> Task[None]:
    """Say EHLO (HELO after its 5yz), unless this connection has heard it already."""
    upstream = usable(d)
    name = d.settings.helo.encode() or d.session.helo.encode() or d.own_name
    if upstream.capabilities is not None and upstream.greeted_as == name:
        return
    reply = yield from ask(d, b"EHLO " + name + b"\r\n")
    read = Capabilities.from_ehlo
    if reply.is_permanent:
        reply = yield from ask(d, b"HELO " + name + b"\r\n")
        read = Capabilities.from_helo
    if not reply.is_positive:
        leave(d, f"EHLO answered {reply}")
        raise UpstreamLost(f"EHLO answered {reply}")
    upstream.capabilities = read(reply)
    upstream.greeted_as = name
    upstream.mail_open = False


def identify(d: Dialogue) -> Task[None]:
    """Tell the upstream who the client is (XCLIENT), then say EHLO again.

    Raises Hangup where it cannot be told: the client must not be taken for us.
    """
    upstream = usable(d)
    if d.settings.identity != "xclient" or upstream.identified:
        return
    if d.client.identity_awaited:
        return
    command = xclient.build(
        capabilities(d).parameters("XCLIENT"),
        addr=d.session.client[0],
        port=d.session.client[1],
        helo=d.session.helo,
        proto="ESMTP" if d.session.esmtp else "SMTP",
    )
    if command is None:
        raise Hangup(replies.IDENTITY_UNDELIVERED, "identity: XCLIENT is not offered")
    reply = yield from ask(d, command, positive=frozenset({220, 250}))
    if not reply.is_positive:
        raise Hangup(replies.IDENTITY_UNDELIVERED, f"identity: XCLIENT says {reply}")
    upstream.identified = True
    upstream.capabilities = None
    yield from greet(d)


def upgrade(d: Dialogue, *, final: bool) -> Task[None]:
    """Say STARTTLS upstream and shake hands, where offered and the name is known."""
    if not encryption.tls_open(d):
        return
    if encryption.remembered_as_clear(d):
        encryption.stay_clear(d, "downgrade: handshake failed lately")
        return
    name = encryption.tls_name(d)
    if not name and not final and not d.client.secure:
        return
    if (yield from encryption.request_tls(d)):
        yield from finish_upgrade(d, name)


def finish_upgrade(d: Dialogue, name: str) -> Task[None]:
    """Shake hands; after a failure, ``preferred`` dials again in clear."""
    encryption.refuse_injected(d)
    try:
        yield from encryption.handshake(d, name)
    except TlsFailed as lost:
        if d.settings.server_tls.starttls != "preferred":
            raise
        d.log(
            f"downgrade: upstream dialled again in clear ({lost.reason})",
            logging.WARNING,
        )
        encryption.remember_as_clear(d)
        yield from connect(d)
        usable(d).tls_refused = True
        d.session.upstream_leg.history.append(f"downgrade: {lost.reason}")
