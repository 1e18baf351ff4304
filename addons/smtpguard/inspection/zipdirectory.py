"""The headers of the files in a zip archive, wherever a reader could find them.

A zip archive says twice what it holds: in its central directory, which most programs
read, and in a local header before each file, which programs read that take it as a
stream or repair it. There can be several directories, for in a comment there is room
for another one, and where one begins is said in up to four ways (PKWARE's APPNOTE.TXT
4.3; attack M10). All of them are read; where they do not say the same is an oddity
``archive-disagrees``. Never raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.inspection.members import Oddity
from smtpguard.inspection.octets import little
from smtpguard.inspection.zipheader import (
    CENTRAL,
    LOCAL,
    SIZES_FOLLOW,
    Header,
    central_header,
    local_header,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


END = b"PK\x05\x06"
END_64 = b"PK\x06\x06"
LOCATOR_64 = b"PK\x06\x07"
SPLIT_STARTS = (b"PK00PK\x03\x04", b"PK\x07\x08PK\x03\x04")
"""What one part of a split archive begins with."""

END_SIZE = 22
MAX_COMMENT = 0xFFFF
MAX_DIRECTORIES = 8
"""Ends of directories that are looked at, the last ones."""
MAX_FALSE_HEADERS = 50_000
"""Octets that look like a local header and are none, until no more are looked for."""

_STARTS = (LOCAL, END, *SPLIT_STARTS)


@dataclass(frozen=True, slots=True)
class Listed:
    """What the headers of one file say; one of them is always there."""

    central: Header | None
    local: Header | None


def begins_as_zip(octets: bytes) -> bool:
    """Say whether a zip archive begins here, as programs write it."""
    return octets.startswith(_STARTS)


def has_end(octets: bytes, *, exactly: bool = False) -> bool:
    """Say whether a zip archive ends where ``octets`` do, whatever they begin with.

    ``exactly`` wants its comment to end there, too.
    """
    for end in ends(octets):
        if exactly and end + END_SIZE + little(octets, end + 20, 2) != len(octets):
            continue
        if any(octets[at : at + 4] == CENTRAL for at, _ in _starts(octets, end)):
            return True
    return False


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


def listed(octets: bytes, most: int) -> Iterator[Listed | Oddity]:
    """Yield every file that any reading of a zip archive has, each once.

    Looks at ``most`` files of the directories and of the local headers each and at one
    more, so that whoever counts sees that there are too many.
    """
    central, oddities = directories(octets, most + 1)
    yield from oddities
    local = {
        offset: header
        for offset in central
        if (header := local_header(octets, offset)) is not None
    }
    if local and (first := min(local)) > 0 and not begins_as_zip(octets):
        yield Oddity("archive-prepended", f"{first} octets", malformed=False)
    for offset, headers in central.items():
        for header in headers:
            yield Listed(header, local.get(offset))
    if sum(map(len, central.values())) <= most:
        yield from _strays(octets, central, local, most + 1)


def directories(
    octets: bytes, most: int
) -> tuple[dict[int, list[Header]], list[Oddity]]:
    """Return the files of all directories by where their local headers are claimed.

    ``most`` of one directory, four times as many of all.
    """
    found: dict[int, list[Header]] = {}
    oddities: list[Oddity] = []
    seen: set[int] = set()
    left = 4 * most
    for end in ends(octets):
        if _is_inside(octets, end, found):
            continue
        for start, base in _starts(octets, end):
            if start in seen:
                continue
            if left <= 0:
                oddities.append(Oddity("limit-headers", unseen=True, malformed=False))
                return found, oddities
            is_first = not seen
            seen.add(start)
            new, damage = _directory(octets, start, base, end, most)
            left -= len(new)
            is_new = _merge(found, new)
            if not is_first and is_new:
                oddities.append(Oddity("archive-disagrees", "two directories"))
            if is_first and damage:
                oddities.append(Oddity("archive-damaged", damage, unseen=True))
    return found, oddities


def _is_inside(octets: bytes, end: int, found: dict[int, list[Header]]) -> bool:
    """Say whether an end of a directory lies in the content of a file."""
    for offset, headers in found.items():
        local = local_header(octets, offset)
        if local and local.offset < end < _end_of(octets, local, headers[0]):
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
    size, offset = little(octets, end + 12, 4), little(octets, end + 16, 4)
    places = [(end - size - offset, offset)]
    locator = octets[end - 20 : end] if end >= 20 else b""
    if locator.startswith(LOCATOR_64):
        at = little(locator, 8, 8)
        # Where something was prepended it lies further on, just before its locator.
        for place in (end - 76, at):
            if place >= 0 and octets[place : place + 4] == END_64:
                wide_size = little(octets, place + 40, 8)
                wide_offset = little(octets, place + 48, 8)
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
    while (header := central_header(octets, at, base)) is not None:
        if len(found) >= most:
            return found, ""
        found.append(header[0])
        at = header[1]
    claimed = little(octets, end + 10, 2)
    # Of more than 65,535 files only the number's end is there.
    if len(found) & 0xFFFF != claimed and claimed != 0xFFFF:
        return found, f"directory of {claimed} files has {len(found)}"
    return found, ""


def _strays(
    octets: bytes,
    central: dict[int, list[Header]],
    local: dict[int, Header],
    most: int,
) -> Iterator[Listed | Oddity]:
    """Yield the files whose local headers no directory knows."""
    at = octets.find(LOCAL)
    covered = found = false = 0
    while at >= 0:
        header = local.get(at) or local_header(octets, at)
        if header is None:
            false += 1
        elif at in central:
            covered = max(covered, _end_of(octets, header, central[at][0]))
        elif at >= covered:
            found += 1
            covered = _end_of(octets, header, header)
            if central:
                yield Oddity("archive-disagrees", "a file in no directory")
            yield Listed(None, header)
        if found >= most or false >= MAX_FALSE_HEADERS:
            yield Oddity("limit-headers", unseen=True, malformed=False)
            return
        at = octets.find(LOCAL, max(at + 1, covered))
    if found and not central:
        yield Oddity("archive-damaged", "no directory", unseen=True)


def _end_of(octets: bytes, local: Header, central: Header) -> int:
    """Return where a file ends at least: nothing before it is a header of its own.

    A size that does not fit is no size.
    """
    sizes = [central.packed]
    if not (local.flags & SIZES_FOLLOW and not local.packed):
        sizes.append(local.packed)
    ends_there = local.data + min(sizes)
    return ends_there if ends_there <= len(octets) else local.data
