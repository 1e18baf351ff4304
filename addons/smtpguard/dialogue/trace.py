"""A Received field of our own, where the policy asks for it (RFC 5321 4.4).

Written by us, so 7-bit, folded and ended by CRLF, whatever the client called itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import format_datetime
from typing import TYPE_CHECKING

from smtpguard.wire import printable


if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from smtpguard.model.content import Content
    from smtpguard.model.session import SessionFacts


MAX_NAME = 255
_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
"""Everything that could end a word or begin a comment of the field."""


@dataclass(frozen=True, slots=True)
class Prefixed:
    """A message with octets before it."""

    prefix: bytes
    content: Content

    @property
    def size(self) -> int:
        """Length in octets."""
        return len(self.prefix) + self.content.size

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets in order."""
        yield self.prefix
        yield from self.content.chunks()


def received_field(
    session: SessionFacts, transaction: str, own_name: str, date: datetime
) -> bytes:
    """Return the whole field, CRLF included."""
    address = session.client[0]
    literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
    helo = safe(session.helo) or "unknown"
    return (
        f"Received: from {helo} ({literal})\r\n"
        f"\tby {safe(own_name)} with {protocol(session)} id {safe(transaction)};\r\n"
        f"\t{format_datetime(date)}\r\n"
    ).encode("ascii")


def protocol(session: SessionFacts) -> str:
    """Return how the client spoke to us, as RFC 3848 names it."""
    if not session.esmtp:
        return "SMTP"
    secure = "S" if session.client_leg.tls is not None else ""
    return f"ESMTP{secure}{'A' if session.authenticated else ''}"


def safe(word: str) -> str:
    """Return a peer's word so that it is one atom."""
    shown = printable(word.encode("utf-8", "backslashreplace"))
    return _UNSAFE.sub("?", shown)[:MAX_NAME]
