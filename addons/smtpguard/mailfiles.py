"""Messages in files: single ones, folders of them, mbox files.

Owns reading them one at a time, so that tens of thousands need the memory of one, and
octet for octet: an mbox gives its ``From `` lines and the blank line before each, and
nothing else; ``>From`` stays as it is, for nobody can tell whether it was written so.
A file that cannot be read is a value like the others: it must not end the run.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from smtpguard.terminal import visible


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


# A line that an mbox writer put there has the time in it (RFC 4155 appendix A); text
# that begins with "From " behind an empty line mostly has not.
_SEPARATOR = re.compile(rb"From [^\r\n]*[0-9]{2}:[0-9]{2}")
_EMPTY_LINES = frozenset({b"\n", b"\r\n"})
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Stored:
    """One message as it lies in a file."""

    name: str
    """``FILE``, or ``FILE#NUMBER`` in an mbox, counted from 1."""
    octets: bytes | None
    """None where there are more than were asked for."""
    size: int
    sha256: str
    """Hexadecimal."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What could not be read, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        """Return both on one line, for a terminal."""
        return f"{visible(self.name)}: {self.reason}"


def stored_messages(paths: Iterable[Path], limit: int) -> Iterator[Stored | Unreadable]:
    """Yield every message in files, folders (recursively, sorted) and mbox files.

    A message of more than ``limit`` octets is measured, not kept.
    """
    for path in paths:
        for file in _files(path):
            if isinstance(file, Unreadable):
                yield file
                continue
            try:
                yield from _messages(file, limit)
            except OSError as error:
                yield _unreadable(file, error)


def _unreadable(path: Path | str, error: OSError) -> Unreadable:
    return Unreadable(str(path), error.strerror or str(error))


def _files(path: Path) -> Iterator[Path | Unreadable]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield _unreadable(path, error)
        return
    if stat.S_ISREG(mode):
        yield path
    elif stat.S_ISDIR(mode):
        yield from _files_below(path)
    else:
        # Opening a pipe would wait for somebody to write into it.
        yield Unreadable(str(path), "neither a file nor a folder")


def _files_below(top: Path) -> Iterator[Path | Unreadable]:
    problems: list[OSError] = []
    for folder, folders, names in os.walk(top, onerror=problems.append):
        while problems:
            error = problems.pop()
            yield _unreadable(error.filename, error)
        folders.sort()
        for name in sorted(names):
            yield from _files(Path(folder) / name)
    for error in problems:
        yield _unreadable(error.filename, error)


def _messages(file: Path, limit: int) -> Iterator[Stored]:
    with file.open("rb") as opened:
        first = opened.readline(_PIECE)
        opened.seek(0)
        # Whoever calls a file .eml says that it is one message.
        if _SEPARATOR.match(first) and file.suffix.lower() != ".eml":
            yield from _mbox(str(file), opened, limit)
            return
        message = _Collector(limit)
        while piece := opened.read(_PIECE):
            message.add(piece)
        yield message.stored(str(file))


def _mbox(name: str, file: BinaryIO, limit: int) -> Iterator[Stored]:
    """Yield the messages between separators; the file begins with one."""
    message: _Collector | None = None
    number = 0
    gap = b""
    is_start, is_separator = True, False
    while line := file.readline(_PIECE):
        if is_start:
            is_separator = (message is None or bool(gap)) and bool(
                _SEPARATOR.match(line)
            )
            if is_separator:
                if message is not None:
                    yield message.stored(f"{name}#{number}")
                message, gap = _Collector(limit), b""
                number += 1
        if message is not None and not is_separator:
            message.add(gap)
            gap = line if is_start and line in _EMPTY_LINES else b""
            message.add(b"" if gap else line)
        is_start = line.endswith(b"\n")
    if message is not None:
        yield message.stored(f"{name}#{number}")


class _Collector:
    """Keeps a message up to a limit, measures it beyond."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._octets: bytearray | None = bytearray()
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, octets: bytes) -> None:
        self._size += len(octets)
        self._digest.update(octets)
        if self._size > self._limit:
            self._octets = None
        if self._octets is not None:
            self._octets += octets

    def stored(self, name: str) -> Stored:
        kept = None if self._octets is None else bytes(self._octets)
        return Stored(name, kept, self._size, self._digest.hexdigest())
