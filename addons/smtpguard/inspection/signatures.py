"""Types by the octets that a file begins with.

A table of our own, for both libraries were measured (35 files of ClamAV's tests, 1,637
decoded parts of the shared corpora) and are worse here. libmagic 5.44 named all 35 and
took 0.32 ms a file, but is C that reads hostile octets in the process that holds keys
and sessions, and its names change with its release. puremagic 2.2 named 11 and took
0.24 ms: each zip is a Word document to it, a program has no type. The table names 35
and takes, with all looks of this package, 0.03 ms. Neither library knows what facts
need, whether a container is encrypted or has macros or what stands behind a picture;
who reads that knows the types as well.

Reads the first 37 KiB at most (an ISO 9660 image says what it is at 32 KiB).
"""

from __future__ import annotations

import re

from smtpguard.model.contents import Contents, Fact


HEAD_OCTETS = 37 * 1024

ZIP = "application/zip"
OLE = "application/x-ole-storage"
PDF = "application/pdf"
RTF = "text/rtf"
ONENOTE = "application/onenote"
SEVEN_ZIP = "application/x-7z-compressed"
RAR = "application/vnd.rar"
CAB = "application/vnd.ms-cab-compressed"
ARJ = "application/x-arj"

_NONE: frozenset[Fact] = frozenset()
_ARCHIVE = frozenset({Fact.ARCHIVE})
_EXECUTABLE = frozenset({Fact.EXECUTABLE})
_ENCRYPTED = frozenset({Fact.ENCRYPTED})

