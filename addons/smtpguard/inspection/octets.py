"""The octets that are looked into, and numbers read from them.

Reading beyond the end gives fewer octets, never an error: what a file claims of itself
is not believed.
"""

from __future__ import annotations

from collections.abc import Buffer
from typing import Protocol


class Octets(Buffer, Protocol):
    """What is looked into: ``bytes`` or an ``mmap``."""

    def __len__(self) -> int:
        """Length in octets."""
        ...

    def __getitem__(self, key: slice, /) -> bytes:
        """Return a copy of a range."""
        ...

    def find(self, sub: bytes, start: int = ..., end: int = ..., /) -> int:
        """Return where ``sub`` begins first, -1 if it does not."""
        ...

    def rfind(self, sub: bytes, start: int = ..., end: int = ..., /) -> int:
        """Return where ``sub`` begins last, -1 if it does not."""
        ...


def little(octets: Octets, at: int, size: int) -> int:
    """Return the little-endian number at ``at``; what lies beyond the end counts 0."""
    return int.from_bytes(octets[at : at + size], "little")


def big(octets: Octets, at: int, size: int) -> int:
    """Return the big-endian number at ``at``; 0 where it is cut off."""
    found = octets[at : at + size]
    return int.from_bytes(found, "big") if len(found) == size else 0
