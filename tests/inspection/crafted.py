"""Archives made octet by octet: right ones of formats that Python cannot write, and
zips that say one thing here and another there.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib
from typing import Literal


EXE = b"MZ\x90\0" + bytes(range(256)) * 3
"""Whatever lies in an archive; looks a little like a program."""


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def deflated(octets: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(octets) + packer.flush()


def zipped(
    files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", method) as archive:
        archive.comment = comment
        for name, content in files.items():
            archive.writestr(name, content)
    return into.getvalue()


def tarred(
    files: dict[str, bytes],
    mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w",
) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode=mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return into.getvalue()


def local(
    name: bytes,
    content: bytes,
    *,
    method: int = 0,
    flags: int = 0,
    extra: bytes = b"",
    sizes: tuple[int, int] | None = None,
    crc: int | None = None,
) -> bytes:
    """Return a local header and the file; ``sizes`` are packed and expanded."""
    data = deflated(content) if method == 8 else content
    packed, size = sizes or (len(data), len(content))
    crc = zlib.crc32(content) if crc is None else crc
    head = struct.pack(
        "<HHHIIIIHH", 20, flags, method, 0, crc, packed, size, len(name), len(extra)
    )
    return b"PK\3\4" + head + name + extra + data


def central(
    name: bytes,
    content: bytes,
    offset: int,
    *,
    method: int = 0,
    flags: int = 0,
    extra: bytes = b"",
    sizes: tuple[int, int] | None = None,
) -> bytes:
    data = deflated(content) if method == 8 else content
    packed, size = sizes or (len(data), len(content))
    head = struct.pack(
        "<HHHHIIIIHHHHHII",
        20,
        20,
        flags,
        method,
        0,
        zlib.crc32(content),
        packed,
        size,
        len(name),
        len(extra),
        0,
        0,
        0,
        0,
        offset,
    )
    return b"PK\1\2" + head + name + extra


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    count = min(count, 0xFFFF)
    return (
        b"PK\5\6"
        + struct.pack("<HHHHIIH", 0, 0, count, count, size, offset, len(comment))
        + comment
    )


def joined(locals_: list[bytes], centrals: list[bytes]) -> bytes:
    """Return a zip archive of these headers."""
    body, directory = b"".join(locals_), b"".join(centrals)
    return body + directory + end(len(centrals), len(directory), len(body))


def rar4(
    name: bytes, content: bytes, *, flags: int = 0, archive_flags: int = 0
) -> bytes:
    """Return a RAR 4 archive of one stored file; flag 4 is encrypted."""

    def block(kind: int, block_flags: int, fields: bytes) -> bytes:
        head = struct.pack("<BHH", kind, block_flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    fields = struct.pack(
        "<IIBIIBBHI",
        len(content),
        len(content),
        3,
        zlib.crc32(content),
        0,
        20,
        0x30,
        len(name),
        0o100644,
    )
    return (
        b"Rar!\x1a\x07\0"
        + block(0x73, archive_flags, bytes(6))
        + block(0x74, 0x8000 | flags, fields + name)
        + content
        + block(0x7B, 0x4000, b"")
    )


def rar5(name: bytes, content: bytes) -> bytes:
    """Return a RAR 5 archive of one stored file."""

    def number(value: int) -> bytes:
        octets = bytearray()
        while value >= 0x80:
            octets.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*octets, value])

    def block(fields: bytes) -> bytes:
        sized = number(len(fields)) + fields
        return struct.pack("<I", zlib.crc32(sized)) + sized

    size = number(len(content))
    file = (
        b"\2\2"  # file, with data behind it
        + size
        + b"\4"  # CRC is there
        + size
        + b"\0"
        + struct.pack("<I", zlib.crc32(content))
        + b"\0\1"  # stored, Unix
        + number(len(name))
        + name
    )
    main, last = block(b"\1\0\0"), block(b"\5\0\0")
    return b"Rar!\x1a\x07\1\0" + main + block(file) + content + last


def cpio(name: bytes, content: bytes) -> bytes:
    """Return a cpio archive (newc) of one file."""

    def member(name: bytes, content: bytes, mode: int) -> bytes:
        numbers = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers)
        head += name + b"\0"
        head += bytes(-len(head) % 4)
        return head + content + bytes(-len(content) % 4)

    return member(name, content, 0o100644) + member(b"TRAILER!!!", b"", 0)


def ar(name: bytes, content: bytes) -> bytes:
    head = b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (name, 0, 0, 0, 0o100644, len(content))
    return b"!<arch>\n" + head + content + b"\n" * (len(content) % 2)


def cab(name: bytes, content: bytes, *, claimed: int | None = None) -> bytes:
    """Return a cabinet of one stored file; its only block claims so many octets."""
    size = len(content)
    folder = struct.pack("<IHH", 44 + 16 + len(name) + 1, 1, 0)
    file = struct.pack("<IIHHHH", size, 0, 0, 0, 0, 0x20) + name + b"\0"
    expanded = size if claimed is None else claimed
    block = struct.pack("<IHH", 0, size, expanded) + content
    whole = 36 + len(folder) + len(file) + len(block)
    head = b"MSCF" + struct.pack(
        "<IIIIIBBHHHHH", 0, whole, 0, 44, 0, 3, 1, 1, 1, 0, 0, 0
    )
    return head + folder + file + block


def lzh(name: bytes, content: bytes) -> bytes:
    """Return an LHA archive (level 0) of one stored file."""
    crc = 0
    for octet in content:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    size = len(content)
    fields = b"-lh0-" + struct.pack("<IIIBB", size, size, 0, 0x20, 0)
    fields += bytes([len(name)]) + name + struct.pack("<H", crc)
    return bytes([len(fields), sum(fields) & 0xFF]) + fields + content + b"\0"


def arj(name: bytes, content: bytes, *, method: int = 0, flags: int = 0) -> bytes:
    """Return an ARJ archive of one file, whatever the method says."""

    def header(fields: bytes, names: bytes) -> bytes:
        head = bytes([len(fields) + 1]) + fields + names
        crc = struct.pack("<I", zlib.crc32(head))
        return b"\x60\xea" + struct.pack("<H", len(head)) + head + crc + b"\0\0"

    size = len(content)
    main = struct.pack("<BBBBBB", 11, 1, 2, 0, 0, 2) + bytes(23)
    file = struct.pack("<BBBBBB", 11, 1, 2, flags, method, 0) + bytes(5)
    file += struct.pack("<III", size, size, zlib.crc32(content)) + bytes(6)
    return (
        header(main, b"a.arj\0\0")
        + header(file, name + b"\0\0")
        + content
        + b"\x60\xea\0\0"
    )


def tnef(*attributes: tuple[int, bytes]) -> bytes:
    """Return a TNEF stream of attributes: id and data."""
    octets = struct.pack("<IH", 0x223E9F78, 7)
    for name, data in attributes:
        octets += struct.pack("<BHHI", 2, name, 6, len(data)) + data
        octets += struct.pack("<H", sum(data) & 0xFFFF)
    return octets


def properties(*values: tuple[int, int, bytes]) -> bytes:
    """Return MAPI properties: type, id, and value as it is written."""
    octets = struct.pack("<I", len(values))
    for kind, name, value in values:
        octets += struct.pack("<HH", kind, name) + value
    return octets


def sized(*values: bytes) -> bytes:
    """Return values of a type without a size of its own."""
    octets = struct.pack("<I", len(values))
    for value in values:
        octets += struct.pack("<I", len(value)) + value + bytes(-len(value) % 4)
    return octets
