"""One pass over octets before they leave: are they what was kept, and what do they ask
of a server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.errors import QuarantineError, os_text
from smtpguard.model.content import CHUNK_OCTETS
from smtpguard.wire.text import TextReader


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from smtpguard.model.content import Content
    from smtpguard.quarantine.record import Record
    from smtpguard.quarantine.store import Store


@dataclass(frozen=True, slots=True)
class FileContent:
    """A message in a file, as ``model.content.Content``; reading raises OSError."""

    path: Path

    @property
    def size(self) -> int:
        """Length in octets."""
        return self.path.stat().st_size

    def chunks(self) -> Iterator[bytes]:
        """Yield the octets in order."""
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_OCTETS):
                yield chunk


@dataclass(frozen=True, slots=True)
class Survey:
    """What a message is like."""

    size: int
    sha256: str
    stray: int
    """Bare CR, bare LF and NUL: servers read them differently."""
    is_ascii: bool
    has_ascii_header: bool


def survey(content: Content) -> Survey:
    """Return what a message is like. Raises what reading it raises."""
    text = TextReader(limit=content.size)
    digest, size, is_ascii = hashlib.sha256(), 0, True
    header, in_header, has_ascii_header = b"", True, True
    for chunk in content.chunks():
        text.write_chunk(chunk, _nowhere)
        digest.update(chunk)
        size += len(chunk)
        is_ascii = is_ascii and chunk.isascii()
        if in_header:
            # What ends the header section may lie across two chunks.
            header, found, _ = (header[-3:] + chunk).partition(b"\r\n\r\n")
            has_ascii_header = has_ascii_header and header.isascii()
            in_header = not found
    text.finish(_nowhere)
    return Survey(size, digest.hexdigest(), text.stray, is_ascii, has_ascii_header)


def whole(store: Store, record: Record) -> FileContent:
    """Return the octets of an item. Raises QuarantineError where they are not those
    that were kept."""
    content = FileContent(store.octets(record.id))
    try:
        sha256 = survey(content).sha256
    except OSError as error:
        raise QuarantineError(os_text(error)) from error
    if sha256 != record.sha256:
        raise QuarantineError(f"{record.id}: its octets are not those that were kept")
    return content


def _nowhere(_: bytes) -> None:
    """Write nothing: it is only counted."""
