"""Zip archives: the headers of their entries, wherever a reader could find them.

Readers disagree: some walk from one local header to the next, some begin with the
central directory, and the two can be made to differ (attack M10). Both are read, each
header once; what is inflated is at most ``MAX_INFLATED`` octets of one entry.
APPNOTE.TXT 6.3.10 is the format.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.inspection.octets import little


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.inspection.octets import Octets


MAX_HEADERS = 40_000
"""Headers that are read, of an entry its own and that of the directory: more than twice
the files that are looked into at most, 0.2 s."""
MAX_INFLATED = 1024 * 1024
"""Octets of an entry that are read to learn what kind of document it belongs to."""
END_WINDOW = 22 + 65535
"""Octets at the end in which the end record may stand (4.3.16): itself, a comment."""
_MAX_ENDS = 4
"""End records that are tried, the last first."""

_LOCAL = b"PK\x03\x04"
_CENTRAL = b"PK\x01\x02"
_END = b"PK\x05\x06"
_END64 = b"PK\x06\x06"
_HEADER = re.compile(rb"PK(?:\x03\x04|\x01\x02)")
_LOCAL_OCTETS = 30
_CENTRAL_OCTETS = 46

_ENCRYPTED_BITS = 0x0001 | 0x0040 | 0x2000
"""Encrypted; strongly; central directory masked (4.4.4)."""
_SIZES_FOLLOW = 0x0008
_AES_METHOD = 99
_AES_EXTRA = re.compile(rb"\x01\x99\x07\x00..AE", re.DOTALL)
_STORED = 0
_DEFLATED = 8


@dataclass(frozen=True, slots=True)
class Header:
    """One header of an entry."""

    name: bytes
    """Lower case, ``/`` between folders, none in front."""
    is_encrypted: bool
    method: int
    size: int
    """Packed octets, as claimed."""
    data: int | None
    """Where the packed octets begin; None in the central directory."""


def has_end(octets: Octets) -> bool:
    """Whether a zip archive ends where ``octets`` do, whatever they begin with."""
    return next(_directories(octets, []), None) is not None


def headers(octets: Octets) -> Iterator[Header | None]:
    """Yield the headers of all entries; None last where some are left out."""
    for count, header in enumerate(_each_once(octets)):
        if count >= MAX_HEADERS:
            yield None
            return
        if header is not None:
            yield header


def content(octets: Octets, header: Header) -> bytes | None:
    """Return the first ``MAX_INFLATED`` octets of an entry; None if unreadable."""
    if header.data is None or header.is_encrypted:
        return None
    packed = octets[header.data : header.data + MAX_INFLATED]
    if header.method == _STORED:
        return packed[: header.size] if header.size else packed
    if header.method != _DEFLATED:
        return None
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MAX_INFLATED)
    except zlib.error:
        return None


def _each_once(octets: Octets) -> Iterator[Header | None]:
    """Yield each header, None in place of one that was found before."""
    seen: set[int] = set()
    if octets[:2] == b"PK":
        yield from _walk(octets, 0, seen)
    contents: list[tuple[int, int]] = []
    for start, base in _directories(octets, contents):
        at = start
        while octets[at : at + 4] == _CENTRAL:
            yield None if at in seen else _central(octets, at)
            seen.add(at)
            place = base + little(octets, at + 42, 4)
            if octets[place : place + 4] == _LOCAL:
                local = _local(octets, place)
                assert local.data is not None
                contents.append((local.data, local.data + little(octets, at + 20, 4)))
                if place not in seen:
                    seen.add(place)
                    yield local
            at += _central_length(octets, at)


def _walk(octets: Octets, at: int, seen: set[int]) -> Iterator[Header]:
    """Yield headers one after the other, as a reader of a stream finds them."""
    while found := _HEADER.search(octets, at):
        at = found.start()
        seen.add(at)
        if found[0] == _CENTRAL:
            yield _central(octets, at)
            at += _central_length(octets, at)
            continue
        header = _local(octets, at)
        yield header
        assert header.data is not None
        at = header.data
        # A size that does not fit is no size.
        if not little(octets, found.start() + 6, 2) & _SIZES_FOLLOW:
            end = header.data + header.size
            at = end if end <= len(octets) else at


def _directories(
    octets: Octets, contents: list[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Yield where central directories begin, and what their offsets count from.

    Not those of archives in the archive: ``contents`` is where the entries lie of the
    directories that were yielded before.
    """
    lowest = max(0, len(octets) - END_WINDOW)
    at = len(octets)
    for _ in range(_MAX_ENDS):
        at = octets.rfind(_END, lowest, at)
        if at < 0:
            return
        if any(start <= at < stop for start, stop in contents):
            continue
        size, offset, end = little(octets, at + 12, 4), little(octets, at + 16, 4), at
        if 0xFFFFFFFF in (size, offset):
            end = octets.rfind(_END64, max(0, at - 1024), at)
            if end < 0:
                continue
            size, offset = little(octets, end + 40, 8), little(octets, end + 48, 8)
        # Counted from the end, and as it is written: readers do one or the other.
        for start, base in ((end - size, end - size - offset), (offset, 0)):
            if 0 <= start < end and octets[start : start + 4] == _CENTRAL:
                yield start, max(0, base)


def _local(octets: Octets, at: int) -> Header:
    name_size, extra_size = little(octets, at + 26, 2), little(octets, at + 28, 2)
    name = at + _LOCAL_OCTETS
    data = name + name_size + extra_size
    return _header(
        octets,
        (little(octets, at + 6, 2), little(octets, at + 8, 2)),
        little(octets, at + 18, 4),
        (name, name + name_size, data),
        data,
    )


def _central(octets: Octets, at: int) -> Header:
    name_size, extra_size = little(octets, at + 28, 2), little(octets, at + 30, 2)
    name = at + _CENTRAL_OCTETS
    return _header(
        octets,
        (little(octets, at + 8, 2), little(octets, at + 10, 2)),
        little(octets, at + 20, 4),
        (name, name + name_size, name + name_size + extra_size),
        None,
    )


def _central_length(octets: Octets, at: int) -> int:
    sizes = (little(octets, at + field, 2) for field in (28, 30, 32))
    return _CENTRAL_OCTETS + sum(sizes)


def _header(
    octets: Octets,
    flags_and_method: tuple[int, int],
    size: int,
    bounds: tuple[int, int, int],
    data: int | None,
) -> Header:
    flags, method = flags_and_method
    name_start, name_end, extra_end = bounds
    name = octets[name_start:name_end].lower().replace(b"\\", b"/").lstrip(b"/")
    encrypted = (
        bool(flags & _ENCRYPTED_BITS)
        or method == _AES_METHOD
        or _AES_EXTRA.search(octets[name_end:extra_end]) is not None
    )
    return Header(name, encrypted, method, size, data)
