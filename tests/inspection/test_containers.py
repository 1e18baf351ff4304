from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib

import pytest

from smtpguard.inspection.containers import Container, Way, containers, is_streamable
from smtpguard.inspection.signatures import ARJ, CAB, RAR, SEVEN_ZIP
from tests.inspection import crafted
from tests.inspection.crafted import EXE, tarred, zipped


def image(*descriptors: bytes) -> bytes:
    return bytes(16 * 2048) + b"".join(one.ljust(2048, b"\0") for one in descriptors)


ZIP = zipped({"x.exe": EXE})
RAR4 = crafted.rar4(b"a", b"")
SEVEN = b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(bytes(20)))
SEVEN += bytes(20)
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0")
CASES = {
    "zip": (ZIP, Container(Way.ZIP)),
    "zip-without-directory": (ZIP[:200], Container(Way.ZIP)),
    "empty-zip": (zipped({}), Container(Way.ZIP)),
    "tar": (tarred({"a": b""}), Container(Way.LIBARCHIVE)),
    "cpio": (crafted.cpio(b"a", b""), Container(Way.LIBARCHIVE)),
    "rar4": (crafted.rar4(b"a", b""), Container(Way.LIBARCHIVE)),
    "rar5": (crafted.rar5(b"a", b""), Container(Way.LIBARCHIVE)),
    "lzh": (crafted.lzh(b"a", b""), Container(Way.LIBARCHIVE)),
    "ar": (crafted.ar(b"a", b""), Container(Way.LIBARCHIVE)),
    "arj": (crafted.arj(b"a", b""), Container(Way.ARJ)),
    "gzip": (gzip.compress(b"", mtime=0), Container(Way.COMPRESSED, name="gzip")),
    "bzip2": (bz2.compress(b"a"), Container(Way.COMPRESSED, name="bzip2")),
    "bzip2-empty": (bz2.compress(b""), Container(Way.COMPRESSED, name="bzip2")),
    "xz": (lzma.compress(b""), Container(Way.COMPRESSED, name="xz")),
    "lzma": (
        lzma.compress(b"a", lzma.FORMAT_ALONE),
        Container(Way.COMPRESSED, name="lzma"),
    ),
    "zstd-frame-skipped": (
        b"\x50\x2a\x4d\x18\0\0\0\0",
        Container(Way.COMPRESSED, name="zstd"),
    ),
    "chm": (b"ITSF\x03\0\0\0", Container(Way.OPAQUE, name="chm")),
    "dmg": (bytes(900) + b"koly".ljust(512), Container(Way.OPAQUE, name="disk image")),
    "cd": (image(b"\x01CD001"), Container(Way.ISO)),
    "udf": (image(b"\0BEA01", b"\0NSR02"), Container(Way.OPAQUE, name="udf")),
    "tnef": (b"\x78\x9f\x3e\x22", Container(Way.TNEF)),
    "rar-later": (b"GIF8" + RAR4, Container(Way.LIBARCHIVE, 4, RAR)),
    "7z-later": (
        b"GIF8" + SEVEN,
        Container(Way.LIBARCHIVE, 4, SEVEN_ZIP),
    ),
    "cab-later": (b"GIF8" + crafted.cab(b"a", b""), Container(Way.LIBARCHIVE, 4, CAB)),
    "decoys": (
        b"?" + b"Rar!\x1a\x07\0" * 99 + RAR4,
        Container(Way.LIBARCHIVE, 694, RAR),
    ),
    "arj-later": (b"\x60\xea" + crafted.arj(b"a", b""), Container(Way.ARJ, 2, ARJ)),
}


@pytest.mark.parametrize(("octets", "container"), CASES.values(), ids=CASES)
def test_archives_are_known_by_what_they_begin_with(
    octets: bytes, container: Container
) -> None:
    assert containers(octets) == (container,)


