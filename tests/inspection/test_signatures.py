from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest

from smtpguard.inspection.signatures import HEAD_OCTETS, at_start
from smtpguard.model.contents import Contents, Fact
from tests.inspection.payloads import payloads


def tar(format_: int) -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w", format=format_) as archive:
        archive.addfile(tarfile.TarInfo("x"))
    return into.getvalue()


def old_tar() -> bytes:
    """As before POSIX: no magic, only a checksum."""
    block = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    block[257:512] = bytes(255)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


NEWC = b"070701" + b"0" * 104
ARCHIVES = {
    "gzip": (gzip.compress(b"x"), "application/gzip"),
    "bzip2": (bz2.compress(b"x"), "application/x-bzip2"),
    "bzip2-empty": (bz2.compress(b""), "application/x-bzip2"),
    "xz": (lzma.compress(b"x"), "application/x-xz"),
    "lzma": (lzma.compress(b"x", lzma.FORMAT_ALONE), "application/x-lzma"),
    "zstd": (b"\x28\xb5\x2f\xfd\x00", "application/zstd"),
    "zstd-skipped": (b"\x5a\x2a\x4d\x18\x00", "application/zstd"),
    "tar": (tar(tarfile.GNU_FORMAT), "application/x-tar"),
    "tar-old": (old_tar(), "application/x-tar"),
    "cpio": (NEWC, "application/x-cpio"),
    "iso": (bytes(0x8001) + b"CD001", "application/x-iso9660-image"),
    "lzh": (b"\x20\x41-lh5-", "application/x-lzh-compressed"),
    "cab": (b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    "ar": (b"!<arch>\nx.o/", "application/x-archive"),
    "deb": (
        b"!<arch>\ndebian-binary   ",
        "application/vnd.debian.binary-package",
    ),
    "rar": (b"Rar!\x1a\x07\x00", "application/vnd.rar"),
    "dmg": (b"x" * 100 + b"koly".ljust(512, b"\0"), "application/x-apple-diskimage"),
}


@pytest.mark.parametrize(("octets", "kind"), ARCHIVES.values(), ids=ARCHIVES)
def test_an_archive_is_known_by_its_beginning(octets: bytes, kind: str) -> None:
    assert at_start(octets) == [Contents(kind, frozenset({Fact.ARCHIVE}))]


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"\x7fELF\x02", "application/x-elf"),
        (
            bytes.fromhex("4c0000000114020000000000c000000000000046"),
            "application/x-ms-shortcut",
        ),
        (b"ITSF\x03\0\0\0", "application/vnd.ms-htmlhelp"),
        (b"#@~^DgAAAA==", "text/x-encoded-script"),
        (b"Cr24\x03\0\0\0", "application/x-chrome-extension"),
    ],
)
def test_a_program_is_known_by_its_beginning(octets: bytes, kind: str) -> None:
    assert at_start(octets) == [Contents(kind, frozenset({Fact.EXECUTABLE}))]


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "audio/wav"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "image/bmp"),
        (b"ID3\x03\0", "audio/mpeg"),
        (b"{\\rtf1", "text/rtf"),
    ],
)
def test_a_picture_has_no_facts(octets: bytes, kind: str) -> None:
    assert at_start(octets) == [Contents(kind)]


@pytest.mark.parametrize(
    "text",
    [
        b"BM is a maker of cars, and so are others.",
        b"ID3 is a container for metadata",
        b"Otto and OTTO",
        b"OTTO is a name",
        b"070701 was the number",
        b"BZhello",
        b"SIT! Stay!",
        b"the moov atom",
        b"xar!",
        b"",
        bytes(2048),
    ],
)
def test_text_and_zeros_are_nothing_of_the_table(text: bytes) -> None:
    assert at_start(text) == []


def test_a_tar_in_a_picture_is_both() -> None:
    octets = bytearray(tar(tarfile.USTAR_FORMAT))
    octets[:6] = b"GIF89a"
    found = [look.detected for look in at_start(bytes(octets))]
    assert found == ["image/gif", "application/x-tar"]


def test_nothing_behind_the_head_is_looked_at() -> None:
    assert at_start(bytes(HEAD_OCTETS) + b"CD001") == []


def test_each_file_of_others_is_named(shared: Path) -> None:
    unnamed = [
        name
        for name, octets in payloads(shared).items()
        if not at_start(octets) and not octets.startswith(b"MZ")
    ]
    # Hypertext is told by its words.
    assert unnamed == ["clam.exe.html"]
