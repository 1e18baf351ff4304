"""What a Postfix of the bed delivered: one file a copy, read back octet for octet.

The delivery agent puts ``Return-Path``, ``X-Original-To``, ``Delivered-To`` on top, and
smtpd one ``Received``; below them stands the message as it came, with LF for CRLF.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.bed.process import wait_until


if TYPE_CHECKING:
    from pathlib import Path


OWN_FIELDS = (b"return-path", b"x-original-to", b"delivered-to", b"received")
"""What Postfix puts on top, each once, in this order."""

_FIELD = re.compile(rb"([!-9;-~]+):(.*?)\n(?![ \t])", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Copy:
    """One delivered copy."""

    reverse_path: str
    recipient: str
    """The forward-path that smtpd was given."""
    received: str
    """Postfix's own Received field: the client's name and address, and TLS."""
    message: bytes
    """The message as it came in, with CRLF."""


@dataclass(frozen=True, slots=True)
class Maildir:
    """A maildir that catches all mail."""

    folder: Path

    def copies(self, token: str) -> list[Copy]:
        """Return every copy that holds ``token``, in order of recipient."""
        found = [
            read_copy(octets)
            for path in sorted((self.folder / "new").glob("*"))
            if token.encode() in (octets := path.read_bytes())
        ]
        return sorted(found, key=lambda copy: copy.recipient)

    def wait_copies(self, token: str, count: int, seconds: float = 15.0) -> list[Copy]:
        """Wait until ``count`` copies that hold ``token`` lie here.

        More may come: see ``PostfixServer.settle``. Raises ``BedError`` in vain.
        """
        wait_until(
            lambda: len(self.copies(token)) >= count,
            f"{count} copies of {token}",
            seconds,
        )
        return self.copies(token)


def read_copy(octets: bytes) -> Copy:
    """Take Postfix's own fields off a delivered file.

    Raises ``ValueError`` when they are not what a Postfix of the bed writes.
    """
    values: list[str] = []
    offset = 0
    for name in OWN_FIELDS:
        match = _FIELD.match(octets, offset)
        if match is None or match[1].lower() != name:
            raise ValueError(f"no {name.decode()} on top of a delivered message")
        values.append(" ".join(match[2].decode("utf-8", "replace").split()))
        offset = match.end()
    message = octets[offset:].replace(b"\n", b"\r\n")
    return Copy(values[0].strip("<>"), values[1], values[3], message)
