"""One header of a file in a zip archive, local or central (PKWARE's APPNOTE.TXT 4.3).

Reads without any trust, never raises.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace

from smtpguard.inspection.octets import little


LOCAL = b"PK\x03\x04"
CENTRAL = b"PK\x01\x02"
LOCAL_SIZE = 30
CENTRAL_SIZE = 46

SIZES_FOLLOW = 1 << 3
"""The flag of a file whose sizes are told behind it: it was written as a stream."""
STORED = 0
DEFLATED = 8
FULL = 0xFFFFFFFF
"""A size that is told elsewhere (4.5.3)."""

# Magic, version, flags, method, (time, date,) CRC, sizes, those of name and extra.
_LOCAL = struct.Struct("<4sHHH4xIIIHH")
# Magic, versions, then the same, size of the comment, disk and attributes, offset.
_CENTRAL = struct.Struct("<4s4xHH4xIIIHHH8xI")
_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
"""Encrypted; strongly; central directory masked (4.4.4)."""
_AES_METHOD = 99
_METHODS = frozenset({*range(13), 14, 16, 18, 19, 20, 93, 94, 95, 96, 97, 98, 99})
_ZIP64 = 0x0001
_UNICODE_PATH = 0x7075
_AES = 0x9901


@dataclass(frozen=True, slots=True)
class Header:
    """What one header says of a file."""

    offset: int
    """Of the local header, in the octets."""
    names: tuple[bytes | str, ...]
    flags: int
    method: int
    crc: int
    packed: int
    """Octets as they lie there."""
    size: int
    """Octets, expanded."""
    data: int = 0
    """Where the content begins; of local headers only."""
    is_encrypted: bool = False


def local_header(octets: bytes, at: int) -> Header | None:
    """Return the local header at ``at``; None where there is none that makes sense."""
    data = at + LOCAL_SIZE
    if data > len(octets):
        return None
    magic, version, *numbers, name_size, extra_size = _LOCAL.unpack_from(octets, at)
    flags, method, crc, packed, size = numbers
    name_end = data + name_size
    name, data = octets[data:name_end], name_end + extra_size
    # The version's lower octet grows by ten with PKZIP's; today it is 63 at most.
    if magic != LOCAL or version & 0xFF > 100 or method not in _METHODS:
        return None
    if not name or data > len(octets):
        return None
    encrypted = bool(flags & _ENCRYPTED) or method == _AES_METHOD
    header = Header(
        at, (name,), flags, method, crc, packed, size, data, is_encrypted=encrypted
    )
    return _with_extra(header, octets[name_end:data]) if extra_size else header


def central_header(octets: bytes, at: int, base: int) -> tuple[Header, int] | None:
    """Return the central header at ``at``, and where it ends; None if there is none.

    ``base`` is what its offset is counted from.
    """
    name_at = at + CENTRAL_SIZE
    if name_at > len(octets):
        return None
    magic, *numbers, offset = _CENTRAL.unpack_from(octets, at)
    if magic != CENTRAL:
        return None
    flags, method, crc, packed, size, name_size, extra_size, comment_size = numbers
    name_end = name_at + name_size
    extra_end = name_end + extra_size
    names = (octets[name_at:name_end],)
    encrypted = bool(flags & _ENCRYPTED) or method == _AES_METHOD
    header = Header(
        offset, names, flags, method, crc, packed, size, is_encrypted=encrypted
    )
    if extra_size:
        header = _with_extra(header, octets[name_end:extra_end])
    if base:
        header = replace(header, offset=base + header.offset)
    return header, extra_end + comment_size


def inflated(octets: bytes, local: Header, most: int) -> bytes | None:
    """Return the first octets of a file, ``most`` at most; None if unreadable.

    Reads stored and deflated ones; ``most`` packed octets at most.
    """
    if local.is_encrypted:
        return None
    packed = octets[local.data : local.data + most]
    if local.method == STORED:
        return packed[: local.size] if local.size else packed
    if local.method != DEFLATED:
        return None
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, most)
    except zlib.error:
        return None


def _with_extra(header: Header, extra: bytes) -> Header:
    """Return ``header`` with what its extra fields say in place of it or beside it."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = little(extra, at, 2), little(extra, at + 2, 2)
        field = extra[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == _ZIP64:
            header = _widened(header, field)
        elif kind == _AES:
            header = replace(header, is_encrypted=True)
        elif kind == _UNICODE_PATH and len(field) > 5:
            name = field[5:].decode("utf-8", "replace")
            if name not in header.names:
                header = replace(header, names=(*header.names, name))
    return header


def _widened(header: Header, field: bytes) -> Header:
    """Take the sizes of 8 octets where those of 4 are full (4.5.3)."""
    numbers = {"size": header.size, "packed": header.packed, "offset": header.offset}
    at = 0
    for name, number in numbers.items():
        if number == FULL and at + 8 <= len(field):
            numbers[name] = little(field, at, 8)
            at += 8
    return replace(
        header,
        size=numbers["size"],
        packed=numbers["packed"],
        offset=numbers["offset"],
    )
