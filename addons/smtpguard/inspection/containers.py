"""Which archives begin in some octets, and where: by signature alone.

Octets can be several archives at once, or a picture with one behind it: programs look
for zip from the end, for rar, 7z and cab behind whatever comes first. An archive that
lies in another one, or in a document, as it is, is not an archive that the outer one
is: it is ``inlaid``.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.inspection import arjreader, tnefreader
from smtpguard.inspection.rar import is_rar
from smtpguard.inspection.sevenzip import is_seven_zip
from smtpguard.inspection.signatures import ARJ, CAB, RAR, SEVEN_ZIP
from smtpguard.inspection.zipdirectory import begins_as_zip, has_end
from smtpguard.inspection.zipheader import LOCAL, local_header


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SEARCHED = 4 << 20
"""Octets in which archives are looked for that begin later, as 7-Zip and WinRAR do."""

_COMPRESSED = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"\x1f\x9d", "compress"),
    (b"\x89LZO\0\r\n\x1a\n", "lzop"),
    (b"\xed\xab\xee\xdb", "rpm"),
)
_COMPRESSED_SIGNS = tuple(magic for magic, _ in _COMPRESSED)
_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")
_ZSTD_SKIPPED = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_LZMA = re.compile(rb"[\x00-\xe0]\0[\0-\xff]{3}(?:\xff{8}|.{4}\0{4})\0", re.DOTALL)
_LIBARCHIVE = re.compile(
    rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|MSCF\0\0\0\0|!<arch>\n|xar!"
    rb"|.{2}-(?:lh.|lz.|pm.)-",
    re.DOTALL,
)
_CPIO = re.compile(rb"\xc7\x71|\x71\xc7|07070[127]")
# What holds files as they are: ar, OLE, PDF, TNEF.
_HOLDER = re.compile(
    rb"!<arch>\n|\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1|%PDF-|"
    + re.escape(tnefreader.SIGNATURE)
)
MAX_FALSE = 100_000
"""Octets that look like the beginning of an archive and are none, of one kind."""
_ISO_AT = 16 * 2048
_ISO_SECTORS = 32
_TAR_BLOCK = 512
_OPAQUE = (
    (0, b"ITSF\x03\0\0\0", "chm"),
    (0, b"SZDD\x88\xf0\x27\x33", "szdd"),
    (0, b"KWAJ\x88\xf0\x27\xd1", "kwaj"),
    (7, b"**ACE**", "ace"),
    (20, b"\xdc\xa7\xc4\xfd", "zoo"),
    (0, b"SIT!", "stuffit"),
    (0, b"StuffIt ", "stuffit"),
    (0, b"MSWIM\0\0\0", "wim"),
    (0, b"conectix", "vhd"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"hsqs", "squashfs"),
    (0, b"QFI\xfb", "qcow"),
    (0, b"KDMV", "vmdk"),
    (0, b"ISc(", "installshield"),
    (0, b"ALZ\x01", "alz"),
    (0, b"EGGA\0\x01", "egg"),
    (4, b"\x12\x3a\x00\x10\x19\x04\x00\x10", "sis"),
    (8, b"\x19\x04\x00\x10", "sis"),
)
"""Where, what, and the name: archives that nobody here can open."""


class Way(enum.Enum):
    """Who reads an archive."""

    ZIP = enum.auto()
    ARJ = enum.auto()
    TNEF = enum.auto()
    LIBARCHIVE = enum.auto()
    ISO = enum.auto()
    COMPRESSED = enum.auto()
    OPAQUE = enum.auto()


@dataclass(frozen=True, slots=True)
class Container:
    """An archive, and who reads it."""

    way: Way
    start: int = 0
    name: str = ""
    """The compression, the kind of what is opaque, the type of what begins later."""
    inlaid: bool = False
    """It may be no more than a file that another archive or a document holds as it is,
    perhaps in pieces; that it is damaged says nothing."""


def containers(octets: bytes) -> tuple[Container, ...]:
    """Return every archive that begins in ``octets``."""
    found = [*_at_start(octets)]
    is_zip = begins_as_zip(octets)
    inlaid = bool(found) or _is_holder(octets)
    # What an archive holds as it is comes again when its members are looked into.
    found += _behind(octets, inlaid=inlaid or is_zip)
    if is_zip or has_end(octets, exactly=inlaid):
        found.append(Container(Way.ZIP))
    elif has_end(octets) or (not found and _has_local_header(octets)):
        found.append(Container(Way.ZIP, inlaid=inlaid))
    return tuple(found)


def is_streamable(head: bytes) -> bool:
    """Say whether a tar or cpio archive begins here, which are read as they come."""
    return is_tar(head) or _CPIO.match(head) is not None


def _is_holder(octets: bytes) -> bool:
    """Say whether what begins here holds files as they are, archives among them."""
    return (
        _HOLDER.match(octets) is not None
        or is_streamable(octets)
        or bool(volume_descriptors(octets))
    )


def _at_start(octets: bytes) -> Iterator[Container]:
    if filter_name := _compression(octets):
        yield Container(Way.COMPRESSED, name=filter_name)
    elif arjreader.is_arj(octets):
        yield Container(Way.ARJ)
    elif octets.startswith(tnefreader.SIGNATURE):
        yield Container(Way.TNEF)
    elif _LIBARCHIVE.match(octets) or is_streamable(octets):
        yield Container(Way.LIBARCHIVE)
    else:
        for at, magic, name in _OPAQUE:
            if octets.startswith(magic, at):
                yield Container(Way.OPAQUE, name=name)
                break
    # Its first 32 KiB are free for whatever else it should look like.
    descriptors = volume_descriptors(octets)
    if any(b"CD001" in one for one in descriptors):
        yield Container(Way.ISO)
    if any(one[1:4] == b"NSR" for one in descriptors):
        yield Container(Way.OPAQUE, name="udf")
    if octets[-512:].startswith((b"koly", b"conectix")) and not octets.startswith(
        b"conectix"
    ):
        yield Container(Way.OPAQUE, name="disk image")


def volume_descriptors(octets: bytes) -> list[bytes]:
    """Return the beginnings of the descriptors of a CD image (ECMA-119 8, ECMA-167)."""
    found = []
    for sector in range(_ISO_SECTORS):
        at = _ISO_AT + sector * 2048
        descriptor = octets[at : at + 128]
        if descriptor[1:6] not in {b"CD001", b"BEA01", b"NSR02", b"NSR03", b"TEA01"}:
            break
        found.append(descriptor)
    return found


def _compression(octets: bytes) -> str:
    for magic, name in _COMPRESSED if octets.startswith(_COMPRESSED_SIGNS) else ():
        if octets.startswith(magic) and (name != "bzip2" or _BZIP2.match(octets)):
            return name
    if _ZSTD_SKIPPED.match(octets):
        return "zstd"
    # No magic: the dictionary's size is a power of two or half as much again.
    if len(octets) > 13 and octets[0] == 0x5D and _LZMA.match(octets):
        size = int.from_bytes(octets[1:5], "little")
        if size.bit_count() <= 2 and size >= 1 << 12:
            return "lzma"
    return ""


def is_tar(octets: bytes) -> bool:
    """Say whether a tar header with the right sum begins, which old ones have alone."""
    block = octets[:_TAR_BLOCK]
    if len(block) < _TAR_BLOCK or not block[0]:
        return False
    digits = block[148:156].strip(b" \0")
    if not re.fullmatch(rb"[0-7]{1,7}", digits):
        return False
    return sum(block) - sum(block[148:156]) + 8 * ord(" ") == int(digits, 8)


def _behind(octets: bytes, *, inlaid: bool) -> Iterator[Container]:
    """Yield archives that begin later, the first of each kind."""
    for kind, magic, begins in _EMBEDDED:
        if kind == ARJ and arjreader.is_arj(octets):
            continue  # each of its files begins alike
        if (at := _first(octets, magic, begins)) > 0:
            way = Way.ARJ if kind == ARJ else Way.LIBARCHIVE
            is_inlaid = inlaid and begins(octets, at)
            yield Container(way, at, kind, inlaid=is_inlaid)


def _first(octets: bytes, magic: bytes, begins: Callable[[bytes, int], bool]) -> int:
    """Return where an archive begins behind something else; -1 if none does.

    Behind too many that are none the next is taken for one, so that it is not nothing:
    it is opened, and found to be damaged.
    """
    # The last octet of each is one that texts do not have, told sixty times as quickly.
    at = octets.find(magic[-1:], 1, SEARCHED)
    at = octets.find(magic, 1, SEARCHED) if at > 0 else -1
    for _ in range(MAX_FALSE):
        if at < 0 or begins(octets, at):
            return at
        at = octets.find(magic, at + 1, SEARCHED)
    return at


def _is_cab(octets: bytes, at: int) -> bool:
    """Say whether a cabinet's header begins: reserved fields are 0, version 1.3."""
    head = octets[at : at + 26]
    return not any(head[4:8] + head[12:16] + head[20:24]) and head[24:] == b"\x03\x01"


def _has_local_header(octets: bytes) -> bool:
    """Say whether the header of a file begins, though no directory ends."""
    return octets.startswith(LOCAL) or _first(octets, LOCAL, _is_local) > 0


def _is_local(octets: bytes, at: int) -> bool:
    return local_header(octets, at) is not None


_EMBEDDED = (
    (RAR, b"Rar!\x1a\x07", is_rar),
    (SEVEN_ZIP, b"7z\xbc\xaf\x27\x1c", is_seven_zip),
    (CAB, b"MSCF\0\0\0\0", _is_cab),
    (ARJ, arjreader.MAGIC, arjreader.is_arj),
)
