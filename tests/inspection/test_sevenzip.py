from __future__ import annotations

import lzma
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from smtpguard.inspection.sevenzip import (
    MAGIC,
    MAX_HEADER,
    is_seven_zip,
    look_at_seven_zip,
)
from smtpguard.model.contents import Contents, Fact
from tests.inspection.payloads import payloads
from tests.integration.bed.need import need


AES = bytes.fromhex("01 04 06 00 01 09 10 00 07 0b 01 00 01 24 06 f1 07 01 0a")
PLAIN = bytes.fromhex("01 04 06 00 01 09 10 00 07 0b 01 00 01 23 03 01 01 05")


def archive(header: bytes, packed: bytes = b"", *, size: int | None = None) -> bytes:
    size = len(header) if size is None else size
    start = struct.pack("<QQI", len(packed), size, zlib.crc32(header))
    check = struct.pack("<I", zlib.crc32(start))
    return MAGIC + b"\0\4" + check + start + packed + header


def packed_header(header: bytes, coder: int = lzma.FILTER_LZMA1) -> bytes:
    """Return an archive whose directory is packed, as 7-Zip does it."""
    filters = [{"id": coder, "dict_size": 1 << 16}]
    packed = lzma.compress(header, lzma.FORMAT_RAW, filters=filters)
    method = (
        b"\x23\x03\x01\x01\x05\x5d\0\0\1\0"
        if coder == lzma.FILTER_LZMA1
        else b"\x21\x21\x01\x08"
    )
    return archive(encoded(len(packed), method, len(header)), packed)


def encoded(
    packed: int, method: bytes, unpacked: int, *, start: int = 0, check: bytes = b""
) -> bytes:
    # Sizes as numbers of three octets: 110xxxxx, low octets first.
    size = b"\xc0" + struct.pack("<H", packed)
    whole = b"\xc0" + struct.pack("<H", unpacked)
    return (
        bytes([0x17, 0x06, start, 0x01, 0x09])
        + size
        + check
        + b"\x00\x07\x0b\x01\x00\x01"
        + method
        + b"\x0c"
        + whole
        + b"\x00\x00"
    )


def facts(octets: bytes) -> frozenset[Fact]:
    found: Contents = look_at_seven_zip(octets)
    assert bool(found.findings) == (Fact.LIMIT in found.facts)
    return found.facts - {Fact.ARCHIVE}


def test_an_open_directory_tells() -> None:
    assert facts(archive(PLAIN)) == set()
    assert facts(archive(AES)) == {Fact.ENCRYPTED}


@pytest.mark.parametrize("coder", [lzma.FILTER_LZMA1, lzma.FILTER_LZMA2])
def test_a_packed_directory_is_unpacked(coder: int) -> None:
    assert facts(packed_header(PLAIN, coder)) == set()
    assert facts(packed_header(AES + bytes(500), coder)) == {Fact.ENCRYPTED}


@pytest.mark.parametrize("check", [b"", b"\x0a\x01abcd"], ids=["none", "checked"])
def test_a_directory_may_lie_behind_others_as_it_is(check: bytes) -> None:
    header = encoded(len(AES), b"\x01\x00", len(AES), start=9, check=check)
    assert facts(archive(header, b"something" + AES)) == {Fact.ENCRYPTED}
    header = encoded(len(PLAIN), b"\x01\x00", len(PLAIN), start=9, check=check)
    assert facts(archive(header, b"something" + PLAIN + AES)) == set()


def test_an_encrypted_directory_is_seen() -> None:
    header = encoded(16, b"\x24\x06\xf1\x07\x01\x0a" + bytes(10), 16)
    assert facts(archive(header, bytes(16))) == {Fact.ENCRYPTED}


def test_an_empty_archive_has_no_directory() -> None:
    assert facts(archive(b"")) == set()


@pytest.mark.parametrize(
    "octets",
    [
        archive(PLAIN)[:-1],
        archive(b"\x99" + PLAIN),
        archive(PLAIN, size=MAX_HEADER + 1),
        archive(encoded(4, b"\x23\x03\x01\x01\x05\x5d\0\0\1\0", 900), b"\xff" * 4),
        archive(encoded(4, b"\x23\x03\x01\x01\x05\xff\0\0\1\0", 9), b"\xff" * 4),
        archive(encoded(4, b"\x03\x04\x01\x08", 9), b"\xff" * 4),
        archive(encoded(4, b"\x13\x00\x00\x01\x01", 4), b"\xff" * 4),
        archive(encoded(9, b"\x01\x00", 9, check=b"\x0b"), bytes(9)),
        packed_header(PLAIN).replace(b"\xc0\x12\x00\0\0", b"\xc0\x13\x00\0\0"),
        archive(b"\x17\x06"),
        archive(b"\x17\x99\x99"),
    ],
    ids=[
        "cut",
        "unknown",
        "too-long",
        "damaged",
        "properties",
        "ppmd",
        "complex",
        "unknown-step",
        "less-than-claimed",
        "short",
        "other",
    ],
)
def test_what_cannot_be_read_is_told(octets: bytes) -> None:
    assert facts(octets) == {Fact.LIMIT}


def test_a_dictionary_of_4_gib_is_not_allocated() -> None:
    octets = packed_header(AES)
    claimed = octets.replace(b"\x05\x5d\0\0\1\0", b"\x05\x5d\xff\xff\xff\xff")
    assert claimed != octets
    assert facts(claimed) == {Fact.ENCRYPTED}


def test_an_archive_behind_something_is_told_by_its_checksum() -> None:
    octets = b"x" * 100 + archive(AES)
    assert is_seven_zip(octets, 100)
    assert look_at_seven_zip(octets, 100).facts == {Fact.ARCHIVE, Fact.ENCRYPTED}
    assert not is_seven_zip(octets[:100] + MAGIC + bytes(26), 100)


def test_an_archive_of_others_is_read(shared: Path) -> None:
    assert facts(payloads(shared)["clam.7z"]) == set()


@pytest.mark.real
@pytest.mark.parametrize(
    ("options", "encrypted"),
    [
        ([], False),
        (["-psecret"], True),
        (["-psecret", "-mhe=on"], True),
        (["-mhc=off"], False),
        (["-psecret", "-mhc=off"], True),
    ],
    ids=["open", "entries", "names", "plain-directory", "plain-directory-encrypted"],
)
def test_what_7zip_writes_is_read(
    tmp_path: Path, options: list[str], encrypted: bool
) -> None:
    program = need("7zz", "7zip")
    for number in range(100):
        (tmp_path / f"file{number}").write_text(f"content {number}")
    command = [program, "a", "-bso0", *options, "x.7z", *map(str, tmp_path.iterdir())]
    subprocess.run(command, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    octets = (tmp_path / "x.7z").read_bytes()
    assert (facts(octets) == {Fact.ENCRYPTED}) == encrypted
    assert Fact.LIMIT not in facts(octets)
