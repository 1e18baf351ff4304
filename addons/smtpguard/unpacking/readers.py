"""Who reads which archive: our own readers, libarchive or Python's library."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.inspection.arjreader import arj_members
from smtpguard.inspection.containers import Container, Way, is_streamable
from smtpguard.inspection.members import (
    Member,
    Oddity,
    expanded_names,
)
from smtpguard.inspection.tnefreader import tnef_members
from smtpguard.unpacking import libarchivereader, standardreader
from smtpguard.unpacking.zipreader import zip_members


if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType


def members(
    octets: bytes, container: Container, names: tuple[str, ...], most: int
) -> Iterator[Member | Oddity]:
    """Yield what one archive in ``octets`` holds, never raises.

    ``names`` are those of the octets, from which what a compressed file holds takes
    its own; ``most`` as in ``zip_members``. Each member's content is to be read before
    the next member is asked for, or never.
    """
    match container.way:
        case Way.ZIP:
            yield from zip_members(octets, most)
        case Way.ARJ:
            yield from arj_members(octets, container.start)
        case Way.COMPRESSED:
            yield from _expanded(octets, container.name, names)
        case Way.TNEF:
            yield from tnef_members(octets)
        case Way.OPAQUE:
            yield _unread(container.name)
        case Way.LIBARCHIVE | Way.ISO:
            reader = (
                libarchivereader if libarchivereader.available() else standardreader
            )
            yield from reader.archive_members(octets, container.start)


def _expanded(
    octets: bytes, compression: str, names: tuple[str, ...]
) -> Iterator[Member | Oddity]:
    """Yield the members of a compressed tar or cpio, or what another file holds."""
    reader: ModuleType
    if libarchivereader.is_builtin(compression):
        reader = libarchivereader
    elif standardreader.is_builtin(compression):
        reader = standardreader
    else:
        yield _unread(compression)
        return
    if is_streamable(reader.head(octets, compression)):
        yield from reader.compressed_members(octets, compression)
        return
    for one in reader.expanded(octets, compression):
        if isinstance(one, Member):
            yield replace(one, names=expanded_names(one.names, names))
        else:
            yield one


def _unread(name: str) -> Oddity:
    return Oddity("not-inspectable", name, unseen=True, malformed=False)
