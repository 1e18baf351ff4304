from __future__ import annotations

import struct
import time

import pytest

from smtpguard.inspection.members import Oddity
from smtpguard.inspection.zipdirectory import (
    Listed,
    directories,
    ends,
    has_end,
    listed,
)
from tests.inspection.crafted import EXE, central, end, joined, local, zipped


def test_the_end_is_looked_for_where_a_comment_allows_it() -> None:
    octets = zipped({"a": EXE})
    assert ends(octets) == [len(octets) - 22]
    assert ends(octets + bytes(65_535)) == [len(octets) - 22]
    assert ends(octets + bytes(65_536)) == []
    assert ends(octets[:-1]) == []


def test_of_many_ends_the_last_eight_are_taken() -> None:
    assert ends(end(0, 0, 0) * 20) == [22 * number for number in range(19, 11, -1)]


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


def found(octets: bytes, most: int = 99) -> list[Listed]:
    return [one for one in listed(octets, most) if isinstance(one, Listed)]


def names(octets: bytes) -> set[bytes | str]:
    return {
        name
        for one in found(octets)
        for header in (one.central, one.local)
        if header is not None
        for name in header.names
    }


def oddities(octets: bytes, most: int = 99) -> list[str]:
    return [one.kind for one in listed(octets, most) if isinstance(one, Oddity)]


def test_a_zip_ends_where_a_directory_is_meant() -> None:
    octets = b"GIF89a" + zipped({"a": EXE})
    assert has_end(octets)
    assert has_end(octets + b"\0")
    assert not has_end(b"PK\5\6" + bytes(18))
    assert not has_end(b"text PK\5\6 text" + bytes(18))


def test_a_zip_ends_exactly_with_its_comment() -> None:
    octets = b"GIF89a" + zipped({"a": EXE}, comment=b"hello")
    assert has_end(octets, exactly=True)
    assert not has_end(octets + b"\0", exactly=True)
    assert not has_end(octets[:-1], exactly=True)


def test_a_wide_end_is_an_end() -> None:
    listing = central(b"x", b"", 0)
    wide = b"PK\6\6" + struct.pack("<QHHIIQQ", 44, 45, 45, 0, 0, 1, 1)
    wide += struct.pack("<QQ", len(listing), 31)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 31 + len(listing), 1)
    last = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, *[0xFFFFFFFF] * 2, 0)
    octets = b"prefix" + local(b"x", b"") + listing + wide + locator + last
    assert has_end(octets)
    (one,) = found(octets)
    assert one.central is not None
    assert one.local is not None
    assert (one.central.offset, one.local.data) == (6, 37)


def test_each_file_is_listed_once_with_both_headers() -> None:
    octets = zipped({"a": EXE, "b": b""})
    (a, b) = found(octets)
    assert a.central is not None
    assert a.local is not None
    assert a.central.names == a.local.names == (b"a",)
    assert b.central is not None
    assert oddities(octets) == []


def test_what_only_one_side_has_is_listed() -> None:
    body = local(b"hidden", b"") + local(b"shown", b"")
    octets = joined([body], [central(b"shown", b"", 36), central(b"gone", b"", 5)])
    assert names(octets) == {b"hidden", b"shown", b"gone"}
    assert oddities(octets) == ["archive-disagrees"]
    assert [one.central is None for one in found(octets)] == [False, False, True]
    assert [one.local is None for one in found(octets)] == [False, True, False]


def test_a_header_that_only_the_directory_points_to_is_read() -> None:
    """It lies in the content of another file, over which a stream's reader jumps."""
    inner = local(b"inner", b"", flags=1)
    octets = joined([local(b"outer", inner)], [central(b"inner", b"", 35)])
    assert names(octets) == {b"inner", b"outer"}
    assert found(octets)[0].local is not None


@pytest.mark.parametrize("size", [0xFFFFFFF0, 5000])
def test_a_size_that_does_not_fit_hides_nothing(size: int) -> None:
    first = local(b"a", b"", method=8, sizes=(size, size))
    assert names(first + local(b"x.exe", EXE)) == {b"a", b"x.exe"}


def test_what_begins_as_a_zip_has_nothing_before_it() -> None:
    """One part of what was split begins with four octets of its own."""
    octets = zipped({"a": EXE})
    assert oddities(b"PK\7\x08" + octets) == []
    assert oddities(b"GIF8" + octets) == ["archive-prepended"]


def test_more_files_than_asked_for_are_one_more() -> None:
    octets = zipped({str(number): b"" for number in range(20)})
    assert len(found(octets, 5)) == 6
    strays = b"".join(local(b"%d" % number, b"") for number in range(20))
    assert len(found(strays, 5)) == 6
    assert oddities(strays, 5) == ["limit-headers"]


def test_all_directories_together_are_bounded() -> None:
    """Each of eight ends has a directory of its own, all as long as is allowed."""
    octets = b""
    for number in range(8):
        body = local(b"x", b"")
        listing = b"".join(central(b"%d" % number, b"", 0) for _ in range(20))
        octets += body + listing + end(20, len(listing), len(octets) + len(body))
    found, oddities = directories(octets, 20)
    assert oddities[-1].kind == "limit-headers"
    assert {one.names for one in found[0]} == {(b"%d" % at,) for at in (7, 6, 5, 4)}


def test_false_headers_are_looked_at_up_to_a_limit() -> None:
    begin = time.process_time()
    assert oddities(local(b"x", b"") + b"PK\3\4\xff" * 200_000) == ["limit-headers"]
    assert time.process_time() - begin < 5


def test_zips_that_are_cut_off_are_listed_as_far_as_they_go() -> None:
    octets = zipped({"a": EXE, "b": b"2"})
    for cut in range(len(octets)):
        assert names(octets[:cut]) <= {b"a", b"b"}