# Where, what, type, facts. What stands first in a file stands first here.
_ROWS: tuple[tuple[int, bytes, str, frozenset[Fact]], ...] = (
    (0, b"PK\x03\x04", ZIP, _ARCHIVE),
    (0, b"PK\x05\x06", ZIP, _ARCHIVE),
    (0, b"PK00PK\x03\x04", ZIP, _ARCHIVE),
    (0, b"PK\x07\x08PK\x03\x04", ZIP, _ARCHIVE),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE, _NONE),
    (0, b"%PDF-", PDF, _NONE),
    (0, b"{\\rt", RTF, _NONE),
    (0, b"7z\xbc\xaf\x27\x1c", SEVEN_ZIP, _ARCHIVE),
    (0, b"Rar!\x1a\x07", RAR, _ARCHIVE),
    (0, b"RE~^", RAR, _ARCHIVE),
    (0, b"\x1f\x8b\x08", "application/gzip", _ARCHIVE),
    (0, b"\xfd7zXZ\x00", "application/x-xz", _ARCHIVE),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd", _ARCHIVE),
    (0, b"\x04\x22\x4d\x18", "application/x-lz4", _ARCHIVE),
    (0, b"LZIP\x01", "application/lzip", _ARCHIVE),
    (0, b"\x89LZO\x00\r\n\x1a\n", "application/x-lzop", _ARCHIVE),
    (0, b"MSCF\x00\x00\x00\x00", CAB, _ARCHIVE),
    (0, b"ISc(", "application/x-installshield", _ARCHIVE),
    (
        0,
        b"!<arch>\ndebian-binary",
        "application/vnd.debian.binary-package",
        _ARCHIVE,
    ),
    (0, b"\xed\xab\xee\xdb", "application/x-rpm", _ARCHIVE),
    (0, b"xar!\x00\x1c", "application/x-xar", _ARCHIVE),
    (0, b"MSWIM\x00\x00\x00", "application/x-ms-wim", _ARCHIVE),
    (0, b"conectix", "application/x-vhd", _ARCHIVE),
    (0, b"vhdxfile", "application/x-vhdx", _ARCHIVE),
    (0, b"KDMV\x01", "application/x-vmdk", _ARCHIVE),
    (0, b"QFI\xfb", "application/x-qemu-disk", _ARCHIVE),
    (0, b"hsqs", "application/x-squashfs", _ARCHIVE),
    (0, b"SZDD\x88\xf0\x27\x33", "application/x-ms-compress-szdd", _ARCHIVE),
    (0, b"KWAJ\x88\xf0\x27\xd1", "application/x-ms-compress-kwaj", _ARCHIVE),
    (0, b"StuffIt (c)", "application/x-stuffit", _ARCHIVE),
    (0, b"ALZ\x01", "application/x-alz", _ARCHIVE),
    (0, b"EGGA\x00\x01", "application/x-egg", _ARCHIVE),
    (0, b"\x78\x9f\x3e\x22", "application/vnd.ms-tnef", _NONE),
    (
        0,
        b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3",
        ONENOTE,
        _NONE,
    ),
    (0, b"ITSF\x03\x00", "application/vnd.ms-htmlhelp", _EXECUTABLE),
    (
        0,
        b"L\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00F",
        "application/x-ms-shortcut",
        _EXECUTABLE,
    ),
    (0, b"\x7fELF", "application/x-elf", _EXECUTABLE),
    (0, b"\x00asm", "application/wasm", _EXECUTABLE),
    (0, b"FasdUAS ", "application/x-applescript", _EXECUTABLE),
    (0, b"#@~^", "text/x-encoded-script", _EXECUTABLE),
    (0, b"age-encryption.org/v1\n", "application/age", _ENCRYPTED),
    (0, b"-----BEGIN AGE ENCRYPTED FILE-----", "application/age", _ENCRYPTED),
    (0, b"Salted__", "application/x-openssl-encrypted", _ENCRYPTED),
    (0, b"(This file must be converted with BinHex", "application/mac-binhex40", _NONE),
    (0, b"\x89PNG\r\n\x1a\n", "image/png", _NONE),
    (0, b"\xff\xd8\xff", "image/jpeg", _NONE),
    (0, b"GIF87a", "image/gif", _NONE),
    (0, b"GIF89a", "image/gif", _NONE),
    (0, b"II*\x00", "image/tiff", _NONE),
    (0, b"MM\x00*", "image/tiff", _NONE),
    (0, b"8BPS\x00\x01", "image/vnd.adobe.photoshop", _NONE),
    (0, b"\x00\x00\x01\x00", "image/vnd.microsoft.icon", _NONE),
    (0, b"\xd7\xcd\xc6\x9a", "image/wmf", _NONE),
    (0, b"AT&TFORM", "image/vnd.djvu", _NONE),
    (0, b"\x00\x00\x00\x0cjP  ", "image/jp2", _NONE),
    (0, b"%!PS", "application/postscript", _NONE),
    (0, b"fLaC", "audio/flac", _NONE),
    (0, b"OggS\x00", "application/ogg", _NONE),
    (0, b"MThd\x00\x00\x00\x06", "audio/midi", _NONE),
    (0, b".snd\x00\x00\x00", "audio/basic", _NONE),
    (0, b"#!AMR", "audio/amr", _NONE),
    (0, b"\x1a\x45\xdf\xa3", "video/x-matroska", _NONE),
    (0, b"\x00\x00\x01\xba", "video/mpeg", _NONE),
    (0, b"\x00\x00\x01\xb3", "video/mpeg", _NONE),
    (0, b"FLV\x01", "video/x-flv", _NONE),
    (0, b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa", "video/x-ms-asf", _NONE),
    (0, b"wOF2", "font/woff2", _NONE),
    (0, b"OTTO\x00", "font/otf", _NONE),
    (0, b"\x00\x01\x00\x00\x00", "font/ttf", _NONE),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3", _NONE),
    (7, b"**ACE**", "application/x-ace-compressed", _ARCHIVE),
    (20, b"\xdc\xa7\xc4\xfd", "application/x-zoo", _ARCHIVE),
    (257, b"ustar", "application/x-tar", _ARCHIVE),
    (0x8001, b"CD001", "application/x-iso9660-image", _ARCHIVE),
    (0x8801, b"CD001", "application/x-iso9660-image", _ARCHIVE),
    (0x9001, b"CD001", "application/x-iso9660-image", _ARCHIVE),
    (0x8001, b"BEA01", "application/x-iso9660-image", _ARCHIVE),
    (8, b"\x19\x04\x00\x10", "application/vnd.symbian.install", _EXECUTABLE),
)

