"""EHLO, HELO and STARTTLS (RFC 5321 4.1.1.1, RFC 3207)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpguard.dialogue import bringup, encryption
from smtpguard.dialogue.asking import decided, obey
from smtpguard.dialogue.ending import abort_transaction
from smtpguard.dialogue.exchange import capabilities, usable
from smtpguard.dialogue.opening import client_handshake
from smtpguard.dialogue.parameters import keeps_requiretls
from smtpguard.dialogue.waits import Hangup, Task, TlsFailed, UpstreamLost
from smtpguard.errors import ProtocolError
from smtpguard.model.reply import Reply
from smtpguard.wire import Offer, offer, printable, replies


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue
    from smtpguard.wire import Command


_NAME = re.compile(rb"[^\x00-\x20\x7f]{1,255}")
"""Liberal on purpose: half the world greets with names the grammar does not know."""


def helo(d: Dialogue, command: Command) -> Task[None]:
    """Answer HELO: no keywords, but the upstream hears EHLO and gets its TLS."""
    domain = yield from greet(d, command, esmtp=False)
    if domain is not None:
        d.answer(Reply(250, (domain,)))


def ehlo(d: Dialogue, command: Command) -> Task[None]:
    """Answer EHLO from the upstream's own, keyword by keyword."""
    domain = yield from greet(d, command, esmtp=True)
    if domain is None:
        return
    reply, stripped = offer(capabilities(d), what(d))
    if stripped:
        shown = printable(" ".join(stripped).encode())
        d.log(f"EHLO keywords not passed on: {shown}")
    d.answer(reply)


def greet(d: Dialogue, command: Command, *, esmtp: bool) -> Task[bytes | None]:
    """Take a new name: check it, judge it, tell it to the upstream.

    Returns the upstream's domain (or ours), None where the client was refused.
    """
    name = command.argument
    if not _NAME.fullmatch(name):
        raise ProtocolError("no name", replies.SYNTAX)
    before = (d.session.helo, d.session.esmtp)
    d.session.helo, d.session.esmtp = name.decode("utf-8", "backslashreplace"), esmtp
    decision = decided(d, lambda: d.decider.helo(d.session), may_rewrite=False)
    obey(d, decision)
    if decision.reply is not None:
        d.session.helo, d.session.esmtp = before
        d.log(f"HELO name refused by {decision.rule}: {printable(name)}")
        d.answer(decision.reply)
        return None
    abort_transaction(d, "EHLO")
    d.client.mail_refused = False
    try:
        yield from bringup.settle(d, final=False)
    except TlsFailed as failed:
        # Told where it matters: 454 to STARTTLS and AUTH, 451 to MAIL. Until then the
        # upstream's words from before the handshake hold.
        d.log(f"upstream: {failed.reason}")
        if d.upstream is None or d.upstream.capabilities is None:
            raise Hangup(replies.UPSTREAM_UNREACHABLE, failed.reason) from None
    except UpstreamLost as lost:
        raise Hangup(replies.UPSTREAM_UNREACHABLE, lost.reason) from None
    return d.own_name if d.settings.hide_server else capabilities(d).domain


def what(d: Dialogue) -> Offer:
    """Say what this client may be offered now."""
    upstream_secure = d.upstream is not None and d.upstream.secure
    both_encrypted = d.client.secure and upstream_secure
    return Offer(
        starttls=starttls_offered(d),
        auth_mechanisms=None if both_encrypted else frozenset(),
        size=d.settings.limits.message,
        requiretls=keeps_requiretls(d),
        extra=d.settings.esmtp_allow,
        etrn=etrn_offered(d),
        xclient=d.client.identity_awaited,
        max_recipients=d.settings.limits.recipients,
        hide=d.settings.hide_server,
        own_domain=d.own_name,
    )


def starttls_offered(d: Dialogue) -> bool:
    """Whether EHLO lists STARTTLS: not within TLS, not against the policy."""
    if d.client.secure or d.settings.client_tls.starttls == "none":
        return False
    if d.settings.server_tls.starttls != "follow":
        return True
    return usable(d).secure or encryption.tls_open(d)


def etrn_offered(d: Dialogue) -> bool:
    """Whether this client may have the upstream's queue run (RFC 1985)."""
    return d.settings.etrn and d.client.trusted and "ETRN" in capabilities(d)


def starttls(d: Dialogue, _command: Command) -> Task[None]:
    """Encrypt the client leg, the upstream leg first (contract 3, row STARTTLS)."""
    if d.client.secure or d.transaction is not None:
        raise ProtocolError("STARTTLS out of place", replies.BAD_SEQUENCE)
    if d.settings.client_tls.starttls == "none":
        raise ProtocolError("STARTTLS is not offered", replies.NOT_IMPLEMENTED)
    pending = yield from upstream_starttls(d)
    if pending is None:
        d.answer(replies.TLS_NOT_AVAILABLE)
        return
    d.answer(replies.READY_FOR_TLS)
    d.flush()
    if discarded := d.client.receiver.clear():
        # RFC 3207 4.2, CVE-2011-0411: what came in clear is never taken for TLS's.
        d.log(f"{discarded} octets in clear behind STARTTLS discarded")

    def upstream_handshake() -> Task[None]:
        if pending:
            yield from bringup.finish_upgrade(d, encryption.tls_name(d))

    try:
        yield from client_handshake(d, upstream_handshake, how="starttls")
    except UpstreamLost as lost:
        raise Hangup(None, f"upstream's TLS: {lost.reason}") from None
    forget(d)


def upstream_starttls(d: Dialogue) -> Task[bool | None]:
    """Encrypt the upstream before the client is told to go ahead.

    Returns True if its handshake waits for the client's ClientHello, False if nothing
    is left to do, None if the client cannot have TLS.
    """
    wanted = d.settings.server_tls.starttls
    try:
        if d.upstream is None or d.upstream.lost:
            yield from bringup.connect(d)
        yield from bringup.greet(d)
        if usable(d).secure or wanted == "none":
            return False
        may_start = encryption.tls_open(d)
        if may_start and encryption.remembered_as_clear(d):
            encryption.stay_clear(d, "downgrade: handshake failed lately")
            may_start = False
        if may_start and (yield from encryption.request_tls(d)):
            if not encryption.tls_name(d):
                return True
            yield from bringup.finish_upgrade(d, encryption.tls_name(d))
            return False
    except UpstreamLost as lost:
        d.log(f"upstream: {lost.reason}")
        return None
    return False if wanted == "preferred" else None


def forget(d: Dialogue) -> None:
    """Put the session back to its start: after a handshake (RFC 3207 4.2), XCLIENT."""
    d.session.helo = ""
    d.session.esmtp = False
    d.session.authenticated = False
    d.client.mail_refused = False
