"""Our Received field (RFC 5321 4.4, RFC 3848, RFC 6531 4.3).

Owns its value alone: what the client told of itself comes out as harmless words, so
that nobody writes a date, a comment or a second field through us. Pure.
"""

from __future__ import annotations

from email.utils import format_datetime
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datetime import datetime

    from smtpguard.model.envelope import Envelope
    from smtpguard.model.session import SessionFacts


_TOKEN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._[]:"
)
MAX_TOKEN = 255
"""Characters of a name in a Received field; no host name is longer."""


def received_value(
    session: SessionFacts, envelope: Envelope, own_name: str, now: datetime
) -> bytes:
    """Return the value of our Received field (RFC 5321 4.4), printable ASCII.

    What the client told of itself comes out as one harmless word each.
    """
    address = session.client[0]
    literal = f"IPv6:{address}" if ":" in address else address
    return (
        f"from {_token(session.helo)} ([{_token(literal)}]) by {_token(own_name)} "
        f"with {_protocol(session, envelope)} id {_token(envelope.id or session.id)}; "
        f"{format_datetime(now)}"
    ).encode("ascii")


def _protocol(session: SessionFacts, envelope: Envelope) -> str:
    """Return the registered name of how the message came (RFC 3848, RFC 6531 4.3)."""
    if not session.esmtp:
        return "SMTP"
    is_utf8 = envelope.asked.parameter("SMTPUTF8") is not None
    name = "UTF8SMTP" if is_utf8 else "ESMTP"
    secure = "S" if session.client_leg.tls is not None else ""
    return name + secure + ("A" if session.authenticated else "")


def _token(text: str) -> str:
    kept = "".join(c if c in _TOKEN else "?" for c in text[:MAX_TOKEN])
    return kept or "unknown"
