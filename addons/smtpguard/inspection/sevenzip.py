"""7z archives: whether their entries or their directory are encrypted.

The directory ("header") stands at the end, mostly packed by LZMA: it is unpacked, up
to ``MAX_HEADER`` octets, to see whether a folder uses AES. ``7zFormat.txt`` of the LZMA
SDK is the format.
"""

from __future__ import annotations

import lzma
import zlib
from dataclasses import dataclass

from smtpguard.inspection.octets import little
from smtpguard.inspection.signatures import SEVEN_ZIP
from smtpguard.model.contents import Contents, Fact, Finding


MAGIC = b"7z\xbc\xaf\x27\x1c"
MAX_HEADER = 4 * 1024 * 1024
"""Octets of a directory; 40,000 entries need as many."""

_START = 32
_HEADER, _ENCODED = 0x01, 0x17
_PACK_INFO, _FOLDERS, _UNPACK_INFO, _SIZE, _END = 0x06, 0x0B, 0x07, 0x09, 0x00
_UNPACK_SIZE = 0x0C
_AES_CODER = b"\x24\x06\xf1\x07\x01"
"""How a folder says AES-256 and SHA-256: four octets of id, properties follow."""
_LZMA, _LZMA2, _COPY = b"\x03\x01\x01", b"\x21", b"\x00"
_HAS_PROPERTIES = 0x20
_IS_COMPLEX = 0x10

_PLAIN = Contents(SEVEN_ZIP, frozenset({Fact.ARCHIVE}))
_ENCRYPTED = Contents(SEVEN_ZIP, frozenset({Fact.ARCHIVE, Fact.ENCRYPTED}))


class _HeaderError(ValueError):
    """The directory is not as it is described. Caught in this module."""


@dataclass(frozen=True, slots=True)
class _Packed:
    """Where a packed directory lies, and by what it is unpacked."""

    start: int
    size: int
    coder: bytes
    properties: bytes
    unpacked: int


def is_seven_zip(octets: bytes, at: int) -> bool:
    """Whether an archive begins there: its start header has its checksum."""
    head = octets[at : at + _START]
    return (
        len(head) == _START
        and head.startswith(MAGIC)
        and zlib.crc32(head[12:]) == little(head, 8, 4)
    )


def look_at_seven_zip(octets: bytes, start: int = 0) -> Contents:
    """Return the facts of the archive that begins at ``start``."""
    base = start + _START
    at = base + little(octets, start + 12, 8)
    size = little(octets, start + 20, 8)
    if size == 0:
        return _PLAIN
    if size > MAX_HEADER:
        return _unread("directory too long")
    header = octets[at : at + size]
    if len(header) < size:
        return _unread("cut off")
    if header[0] == _HEADER:
        return _ENCRYPTED if _AES_CODER in header else _PLAIN
    if _AES_CODER in header:
        return _ENCRYPTED
    try:
        unpacked = _unpack(octets, base, _packed(header))
    except (_HeaderError, lzma.LZMAError, ValueError, MemoryError) as error:
        return _unread(str(error) if isinstance(error, _HeaderError) else "damaged")
    return _ENCRYPTED if _AES_CODER in unpacked else _PLAIN


def _unread(reason: str) -> Contents:
    return Contents(
        SEVEN_ZIP,
        frozenset({Fact.ARCHIVE, Fact.LIMIT}),
        findings=(Finding("not-inspectable", f"7z directory: {reason}"),),
    )


class _Reader:
    """Numbers of a header, one after the other."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return the next octets. Raises _HeaderError beyond the end."""
        found = self._octets[self._at : self._at + size]
        if len(found) < size:
            raise _HeaderError("cut off")
        self._at += size
        return found

    def number(self) -> int:
        """Return a number: its first octet says how many follow."""
        first = self.take(1)[0]
        mask, extra = 0x80, 0
        while mask and first & mask:
            mask >>= 1
            extra += 1
        low = int.from_bytes(self.take(extra), "little")
        return low + ((first & (mask - 1)) << 8 * extra if mask else 0)

    def expect(self, *wanted: int) -> None:
        """Take numbers that must be there. Raises _HeaderError."""
        for one in wanted:
            if self.number() != one:
                raise _HeaderError("not as described")


def _packed(header: bytes) -> _Packed:
    """Return where the directory lies: one stream, one folder, one coder."""
    reader = _Reader(header)
    reader.expect(_ENCODED, _PACK_INFO)
    start = reader.number()
    reader.expect(1, _SIZE)
    size = reader.number()
    while (step := reader.number()) != _END:
        # Checksums of the packed stream: all defined, then four octets.
        if step != 0x0A:
            raise _HeaderError("not as described")
        reader.expect(1)
        reader.take(4)
    reader.expect(_UNPACK_INFO, _FOLDERS, 1, 0, 1)
    flags = reader.take(1)[0]
    if flags & _IS_COMPLEX:
        raise _HeaderError("more than one stream")
    coder = reader.take(flags & 0x0F)
    properties = reader.take(reader.number()) if flags & _HAS_PROPERTIES else b""
    reader.expect(_UNPACK_SIZE)
    return _Packed(start, size, coder, properties, reader.number())


def _unpack(octets: bytes, base: int, packed: _Packed) -> bytes:
    if packed.unpacked > MAX_HEADER or packed.size > MAX_HEADER:
        raise _HeaderError("directory too long")
    at = base + packed.start
    source = octets[at : at + packed.size]
    if packed.coder == _COPY:
        return source
    # A dictionary beyond what is unpacked is never needed, whatever is claimed.
    window = max(4096, packed.unpacked)
    if packed.coder == _LZMA and len(packed.properties) == 5:
        first = packed.properties[0]
        filters: dict[str, int] = {
            "id": lzma.FILTER_LZMA1,
            "lc": first % 9,
            "lp": first // 9 % 5,
            "pb": first // 45,
            "dict_size": window,
        }
    elif packed.coder == _LZMA2:
        filters = {"id": lzma.FILTER_LZMA2, "dict_size": window}
    else:
        raise _HeaderError("unknown method")
    unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[filters])
    found = unpacker.decompress(source, packed.unpacked)
    if len(found) < packed.unpacked:
        raise _HeaderError("cut off")
    return found
