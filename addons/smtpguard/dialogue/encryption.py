"""TLS on the upstream leg: whether it is wanted, whether it can be had (contract 4).

The TLS question stays open while the name to ask for is known only to a client that has
not said it yet (transparent mode, in clear). What follows from the answers, dialling
again in clear above all, is for ``bringup``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smtpguard.dialogue import effects
from smtpguard.dialogue.exchange import ask, capabilities, leave, usable
from smtpguard.dialogue.waits import Expired, Task, TlsFailed, UpstreamLost
from smtpguard.model.session import Leg


if TYPE_CHECKING:
    from smtpguard.dialogue.engine import Dialogue


DOWNGRADE_SECONDS = 3600.0
"""How long an upstream whose handshake failed is dialled in clear (``preferred``)."""


def tls_name(d: Dialogue) -> str:
    """Return the name to ask the upstream for, "" while it is not known."""
    return d.settings.server_tls.name or d.session.reverse_name or d.client.name


def tls_wanted(d: Dialogue) -> bool:
    """Whether the upstream leg is to be encrypted, as far as the policy goes."""
    match d.settings.server_tls.starttls:
        case "none":
            return False
        case "follow":
            return d.client.secure or d.client.in_tls
        case _:
            return True


def tls_open(d: Dialogue) -> bool:
    """Whether the upstream leg may yet become encrypted on this connection."""
    upstream = usable(d)
    if upstream.secure or upstream.tls_refused:
        return False
    return "STARTTLS" in capabilities(d) and d.settings.server_tls.starttls != "none"


def encrypted_enough(d: Dialogue) -> bool:
    """Whether mail may go up on this connection."""
    if usable(d).secure:
        return True
    match d.settings.server_tls.starttls:
        case "required":
            return False
        case "follow":
            return not d.client.secure
        case _:
            return True


def remembered_as_clear(d: Dialogue) -> bool:
    """Whether a handshake with this upstream failed within the last hour."""
    if d.settings.server_tls.starttls != "preferred":
        return False
    return d.downgrades.get(d.session.destination, 0.0) > d.now


def remember_as_clear(d: Dialogue) -> None:
    """Have this upstream dialled in clear for an hour.

    Not where the name that failed is one that a client chose: it must not take TLS away
    from all others.
    """
    if d.client.name and tls_name(d) == d.client.name:
        return
    d.downgrades[d.session.destination] = d.now + DOWNGRADE_SECONDS


def stay_clear(d: Dialogue, reason: str) -> None:
    """Note that this connection stays in clear although the upstream offers TLS."""
    usable(d).tls_refused = True
    d.session.upstream_leg.history.append(reason)
    d.log(f"upstream stays in clear: {reason}", logging.WARNING)


def note_clear(d: Dialogue) -> None:
    """Note, once a connection, why mail goes up in clear; nothing if it does not."""
    upstream = usable(d)
    if upstream.secure or upstream.clear_noted:
        return
    upstream.clear_noted = True
    if upstream.tls_refused:
        return  # ``stay_clear`` has said it
    history = d.session.upstream_leg.history
    if d.settings.server_tls.starttls == "none":
        history.append("clear: not wanted")
    elif "starttls" in history:
        stay_clear(d, "downgrade: not offered any more")
    else:
        history.append("clear: not offered")


def request_tls(d: Dialogue) -> Task[bool]:
    """Say STARTTLS upstream; True if it answered 220 and nothing behind it."""
    upstream = usable(d)
    upstream.in_tls = True
    reply = yield from ask(d, b"STARTTLS\r\n", positive=frozenset({220}))
    if reply.code != 220:
        upstream.in_tls = False
        stay_clear(d, f"downgrade: STARTTLS answered {reply}")
        return False
    refuse_injected(d)
    return True


def refuse_injected(d: Dialogue) -> None:
    """Lose an upstream that said something in clear behind its 220 to STARTTLS.

    CVE-2021-38371: whoever can write into the clear stream wants these octets to be
    taken for the answer to a command inside TLS.
    """
    upstream = usable(d)
    if upstream.unread:
        d.log(f"{upstream.unread} octets in clear behind the upstream's 220 discarded")
        leave(d, "octets in clear behind the 220 to STARTTLS")
        raise UpstreamLost("octets in clear behind the 220 to STARTTLS")


def handshake(d: Dialogue, name: str) -> Task[None]:
    """Encrypt the upstream leg. Raises TlsFailed; the connection is spent then."""
    upstream = usable(d)
    d.tls_finished.pop(Leg.UPSTREAM, None)
    upstream.in_tls = True
    d.emit(effects.StartTls(Leg.UPSTREAM, name or d.session.destination[0]))
    try:
        yield from d.wait(
            lambda: Leg.UPSTREAM in d.tls_finished or bool(upstream.lost),
            d.settings.deadlines.tls,
        )
    except Expired:
        upstream.lose("TLS handshake not finished in time")
    finished = d.tls_finished.get(Leg.UPSTREAM)
    if upstream.lost or finished is None or finished.facts is None:
        leave(d, "TLS handshake failed")
        if d.session.upstream_implicit_tls or (
            d.settings.server_tls.starttls != "preferred"
        ):
            # Nothing follows that would say why this leg was clear.
            d.session.upstream_leg.history.append(upstream.lost)
        raise TlsFailed(upstream.lost)
    upstream.in_tls = False
    upstream.secure = True
    upstream.capabilities = None
    how = "implicit" if d.session.upstream_implicit_tls else "starttls"
    d.set_tls(Leg.UPSTREAM, finished.facts, how)
