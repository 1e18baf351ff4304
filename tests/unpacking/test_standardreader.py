from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from contextlib import suppress

import pytest

from smtpguard.inspection.members import Member, Oddity, UnreadableError
from smtpguard.unpacking.standardreader import (
    archive_members,
    compressed_members,
    expanded,
    head,
    is_builtin,
)
from tests.inspection.crafted import EXE, cpio, tarred


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda octets: lzma.compress(octets, lzma.FORMAT_ALONE),
}


def read(member: Member | Oddity) -> bytes:
    assert isinstance(member, Member)
    assert member.chunks is not None
    return b"".join(member.chunks)


def test_what_python_can_undo_is_builtin() -> None:
    assert all(map(is_builtin, COMPRESSIONS))
    assert not any(map(is_builtin, ("zstd", "compress", "rpm", "")))


def test_a_tar_is_read_where_it_begins() -> None:
    octets = b"??" + tarred({"a": b"1", "\u00fc.exe": EXE})
    found = []
    for member in archive_members(octets, 2):
        assert isinstance(member, Member)
        found.append((member.names, member.size, read(member)))
    assert found == [
        ((b"a",), 1, b"1"),
        (("\u00fc.exe".encode(),), len(EXE), EXE),
    ]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_each_compression_is_undone(compression: str) -> None:
    compress = COMPRESSIONS[compression]
    assert [read(one) for one in expanded(compress(EXE), compression)] == [EXE]
    assert head(compress(EXE), compression) == EXE[:512]
    packed = compress(tarred({"x.exe": EXE}))
    contents = [read(one) for one in compressed_members(packed, compression)]
    assert contents == [EXE]


def test_gzip_has_a_name_in_its_header() -> None:
    packed = bytearray(gzip.compress(EXE))
    packed[3] = 8 | 4
    packed[10:10] = b"\2\0??inner.exe\0"
    (member,) = expanded(bytes(packed), "gzip")
    assert isinstance(member, Member)
    assert member.names == (b"inner.exe",)


def test_what_is_no_tar_is_not_inspectable() -> None:
    (found,) = archive_members(cpio(b"a", b"1"))
    assert found == Oddity(
        "not-inspectable", "no libarchive", unseen=True, malformed=False
    )
    (found,) = compressed_members(gzip.compress(cpio(b"a", b"1")), "gzip")
    assert isinstance(found, Oddity)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_is_cut_is_damaged(compression: str) -> None:
    packed = COMPRESSIONS[compression](bytes(range(256)) * 4096)[:-30]
    with pytest.raises(UnreadableError):
        read(next(expanded(packed, compression)))
    assert head(b"\0" * 30, compression) == b""


def test_a_tar_that_is_cut_or_broken_raises_nothing() -> None:
    octets = tarred({"a": b"1", "x.exe": EXE})
    for cut in range(512, 3072, 64):
        for member in archive_members(octets[:cut]):
            if isinstance(member, Member) and member.chunks is not None:
                with suppress(UnreadableError):
                    read(member)
    broken = octets[:1024] + b"\xff" * 512 + octets[1536:]
    assert any(
        isinstance(one, Oddity) and one.unseen for one in archive_members(broken)
    )
