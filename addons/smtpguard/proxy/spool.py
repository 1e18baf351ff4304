"""A message while it comes in: in memory first, then in a file without a name.

Bounded memory per message however large it is. The file has no name from its first
moment on, so no crash leaves a mail behind; a full disk is the OSError it is.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from smtpguard.model.content import CHUNK_OCTETS


if TYPE_CHECKING:
    from collections.abc import Iterator


MEMORY_OCTETS = 4 * 1024 * 1024
"""Up to here a message may stay in memory: nearly all mails do."""
BUDGET_OCTETS = 96 * 1024 * 1024
"""What all messages of the process together may take of it."""


_WORTH_A_PIECE = 4096
_TAIL = 64 * 1024
"""A client that sends single octets must not cost forty times what they are."""


@dataclass(slots=True)
class Budget:
    """Memory that the messages of a process share."""

    left: int = BUDGET_OCTETS


class FileSpool:
    """A ``Spool`` that moves to a temporary file when it, or all of them, grow."""

    def __init__(
        self,
        directory: str | None = None,
        budget: Budget | None = None,
        memory_octets: int = MEMORY_OCTETS,
    ) -> None:
        self._directory = directory
        self._budget = budget or Budget()
        self._memory_octets = memory_octets
        self._pieces: list[bytes] = []
        self._tail = bytearray()
        """Small pieces, until they are worth an object of their own."""
        self._file: BinaryIO | None = None
        self._size = 0

    @property
    def size(self) -> int:
        """Length in octets."""
        return self._size

    def write(self, data: bytes) -> None:
        """Append octets.

        Raises:
            OSError: the disk is full or the folder is not there; names the folder. What
                was written before is still there, this piece may be there in part.
        """
        try:
            if self._file is None and not self._fits(data):
                self._move()
            if self._file is not None:
                _write_all(self._file, data)
            else:
                self._keep(data)
                self._budget.left -= len(data)
        except OSError as error:
            folder = self._directory or tempfile.tempdir
            raise OSError(error.errno, error.strerror, folder) from error
        self._size += len(data)

    def view(self) -> bytes | mmap.mmap:
        """Return all octets: ``bytes`` from memory, else a mapping of the file.

        A mapping stays good as long as somebody holds it, also after ``close``; the
        spool keeps none, so that judged messages do not stay resident.
        """
        if self._file is None:
            return self._whole()
        return mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets in order, at most ``CHUNK_OCTETS`` at a time."""
        at = 0
        while at < self._size:
            if self._file is None:
                chunk = self._whole()[at : at + CHUNK_OCTETS]
            else:
                wanted = min(CHUNK_OCTETS, self._size - at)
                chunk = os.pread(self._file.fileno(), wanted, at)
            if not chunk:
                raise OSError("the message's file is shorter than what was written")
            at += len(chunk)
            yield chunk

    def close(self) -> None:
        """Give memory and file back; may be called twice."""
        if self._file is None:
            self._forget()
        else:
            self._file.close()
            self._file = None
        self._size = 0

    def _keep(self, data: bytes) -> None:
        """Keep octets in memory without copying large pieces."""
        if len(data) < _WORTH_A_PIECE:
            self._tail += data
        if self._tail and (len(data) >= _WORTH_A_PIECE or len(self._tail) > _TAIL):
            self._pieces.append(bytes(self._tail))
            self._tail.clear()
        if len(data) >= _WORTH_A_PIECE:
            self._pieces.append(data)

    def _whole(self) -> bytes:
        if len(self._pieces) != 1 or self._tail:
            self._pieces = [b"".join((*self._pieces, self._tail))]
            self._tail.clear()
        return self._pieces[0]

    def _fits(self, data: bytes) -> bool:
        whole = self._size + len(data)
        return whole <= self._memory_octets and len(data) <= self._budget.left

    def _move(self) -> None:
        file: BinaryIO = tempfile.TemporaryFile(  # noqa: SIM115 - closed by ``close``
            dir=self._directory, buffering=0
        )
        try:
            for piece in self._pieces:
                _write_all(file, piece)
            _write_all(file, self._tail)
        except OSError:
            file.close()
            raise
        self._forget()
        self._file = file

    def _forget(self) -> None:
        self._budget.left += self._size
        self._pieces.clear()
        self._tail.clear()


def _write_all(file: BinaryIO, data: bytes | bytearray) -> None:
    """Write all of it: an unbuffered file may take less at once."""
    with memoryview(data) as rest:
        at = 0
        while at < len(rest):
            at += file.write(rest[at:])
