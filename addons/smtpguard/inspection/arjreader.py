"""ARJ archives: their headers, and what is stored without compression.

libarchive cannot read them. The layout is that of ARJ's own TECHNOTE: a main header,
then one header for each file; each is 60 EA, its length, fields, name, comment, CRC.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from smtpguard.inspection.members import Member, Oddity, UnreadableError
from smtpguard.inspection.octets import little


if TYPE_CHECKING:
    from collections.abc import Iterator


MAGIC = b"\x60\xea"
_MAX_HEADER = 2600
_GARBLED = 1
_STORED = 0
_NOT_FILES = {2, 3, 4, 5}
"""Comment header, folder, volume label, chapter label."""


def is_arj(octets: bytes, start: int = 0) -> bool:
    """Say whether an ARJ header with the right CRC begins at ``start``."""
    return _fields(octets, start) is not None


def arj_members(octets: bytes, start: int = 0) -> Iterator[Member | Oddity]:
    """Yield what the archive that begins at ``start`` lists; never raises."""
    position = start
    is_main = True
    while True:
        header = _header(octets, position)
        if header is None:
            yield Oddity("archive-damaged", "arj header", unseen=True)
            return
        fields, position = header
        if not fields:
            return
        if is_main:
            is_main = False
            continue
        packed = little(fields, 12, 4)
        if fields[6] not in _NOT_FILES:
            yield _member(octets, fields, position, packed)
        position += packed


def _header(octets: bytes, position: int) -> tuple[bytes, int] | None:
    """Return the fields at ``position`` and where what they are about begins.

    No fields end the archive. None where there is no header, or a damaged one.
    """
    if octets[position : position + 4] == MAGIC + b"\0\0":
        return b"", position + 4
    fields = _fields(octets, position)
    if fields is None:
        return None
    position += 4 + len(fields) + 4
    while (size := little(octets, position, 2)) != 0:
        position += 2 + size + 4
    return fields, position + 2


def _fields(octets: bytes, position: int) -> bytes | None:
    """Return the fields of a header with the right CRC."""
    if octets[position : position + 2] != MAGIC:
        return None
    size = little(octets, position + 2, 2)
    # The first octet says how long the fixed fields are.
    if not 30 <= size <= _MAX_HEADER:
        return None
    fields = octets[position + 4 : position + 4 + size]
    if len(fields) < size or not 30 <= fields[0] < size:
        return None
    crc = octets[position + 4 + size : position + 8 + size]
    return fields if crc == zlib.crc32(fields).to_bytes(4, "little") else None


def _member(octets: bytes, fields: bytes, position: int, packed: int) -> Member:
    name = fields[fields[0] :].partition(b"\0")[0]
    size = little(fields, 16, 4)
    if fields[4] & _GARBLED:
        return Member((name,), size, encrypted=True)
    chunks = _content(octets[position : position + packed], fields, packed)
    return Member((name,), size, chunks)


def _content(data: bytes, fields: bytes, packed: int) -> Iterator[bytes]:
    if fields[5] != _STORED:
        raise UnreadableError("not-inspectable", f"arj method {fields[5]}")
    yield data
    crc = little(fields, 20, 4)
    if len(data) < packed or zlib.crc32(data) != crc:
        raise UnreadableError("archive-damaged", "arj content")
