"""Bounds of one reading of a message.

Each bound that is hit is a defect of its own (``Kind.LIMIT_*``) on the tree, never an
exception: what lies beyond stays part of the last span that was read, unread.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.transferencoding import decode


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime.octets import Octets, Span


MAX_BOUNDARY = 2048
"""Octets of a boundary. RFC 2046 5.1.1 allows 70; longer ones occur in attacks, and a
reader without a bound would see parts where we saw none."""

MAX_PARAMETERS = 100
"""Parameters of one field that are read; real mail stays under 20, continuations of a
long file name (RFC 2231 3) included."""

MAX_NAMES = 60
"""Readings of one part's file name; an odd but honest name has fewer than ten, and each
is put before every rule in several forms."""

MAX_DECODED_NESTING = 8
"""Encoded messages inside one another that are entered. RFC 2045 6.4 forbids even the
first; each level is a parser inside a parser."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a message is read. The caller fills it from ``model.settings.Limits``."""

    depth: int = 50
    """Levels of nesting; the message itself is level 1."""
    parts: int = 1000
    """Parts in all, containers and the message itself included."""
    header_section: int = 256 * 1024
    """Octets of each header section that are read for fields."""
    decoded: int = 50 * 1024 * 1024
    """Octets of encoded messages (base64 around message/rfc822) that are decoded to be
    entered, in all: the tree holds a copy of them."""
    readings: int = 24 * 1024 * 1024
    """Octets of leaves that hold something else for some reader, and of what they hold,
    in all: each takes up to 0.2 us, where a mail is made for that."""
    fields: int = 20_000
    """Header fields in all: a flood of three-octet fields must not cost a hundred
    times its size in objects."""
    names: int = 5000
    """Readings of file names in all, for the sake of the rules that look at each."""


class Budget:
    """What is left, while a message is read, of the limits that count for all of it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.parts = limits.parts
        self.fields = limits.fields
        self.names = limits.names
        self._decoded = limits.decoded
        self._readings = limits.readings
        self._nesting = MAX_DECODED_NESTING

    def decode(self, encoding: str, buffer: Octets, span: Span) -> bytes | None:
        """Return decoded content, None (and the budget untouched) if it is too much."""
        if self._nesting <= 0:
            return None
        content = bytearray()
        for chunk in decode(encoding, buffer, span):
            content += chunk
            if len(content) > self._decoded:
                return None
        self._decoded -= len(content)
        return bytes(content)

    @property
    def is_read_enough(self) -> bool:
        """Whether nothing more is read in other ways: it came to its limit."""
        return self._readings < 0

    def spend(self, octets: int) -> bool:
        """Count octets that a leaf holds for some reader; False if too many."""
        self._readings -= octets
        return self._readings >= 0 and self._nesting > 0

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Count one level of encoded messages."""
        self._nesting -= 1
        yield
        self._nesting += 1
