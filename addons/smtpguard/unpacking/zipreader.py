"""Zip archives in every reading (PKWARE's APPNOTE.TXT; attack M10).

A zip archive says twice what it holds: in its central directory, which most programs
read, and in a local header before each file, which programs read that take it as a
stream or repair it. There can be several directories and something before the first
header. All of them are read; where they do not say the same is an oddity
``archive-disagrees``. Never raises; each file's content is expanded only when it is
asked for.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.unpacking import libarchivereader
from smtpguard.unpacking.members import Member, Oddity, UnreadableError
from smtpguard.unpacking.zipdirectory import (
    LOCAL,
    SIZES_FOLLOW,
    Header,
    directories,
    end_of,
    local_header,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


MAX_FALSE_HEADERS = 50_000
"""Octets that look like a local header and are none, until no more are looked for."""

_ENCRYPTED = 1
_MASKED = 1 << 13
_STORED = 0
_DEFLATED = 8
_BY_LIBARCHIVE = frozenset({12, 14, 93, 95, 98})
"""bzip2, LZMA, zstd, xz, PPMd."""
_FULL = 0xFFFFFFFF
_EMPTY = 32
"""Octets that nothing takes at most, packed by any method."""
_STEP = 1 << 14
_MAX_STEP_OUT = 1 << 20


def zip_members(octets: bytes, most: int) -> Iterator[Member | Oddity]:
    """Yield every file that any reading of a zip archive has.

    Looks at ``most`` files of the directories and local headers each and at one more,
    so that whoever counts sees that there are too many.
    """
    central, oddities = directories(octets, most + 1)
    yield from oddities
    local = {
        offset: header
        for offset in central
        if (header := local_header(octets, offset)) is not None
    }
    if local and (first := min(local)) > 0:
        yield Oddity("archive-prepended", f"{first} octets", malformed=False)
    for offset, headers in central.items():
        for header in headers:
            yield from _listed(octets, header, local.get(offset))
    if sum(map(len, central.values())) <= most:
        yield from _strays(octets, central, local, most + 1)


def _listed(
    octets: bytes, header: Header, local: Header | None
) -> Iterator[Member | Oddity]:
    """Yield a file of the directory, as its local header has it, too."""
    if local is None:
        yield Oddity("archive-damaged", "no local header", unseen=True)
        yield Member(header.names, header.size)
        return
    if differing := _differing(header, local):
        yield Oddity("archive-disagrees", f"directory and header: {differing}")
    names = tuple(dict.fromkeys((*header.names, *local.names)))
    if not _is_folder(header) or not _is_folder(local):
        yield _member(octets, replace(header, names=names), local)


def _differing(central: Header, local: Header) -> str:
    """Return what the two say differently, of what each of them says."""
    found = []
    if not set(central.names) & set(local.names):
        found.append("name")
    if central.method != local.method and local.flags & (_ENCRYPTED | _MASKED) == 0:
        found.append("method")
    if (central.flags ^ local.flags) & _ENCRYPTED:
        found.append("encryption")
    is_silent = local.flags & SIZES_FOLLOW and not local.packed and not local.size
    is_masked = (central.flags | local.flags) & _MASKED
    if not is_silent and not is_masked:
        if (central.packed, central.size) != (local.packed, local.size):
            found.append("size")
        elif central.crc != local.crc and not local.flags & SIZES_FOLLOW:
            found.append("crc")
    return ", ".join(found)


def _strays(
    octets: bytes,
    central: dict[int, list[Header]],
    local: dict[int, Header],
    most: int,
) -> Iterator[Member | Oddity]:
    """Yield the files whose local headers no directory knows."""
    at = octets.find(LOCAL)
    covered = found = false = 0
    while at >= 0:
        header = local.get(at) or local_header(octets, at)
        if header is None:
            false += 1
        elif at in central:
            covered = max(covered, end_of(octets, header, central[at][0]))
        elif at >= covered:
            found += 1
            covered = end_of(octets, header, header)
            if central:
                yield Oddity("archive-disagrees", "a file in no directory")
            if not _is_folder(header):
                yield _member(octets, header, header)
        if found >= most or false >= MAX_FALSE_HEADERS:
            yield Oddity("limit-headers", unseen=True, malformed=False)
            return
        at = octets.find(LOCAL, max(at + 1, covered))
    if found and not central:
        yield Oddity("archive-damaged", "no directory", unseen=True)


def _is_folder(header: Header) -> bool:
    return not header.size and all(name[-1:] in (b"/", "/") for name in header.names)


def _member(octets: bytes, header: Header, local: Header) -> Member:
    if (header.flags | local.flags) & (_ENCRYPTED | _MASKED) or 99 in (
        header.method,
        local.method,
    ):
        return Member(header.names, header.size, encrypted=True)
    return Member(header.names, header.size, _content(octets, header, local))


def _content(octets: bytes, header: Header, local: Header) -> Iterator[bytes]:
    """Yield what the file holds; of two sizes the larger."""
    sizes = (header.packed, local.packed)
    packed = max(size if size != _FULL else 0 for size in sizes)
    crc = size = 0
    for chunk in _expanded(octets, header, local, packed):
        yield chunk
        size += len(chunk)
        crc = zlib.crc32(chunk, crc)
    is_stray = header is local and header.flags & SIZES_FOLLOW
    if not is_stray and (crc, size) != (header.crc, header.size):
        raise UnreadableError("archive-damaged", "content is not what was promised")


def _expanded(
    octets: bytes, header: Header, local: Header, packed: int
) -> Iterator[bytes]:
    method = header.method
    if method == _DEFLATED:
        # A stream that says itself where it ends: no size is asked.
        yield from _inflated(octets, local.data)
        return
    is_cut = local.data + packed > len(octets)
    data = octets[local.data : local.data + packed]
    if method == _STORED:
        yield data
    elif method in _BY_LIBARCHIVE and packed <= _EMPTY and not header.size:
        # An empty file, at which libarchive fails.
        return
    elif method in _BY_LIBARCHIVE:
        yield from libarchivereader.expanded_by_zip(_alone(data, header))
    else:
        raise UnreadableError("not-inspectable", f"zip method {method}")
    if is_cut:
        raise UnreadableError("archive-damaged", "content is cut")


def _inflated(octets: bytes, start: int) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    view = memoryview(octets)
    position = start
    rest: memoryview | bytes = b""
    while not inflater.eof:
        if not rest:
            rest = view[position : position + _STEP]
            position += _STEP
            if not rest:
                raise UnreadableError("archive-damaged", "content is cut")
        try:
            chunk = inflater.decompress(rest, _MAX_STEP_OUT)
        except zlib.error as error:
            raise UnreadableError("archive-damaged", str(error)) from None
        rest = inflater.unconsumed_tail
        if chunk:
            yield chunk


def _alone(data: bytes, header: Header) -> bytes:
    """Return an archive of this one file, so that libarchive expands it."""
    numbers = (
        (63, 2),  # version
        (0, 2),  # flags
        (header.method, 2),
        (0, 4),  # time and date
        (header.crc, 4),
        (len(data), 4),
        (min(header.size, _FULL - 1), 4),
        (1, 2),  # octets of the name
        (0, 2),
    )
    fields = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    return LOCAL + fields + b"x" + data
