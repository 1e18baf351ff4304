"""The directories of a zip archive, and its local headers (PKWARE's APPNOTE.TXT).

There can be several directories: in a comment there is room for another one, and where
it begins is said in up to four ways. Reads without any trust, never raises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smtpguard.unpacking.members import Oddity


if TYPE_CHECKING:
    from collections.abc import Iterator


LOCAL = b"PK\x03\x04"
CENTRAL = b"PK\x01\x02"
END = b"PK\x05\x06"
END_64 = b"PK\x06\x06"
LOCATOR_64 = b"PK\x06\x07"

LOCAL_SIZE = 30
CENTRAL_SIZE = 46
END_SIZE = 22
MAX_COMMENT = 0xFFFF
MAX_DIRECTORIES = 8
"""Ends of directories that are looked at, the last ones."""

SIZES_FOLLOW = 1 << 3
"""The flag of a file whose sizes are told behind it: it was written as a stream."""
_METHODS = frozenset({*range(13), 14, 16, 18, 19, 20, 93, 94, 95, 96, 97, 98, 99})
_FULL = 0xFFFFFFFF
_ZIP64 = 0x0001
_UNICODE_PATH = 0x7075


@dataclass(frozen=True, slots=True)
class Header:
    """What one header, local or central, says of a file."""

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


def ends(octets: bytes) -> list[int]:
    """Return where directories end, the last first; empty where there are none."""
    found: list[int] = []
    lowest = max(0, len(octets) - END_SIZE - MAX_COMMENT)
    at = octets.rfind(END, lowest)
    while at >= 0 and len(found) < MAX_DIRECTORIES:
        if at + END_SIZE <= len(octets):
            found.append(at)
        at = octets.rfind(END, lowest, at)
    return found


def local_header(octets: bytes, at: int) -> Header | None:
    """Return the local header at ``at``; None where there is none that makes sense."""
    fields = octets[at : at + LOCAL_SIZE]
    if len(fields) < LOCAL_SIZE or not fields.startswith(LOCAL):
        return None
    method = _number(fields, 8, 2)
    name_end = at + LOCAL_SIZE + _number(fields, 26, 2)
    data = name_end + _number(fields, 28, 2)
    name = octets[at + LOCAL_SIZE : name_end]
    # The version's lower octet grows by ten with PKZIP's; today it is 63 at most.
    if fields[4] > 100 or method not in _METHODS or not name or data > len(octets):
        return None
    header = Header(
        at,
        (name,),
        _number(fields, 6, 2),
        method,
        _number(fields, 14, 4),
        _number(fields, 18, 4),
        _number(fields, 22, 4),
        data,
    )
    return _with_extra(header, octets[name_end:data])


def directories(
    octets: bytes, most: int
) -> tuple[dict[int, list[Header]], list[Oddity]]:
    """Return the files of all directories by where their local headers are claimed."""
    found: dict[int, list[Header]] = {}
    oddities: list[Oddity] = []
    seen: set[int] = set()
    for end in ends(octets):
        if _is_inside(octets, end, found):
            continue
        for start, base in _starts(octets, end):
            if start in seen:
                continue
            is_first = not seen
            seen.add(start)
            new, damage = _directory(octets, start, base, end, most)
            is_new = _merge(found, new)
            if not is_first and is_new:
                oddities.append(Oddity("archive-disagrees", "two directories"))
            if is_first and damage:
                oddities.append(Oddity("archive-damaged", damage, unseen=True))
    return found, oddities


def end_of(octets: bytes, local: Header, central: Header) -> int:
    """Return where a file ends at least: nothing before it is a header of its own."""
    if local.flags & SIZES_FOLLOW and not local.packed:
        if central is local:
            return local.data
        return min(local.data + central.packed, len(octets))
    return min(local.data + min(local.packed, central.packed), len(octets))


def _is_inside(octets: bytes, end: int, found: dict[int, list[Header]]) -> bool:
    """Say whether an end of a directory lies in the content of a file."""
    for offset, headers in found.items():
        local = local_header(octets, offset)
        if local and local.offset < end < end_of(octets, local, headers[0]):
            return True
    return False


def _merge(found: dict[int, list[Header]], new: list[Header]) -> bool:
    """Add what is new; say whether something was."""
    known = {(one.offset, one.names) for headers in found.values() for one in headers}
    is_new = False
    for header in new:
        if (header.offset, header.names) not in known:
            known.add((header.offset, header.names))
            found.setdefault(header.offset, []).append(header)
            is_new = True
    return is_new


def _starts(octets: bytes, end: int) -> Iterator[tuple[int, int]]:
    """Yield where a directory may begin, and what its offsets are counted from."""
    size, offset = _number(octets, end + 12, 4), _number(octets, end + 16, 4)
    places = [(end - size - offset, offset)]
    locator = octets[end - 20 : end] if end >= 20 else b""
    if locator.startswith(LOCATOR_64):
        at = _number(locator, 8, 8)
        # Where something was prepended it lies further on, just before its locator.
        for place in (end - 76, at):
            if octets[place : place + 4] == END_64 and place >= 0:
                wide_size = _number(octets, place + 40, 8)
                wide_offset = _number(octets, place + 48, 8)
                base = place - wide_size - wide_offset
                places.insert(0, (base, wide_offset))
    places += [(0, offset) for _, offset in places]
    for base, offset in dict.fromkeys(places):
        start = base + offset
        if start == end or octets[start : start + 4] == CENTRAL:
            if base >= 0 and start >= 0:
                yield start, base
        elif base >= 0 and (base, offset) == places[0]:
            # Nothing there is told by whoever reads it.
            yield start, base


def _directory(
    octets: bytes, start: int, base: int, end: int, most: int
) -> tuple[list[Header], str]:
    """Return the files of one directory, and what is wrong with it."""
    found: list[Header] = []
    at = start
    while octets[at : at + 4] == CENTRAL and at + CENTRAL_SIZE <= len(octets):
        if len(found) >= most:
            return found, ""
        fields = octets[at : at + CENTRAL_SIZE]
        name_end = at + CENTRAL_SIZE + _number(fields, 28, 2)
        extra_end = name_end + _number(fields, 30, 2)
        header = Header(
            _number(fields, 42, 4),
            (octets[at + CENTRAL_SIZE : name_end],),
            _number(fields, 8, 2),
            _number(fields, 10, 2),
            _number(fields, 16, 4),
            _number(fields, 20, 4),
            _number(fields, 24, 4),
        )
        header = _with_extra(header, octets[name_end:extra_end])
        found.append(replace(header, offset=base + header.offset))
        at = extra_end + _number(fields, 32, 2)
    claimed = _number(octets, end + 10, 2)
    # Of more than 65,535 files only the number's end is there.
    if len(found) & 0xFFFF != claimed and claimed != 0xFFFF:
        return found, f"directory of {claimed} files has {len(found)}"
    return found, ""


def _with_extra(header: Header, extra: bytes) -> Header:
    """Return ``header`` with what its extra fields say in place of it or beside it."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = _number(extra, at, 2), _number(extra, at + 2, 2)
        field = extra[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == _ZIP64:
            header = _widened(header, field)
        elif kind == _UNICODE_PATH and len(field) > 5:
            name = field[5:].decode("utf-8", "replace")
            header = replace(header, names=(*header.names, name))
    return header


def _widened(header: Header, field: bytes) -> Header:
    """Take the sizes of 8 octets where those of 4 are full (APPNOTE 4.5.3)."""
    numbers = {
        "size": header.size,
        "packed": header.packed,
        "offset": header.offset,
    }
    at = 0
    for name, number in numbers.items():
        if number == _FULL and at + 8 <= len(field):
            numbers[name] = _number(field, at, 8)
            at += 8
    return replace(
        header,
        size=numbers["size"],
        packed=numbers["packed"],
        offset=numbers["offset"],
    )


def _number(octets: bytes, at: int, size: int) -> int:
    return int.from_bytes(octets[at : at + size], "little")
