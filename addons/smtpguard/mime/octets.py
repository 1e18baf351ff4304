"""Spans of octets in one received buffer.

Owns the two nouns on which byte-exactness rests: the buffer as it was received, and a
half-open range of it. Nothing here copies more than a caller asks for by ``of``.
"""

from __future__ import annotations

from collections.abc import Buffer
from dataclasses import dataclass
from typing import Protocol


class Octets(Buffer, Protocol):
    """What a message is read from: ``bytes``, or an ``mmap`` of a spooled message."""

    def __len__(self) -> int:
        """Length in octets."""
        ...

    def __getitem__(self, key: slice, /) -> bytes:
        """Return a copy of a range."""
        ...


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The octets from ``start`` up to, not including, ``end``."""

    start: int
    end: int

    def __len__(self) -> int:
        """Length in octets."""
        return self.end - self.start

    def of(self, buffer: Octets) -> bytes:
        """Return a copy of these octets."""
        return buffer[self.start : self.end]

    def covers(self, other: Span) -> bool:
        """Say whether ``other`` lies wholly inside (or is the same)."""
        return self.start <= other.start and other.end <= self.end