def test_decoys_without_number_are_not_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoys = b"?" + b"Rar!\x1a\x07\0" * 9
    assert containers(decoys) == ()
    monkeypatch.setattr("smtpguard.inspection.containers.MAX_FALSE", 8)
    assert containers(decoys) == (Container(Way.LIBARCHIVE, 57, RAR),)


def test_both_file_systems_of_a_cd_are_told() -> None:
    found = containers(image(b"\x01CD001", b"\0BEA01", b"\0NSR03"))
    assert {one.way for one in found} == {Way.ISO, Way.OPAQUE}


def test_a_zip_is_found_behind_another_archive() -> None:
    found = containers(crafted.rar4(b"a", b"b") + ZIP)
    assert [one.way for one in found] == [Way.LIBARCHIVE, Way.ZIP]


@pytest.mark.parametrize("front", [gzip.compress(b"", mtime=0), crafted.cab(b"a", b"")])
@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (RAR4, RAR),
        (SEVEN, SEVEN_ZIP),
        (crafted.cab(b"a", b""), CAB),
        (crafted.arj(b"a", b""), ARJ),
    ],
)
def test_each_archive_is_found_behind_another(
    front: bytes, octets: bytes, kind: str
) -> None:
    way = Way.ARJ if kind == ARJ else Way.LIBARCHIVE
    later = Container(way, len(front), kind, inlaid=True)
    assert containers(front + octets)[1:] == (later,)


def test_the_files_of_an_arj_archive_are_no_archives() -> None:
    assert containers(crafted.arj(b"a", b"")) == (Container(Way.ARJ),)


def test_decoys_behind_an_archive_are_not_inlaid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smtpguard.inspection.containers.MAX_FALSE", 8)
    found = containers(OLE + b"Rar!\x1a\x07\0" * 9)
    assert [one.inlaid for one in found] == [False]


@pytest.mark.parametrize(
    "octets",
    [
        OLE + ZIP + bytes(9),
        OLE + ZIP[:200] + bytes(9),
        b"%PDF-1.4\n" + ZIP + b"\n%%EOF",
        OLE + RAR4,
        crafted.tarred({"a.docx": ZIP}),
        crafted.cpio(b"a.docx", ZIP),
        crafted.ar(b"a.docx", ZIP) + b"\n",
        image(b"\x01CD001") + ZIP + bytes(9),
        zipped({"a.rar": RAR4}, 0),
    ],
    ids=["ole", "cut", "pdf", "ole-rar", "tar", "cpio", "ar", "iso", "rar-in-zip"],
)
def test_what_lies_in_another_file_as_it_is_is_inlaid(octets: bytes) -> None:
    found = containers(octets)
    assert [one.inlaid for one in found].count(True) == 1


@pytest.mark.parametrize("front", [OLE, b"%PDF-1.4\n", crafted.cpio(b"a", b"")])
def test_a_zip_that_ends_where_all_ends_is_meant(front: bytes) -> None:
    assert Container(Way.ZIP) in containers(front + ZIP)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"BZh9 is how this text begins",
        b"PK, for Phil Katz",
        b"\x5d\0\0\x12\x34" + bytes(20),
        bytes(1024),
        b"Rar!" * 100,
        EXE + b"PK\3\4" + bytes(40),
        b"\x60\xea" * 100,
    ],
)
def test_other_octets_are_no_archive(octets: bytes) -> None:
    assert containers(octets) == ()


def test_tar_and_cpio_can_be_read_as_they_come() -> None:
    assert is_streamable(tarred({"a": b""})[:512])
    assert is_streamable(crafted.cpio(b"a", b""))
    old = bytearray(tarred({"a": b""})[:512])
    old[257:265] = bytes(8)
    old[148:156] = b" " * 8
    old[148:156] = b"%06o\0 " % sum(old)
    assert is_streamable(bytes(old))
    old[0] += 1
    assert not is_streamable(bytes(old))
    assert not is_streamable(bytes(512))
    assert not is_streamable(ZIP)
