"""What the files of a zip archive hold (PKWARE's APPNOTE.TXT; attack M10).

``inspection.zipdirectory`` lists them in all readings; where directory and local header
do not say the same of a file, both names are its names and this is an oddity
``archive-disagrees``. Never raises; each file's content is expanded only when it is
asked for.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.inspection.members import Member, Oddity, UnreadableError
from smtpguard.inspection.zipdirectory import Listed, listed
from smtpguard.inspection.zipheader import (
    DEFLATED,
    FULL,
    LOCAL,
    SIZES_FOLLOW,
    STORED,
    Header,
)
from smtpguard.unpacking import libarchivereader


if TYPE_CHECKING:
    from collections.abc import Iterator


_MASKED = 1 << 13
_BY_LIBARCHIVE = frozenset({12, 14, 93, 95, 98})
"""bzip2, LZMA, zstd, xz, PPMd."""
_EMPTY = 32
"""Octets that nothing takes at most, packed by any method."""
_STEP = 1 << 14
_MAX_STEP_OUT = 1 << 20


def zip_members(octets: bytes, most: int) -> Iterator[Member | Oddity]:
    """Yield every file that any reading of a zip archive has.

    ``most`` is what ``listed`` takes.
    """
    for one in listed(octets, most):
        if isinstance(one, Oddity):
            yield one
        else:
            yield from _members(octets, one)


def _members(octets: bytes, one: Listed) -> Iterator[Member | Oddity]:
    """Yield a file as all of its headers have it, and what they disagree about."""
    central, local = one.central, one.local
    if local is None:
        assert central is not None
        yield Oddity("archive-damaged", "no local header", unseen=True)
        yield Member(central.names, central.size)
        return
    if central is None:
        if not _is_folder(local):
            yield _member(octets, local, local)
        return
    if differing := _differing(central, local):
        yield Oddity("archive-disagrees", f"directory and header: {differing}")
    names = tuple(dict.fromkeys((*central.names, *local.names)))
    if not _is_folder(central) or not _is_folder(local):
        yield _member(octets, replace(central, names=names), local)


def _differing(central: Header, local: Header) -> str:
    """Return what the two say differently, of what each of them says."""
    found = []
    if not set(central.names) & set(local.names):
        found.append("name")
    if central.method != local.method and not local.is_encrypted:
        found.append("method")
    if central.is_encrypted != local.is_encrypted:
        found.append("encryption")
    is_silent = local.flags & SIZES_FOLLOW and not local.packed and not local.size
    is_masked = (central.flags | local.flags) & _MASKED
    if not is_silent and not is_masked:
        if (central.packed, central.size) != (local.packed, local.size):
            found.append("size")
        elif central.crc != local.crc and not local.flags & SIZES_FOLLOW:
            found.append("crc")
    return ", ".join(found)


def _is_folder(header: Header) -> bool:
    return not header.size and all(name[-1:] in (b"/", "/") for name in header.names)


def _member(octets: bytes, header: Header, local: Header) -> Member:
    if header.is_encrypted or local.is_encrypted:
        return Member(header.names, header.size, encrypted=True)
    return Member(header.names, header.size, _content(octets, header, local))


def _content(octets: bytes, header: Header, local: Header) -> Iterator[bytes]:
    """Yield what the file holds; of two sizes the larger."""
    sizes = (header.packed, local.packed)
    packed = max(size if size != FULL else 0 for size in sizes)
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
    if method == DEFLATED:
        # A stream that says itself where it ends: no size is asked.
        yield from _inflated(octets, local.data)
        return
    is_cut = local.data + packed > len(octets)
    data = octets[local.data : local.data + packed]
    if method == STORED:
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
        (min(header.size, FULL - 1), 4),
        (1, 2),  # octets of the name
        (0, 2),
    )
    fields = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    return LOCAL + fields + b"x" + data
