"""Numbers read from octets.

Reading beyond the end gives fewer octets, never an error: what a file claims of itself
is not believed.
"""

from __future__ import annotations


def little(octets: bytes, at: int, size: int) -> int:
    """Return the little-endian number at ``at``; what lies beyond the end counts 0."""
    return int.from_bytes(octets[at : at + size], "little")


def big(octets: bytes, at: int, size: int) -> int:
    """Return the big-endian number at ``at``; 0 where it is cut off."""
    found = octets[at : at + size]
    return int.from_bytes(found, "big") if len(found) == size else 0
