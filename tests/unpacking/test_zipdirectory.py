from __future__ import annotations

import struct
import time

import pytest

from smtpguard.unpacking.zipdirectory import directories, ends, local_header
from tests.unpacking.crafted import EXE, central, end, joined, local, zipped


def test_the_end_is_looked_for_where_a_comment_allows_it() -> None:
    octets = zipped({"a": EXE})
    assert ends(octets) == [len(octets) - 22]
    assert ends(octets + bytes(65_535)) == [len(octets) - 22]
    assert ends(octets + bytes(65_536)) == []
    assert ends(octets[:-1]) == []


def test_of_many_ends_the_last_eight_are_taken() -> None:
    assert ends(end(0, 0, 0) * 20) == [22 * number for number in range(19, 11, -1)]


def test_a_local_header_says_what_it_says() -> None:
    header = local_header(b"??" + local(b"x.exe", EXE, extra=b"\1\2\0\0"), 2)
    assert header is not None
    assert (header.offset, header.names, header.data) == (2, (b"x.exe",), 41)
    assert (header.packed, header.size, header.method) == (len(EXE), len(EXE), 0)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"PK\3\4",
        local(b"", b"content"),
        local(b"name", b"")[:33],
        local(b"x", b"", method=50),
        b"PK\3\4" + b"\xff" * 60,
    ],
)
def test_what_makes_no_sense_is_no_local_header(octets: bytes) -> None:
    assert local_header(octets, 0) is None


def test_an_unicode_path_is_one_more_name() -> None:
    """APPNOTE 4.6.9."""
    extra = struct.pack("<HHBI", 0x7075, 5 + 6, 1, 0) + "ü.exe".encode()
    header = local_header(local(b"u.txt", b"", extra=extra), 0)
    assert header is not None
    assert header.names == (b"u.txt", "ü.exe")


def test_full_sizes_are_taken_from_the_wide_ones() -> None:
    """APPNOTE 4.5.3: only what is full, in this order."""
    extra = struct.pack("<HHQQ", 1, 16, 5 << 32, 6)
    full = 0xFFFFFFFF
    header = local_header(local(b"x", b"", sizes=(full, full), extra=extra), 0)
    assert header is not None
    assert (header.size, header.packed) == (5 << 32, 6)
    header = local_header(local(b"x", b"", sizes=(7, full), extra=extra), 0)
    assert header is not None
    assert (header.size, header.packed) == (5 << 32, 7)


def test_offsets_are_counted_from_where_the_archive_begins() -> None:
    octets = joined([local(b"x", EXE)], [central(b"x", EXE, 0)])
    assert [*directories(octets, 9)[0]] == [0]
    assert [*directories(b"?" * 77 + octets, 9)[0]] == [77]


def test_a_wide_directory_is_found() -> None:
    body, listed = local(b"x", EXE), central(b"x", EXE, 0)
    at = len(body) + len(listed)
    wide = b"PK\6\6" + struct.pack(
        "<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, len(listed), len(body)
    )
    locator = b"PK\6\7" + struct.pack("<IQI", 0, at, 1)
    narrow = b"PK\5\6" + struct.pack(
        "<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0
    )
    found, oddities = directories(body + listed + wide + locator + narrow, 9)
    assert [header.names for header in found[0]] == [(b"x",)]
    assert oddities == []


def test_a_second_directory_in_the_comment_is_read_as_well() -> None:
    first, second = local(b"good.txt", b"1"), local(b"evil.exe", b"2")
    body = first + second
    hidden = central(b"good.txt", b"1", 0)
    shown = central(b"evil.exe", b"2", len(first))
    at = len(body)
    comment = shown + end(1, len(shown), at + len(hidden) + 22)
    octets = body + hidden + end(1, len(hidden), at, comment) + comment
    octets = body + hidden + end(1, len(hidden), at, comment)
    found, oddities = directories(octets, 9)
    assert {name for one in found.values() for h in one for name in h.names} == {
        b"good.txt",
        b"evil.exe",
    }
    assert [oddity.kind for oddity in oddities] == ["archive-disagrees"]


def test_the_directory_of_a_zip_in_a_zip_is_not_the_outers() -> None:
    inner = zipped({"i": EXE})
    octets = joined([local(b"i.zip", inner)], [central(b"i.zip", inner, 0)])
    found, oddities = directories(octets, 9)
    assert [header.names for header in found[0]] == [(b"i.zip",)]
    assert len(found) == 1
    assert oddities == []


def test_a_directory_that_is_short_or_gone_is_damaged() -> None:
    octets = joined([local(b"x", EXE)], [central(b"x", EXE, 0)])
    cut = octets.replace(b"PK\1\2", b"PK\1\3")
    assert [one.kind for one in directories(cut, 9)[1]] == ["archive-damaged"]
    two = octets[:-22] + end(2, 47, len(octets) - 22 - 47)
    assert [one.detail for one in directories(two, 9)[1]] == [
        "directory of 2 files has 1"
    ]


def test_files_at_the_same_place_are_merged_in_linear_time() -> None:
    listed = [central(b"%d" % number, b"", 0) for number in range(20_000)]
    octets = joined([local(b"x", b"")], listed)
    begin = time.process_time()
    found, _ = directories(octets, 20_000)
    assert time.process_time() - begin < 2
    assert len(found[0]) == 20_000
    assert len(directories(octets, 50)[0][0]) == 50
