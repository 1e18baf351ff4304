"""Messages as octets: what was received, and what is sent instead after an edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Buffer, Iterator


CHUNK_OCTETS = 256 * 1024
"""How much of a message is handed on at once: large enough that Python's share is
small, small enough that fifty connections' chunks fit into a few MiB."""


class Content(Protocol):
    """A whole message, dot-stuffing undone, final CRLF included."""

    @property
    def size(self) -> int:
        """Length in octets."""
        ...

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets in order, at most ``CHUNK_OCTETS`` at a time."""
        ...


class Spool(Content, Protocol):
    """Where a message is collected while it comes in; may be backed by a file."""

    def write(self, data: bytes) -> None:
        """Append octets. Raises OSError where the disk is full."""
        ...

    def view(self) -> Buffer:
        """Return all octets as one read-only buffer with ``find`` and slicing
        (``bytes`` or ``mmap``), valid until ``close``."""
        ...

    def close(self) -> None:
        """Give memory and file back; may be called twice."""
        ...


class MemorySpool:
    """A spool in memory, for tests, replay and small messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def size(self) -> int:
        """Length in octets."""
        return len(self._data)

    def write(self, data: bytes) -> None:
        """Append octets."""
        self._data += data

    def view(self) -> bytes:
        """Return all octets."""
        return bytes(self._data)

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets in order, at most ``CHUNK_OCTETS`` at a time."""
        for start in range(0, len(self._data), CHUNK_OCTETS):
            yield bytes(self._data[start : start + CHUNK_OCTETS])

    def close(self) -> None:
        """Drop the octets."""
        self._data = bytearray()


@dataclass(frozen=True, slots=True)
class Edited:
    """A message after its edits: spans of the original and inserted octets, in order.

    Holds the original by reference, so an edit of a large message costs no copy of it.
    """

    original: Buffer
    pieces: tuple[tuple[int, int] | bytes, ...]
    """``(start, end)`` into ``original``, or octets to insert."""

    @property
    def size(self) -> int:
        """Length in octets."""
        return sum(
            len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            for piece in self.pieces
        )

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets in order: of the original at most ``CHUNK_OCTETS`` at a
        time, insertions (notices, fields) as they are."""
        with memoryview(self.original) as view:
            for piece in self.pieces:
                if isinstance(piece, bytes):
                    yield piece
                    continue
                start, end = piece
                for at in range(start, end, CHUNK_OCTETS):
                    yield bytes(view[at : min(at + CHUNK_OCTETS, end)])