# What a plain prefix cannot tell.
_PATTERNS: tuple[tuple[re.Pattern[bytes], str, frozenset[Fact]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind, facts)
    for pattern, kind, facts in (
        (
            rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)",
            "application/x-bzip2",
            _ARCHIVE,
        ),
        (rb"\x1f\x9d[\x89-\x90]", "application/x-compress", _ARCHIVE),
        # Usual properties, a dictionary below 256 MiB, a size below 1 TiB or none.
        (
            rb"\x5d\x00\x00.[\x00-\x0f](?:\xff{8}|.{5}\x00{3})",
            "application/x-lzma",
            _ARCHIVE,
        ),
        # Frames that a zstd reader skips may come first.
        (rb"[\x50-\x5f]\x2a\x4d\x18", "application/zstd", _ARCHIVE),
        (rb"07070[12][0-9A-Fa-f]{104}", "application/x-cpio", _ARCHIVE),
        (rb"070707[0-7]{70}", "application/x-cpio", _ARCHIVE),
        # Binary: a file type in the mode, a name shorter than 1,024 octets.
        (
            rb"(?:\xc7\x71.|\x71\xc7).{4}[\x10-\xcf].{13}[\x00-\x03]",
            "application/x-cpio",
            _ARCHIVE,
        ),
        (
            rb"..-(?:lh[0-9a-zA-Z]|lz[s2-8]|pm[0-2s])-",
            "application/x-lzh-compressed",
            _ARCHIVE,
        ),
        # The basic header: its size, that of its fixed part, versions, host system.
        (
            rb"\x60\xea.[\x00-\x0a][\x1e-\x30].[\x00-\x66][\x00-\x0b]",
            ARJ,
            _ARCHIVE,
        ),
        (rb"!<arch>\n(?!debian-binary)", "application/x-archive", _ARCHIVE),
        (rb"SIT!.{6}rLau", "application/x-stuffit", _ARCHIVE),
        (rb"dex\n[0-9]{3}\x00", "application/vnd.android.dex", _EXECUTABLE),
        (rb"Cr24[\x02\x03]\x00{3}", "application/x-chrome-extension", _EXECUTABLE),
        (rb"BM.{12}[\x0c-\xff]\x00\x00\x00", "image/bmp", _NONE),
        (rb"\x01\x00\x00\x00.{36} EMF", "image/emf", _NONE),
        (rb"RIFF....WEBP", "image/webp", _NONE),
        (rb"RIFF....WAVE", "audio/wav", _NONE),
        (rb"RIFF....AVI ", "video/x-msvideo", _NONE),
        (rb"FORM....AIF[FC]", "audio/aiff", _NONE),
        (rb"\x00...ftyphe[ivcxms]", "image/heic", _NONE),
        (rb"\x00...ftypmif1", "image/heif", _NONE),
        (rb"\x00...ftypavi[fs]", "image/avif", _NONE),
        (rb"\x00...ftypqt  ", "video/quicktime", _NONE),
        (rb"\x00...ftypM4[AB] ", "audio/mp4", _NONE),
        (rb"\x00...ftyp[0-9A-Za-z]", "video/mp4", _NONE),
        (rb"\x00...(?:moov|mdat)", "video/quicktime", _NONE),
        (rb"wOFF(?:\x00\x01\x00\x00|OTTO|true)", "font/woff", _NONE),
        (rb"ID3[\x02-\x04]", "audio/mpeg", _NONE),
        # MPEG layer III: neither bit rate nor sampling rate has a reserved value.
        (rb"\xff[\xf2\xf3\xfa\xfb][\x10-\xeb]", "audio/mpeg", _NONE),
    )
)

_FAR_ROWS = tuple(row for row in _ROWS if row[0])
# One look at what most texts are not.
_BEGINS = re.compile(
    b"|".join(
        [re.escape(magic) for at, magic, _, _ in _ROWS if not at]
        + [pattern.pattern for pattern, _, _ in _PATTERNS]
    ),
    re.DOTALL,
)

_TAR_OCTAL = re.compile(rb"[ \x00]*([0-7]{1,7})[ \x00]*")
_TAR_BLOCK = 512
_TRAILER_OCTETS = 512
_TRAILERS = (
    (b"koly", "application/x-apple-diskimage"),
    (b"conectix", "application/x-vhd"),
)


def at_start(octets: bytes) -> list[Contents]:
    """Return what ``octets`` are by how they begin; more than one if they are made so.

    A type without facts is told only where nothing else is.
    """
    head = octets[:HEAD_OCTETS]
    found: dict[str, frozenset[Fact]] = {}
    begins = _BEGINS.match(head) is not None
    for at, magic, kind, facts in _ROWS if begins else _FAR_ROWS:
        if head.startswith(magic, at) and (facts or not found):
            found.setdefault(kind, facts)
    for pattern, kind, facts in _PATTERNS if begins else ():
        if (facts or not found) and pattern.match(head):
            found.setdefault(kind, facts)
    if _is_tar(head):
        found.setdefault("application/x-tar", _ARCHIVE)
    trailer = octets[-_TRAILER_OCTETS:] if len(octets) >= _TRAILER_OCTETS else b""
    for magic, kind in _TRAILERS:
        if trailer.startswith(magic):
            found.setdefault(kind, _ARCHIVE)
    return [Contents(kind, facts) for kind, facts in found.items()]


def _is_tar(head: bytes) -> bool:
    """Whether the first block is a member's header, ``ustar`` or older."""
    block = head[:_TAR_BLOCK]
    claimed = _TAR_OCTAL.fullmatch(block[148:156])
    if len(block) < _TAR_BLOCK or claimed is None:
        return False
    return int(claimed[1], 8) == sum(block) - sum(block[148:156]) + 8 * ord(" ")
