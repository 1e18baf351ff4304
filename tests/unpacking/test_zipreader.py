from __future__ import annotations

import io
import zipfile
import zlib

import pytest

from smtpguard.inspection.members import Member, Oddity, UnreadableError
from smtpguard.unpacking.zipreader import zip_members
from tests.inspection.crafted import (
    EXE,
    central,
    deflated,
    end,
    joined,
    local,
    zipped,
)


def seen(octets: bytes) -> tuple[dict[tuple[bytes | str, ...], object], list[str]]:
    """Return content or kind of fault of each member by its names, and the oddities."""
    found: dict[tuple[bytes | str, ...], object] = {}
    oddities = []
    for member in zip_members(octets, 100):
        if isinstance(member, Oddity):
            oddities.append(f"{member.kind}: {member.detail}")
        elif member.encrypted:
            found[member.names] = "encrypted"
        elif member.chunks is None:
            found[member.names] = None
        else:
            try:
                found[member.names] = b"".join(member.chunks)
            except UnreadableError as error:
                found[member.names] = f"{error.kind}: {error.detail}"
    return found, oddities


@pytest.mark.parametrize("method", [0, 8, 12, 14])
def test_each_method_that_python_writes_is_read(method: int) -> None:
    assert seen(zipped({"a": EXE, "d/": b"", "e": b""}, method)) == (
        {(b"a",): EXE, (b"e",): b""},
        [],
    )


def test_an_archive_written_as_a_stream_is_an_ordinary_one() -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

    into = Stream()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", EXE)
        archive.writestr("b", zipped({"inner": EXE}), zipfile.ZIP_STORED)
    found, oddities = seen(into.getvalue())
    assert [*found] == [(b"a",), (b"b",)]
    assert oddities == []


def test_other_names_in_the_directory_are_names_as_well() -> None:
    octets = joined([local(b"a.txt", EXE)], [central(b"b.exe", EXE, 0)])
    assert seen(octets) == (
        {(b"b.exe", b"a.txt"): EXE},
        ["archive-disagrees: directory and header: name"],
    )


@pytest.mark.parametrize(
    ("octets", "differing"),
    [
        (joined([local(b"a", b"12")], [central(b"a", b"12", 0, sizes=(1, 1))]), "size"),
        (joined([local(b"a", b"1")], [central(b"a", b"2", 0)]), "crc"),
        (
            joined([local(b"a", b"1", flags=1)], [central(b"a", b"1", 0)]),
            "encryption",
        ),
        (
            joined(
                [local(b"a", b"1")],
                [central(b"a", b"1", 0, method=8, sizes=(1, 1))],
            ),
            "method",
        ),
    ],
    ids=["size", "crc", "encryption", "method"],
)
def test_where_the_two_differ_this_is_told(octets: bytes, differing: str) -> None:
    assert seen(octets)[1] == [f"archive-disagrees: directory and header: {differing}"]


def test_of_two_sizes_the_larger_is_read() -> None:
    octets = joined([local(b"a", b"12")], [central(b"a", b"12", 0, sizes=(1, 2))])
    assert seen(octets)[0] == {(b"a",): b"12"}


def test_a_file_that_no_directory_knows_is_found() -> None:
    body = [local(b"a", b"1"), local(b"x.exe", EXE, method=8)]
    octets = joined(body, [central(b"a", b"1", 0)])
    assert seen(octets) == (
        {(b"a",): b"1", (b"x.exe",): EXE},
        ["archive-disagrees: a file in no directory"],
    )


def test_a_file_covered_by_the_size_of_another_is_found_by_its_own_header() -> None:
    """The directory says that the first one goes on; its own header says not."""
    first, hidden = local(b"a", b"1"), local(b"x.exe", EXE)
    sizes = (1 + len(hidden), 1 + len(hidden))
    octets = joined([first, hidden], [central(b"a", b"1", 0, sizes=sizes)])
    assert seen(octets)[0][(b"x.exe",)] == EXE


def test_without_a_directory_local_headers_are_read() -> None:
    octets = local(b"x.exe", EXE, method=8) + local(b"b", b"2")
    assert seen(b"junk" + octets) == (
        {(b"x.exe",): EXE, (b"b",): b"2"},
        ["archive-damaged: no directory"],
    )


def test_of_a_file_in_a_stream_without_directory_all_is_read() -> None:
    octets = local(b"x.exe", EXE, method=8, flags=8, sizes=(0, 0), crc=0)
    assert seen(octets)[0] == {(b"x.exe",): EXE}


def test_headers_in_stored_content_are_members_of_what_is_stored() -> None:
    inner = zipped({"i": EXE})
    octets = joined([local(b"i.zip", inner)], [central(b"i.zip", inner, 0)])
    assert seen(octets) == ({(b"i.zip",): inner}, [])


def test_what_is_before_it_is_told() -> None:
    assert seen(b"GIF89a" + zipped({"a": b"1"})) == (
        {(b"a",): b"1"},
        ["archive-prepended: 6 octets"],
    )


def test_a_file_without_local_header_is_listed() -> None:
    octets = joined([b"?" * 40], [central(b"a", b"1", 0)])
    assert seen(octets) == (
        {(b"a",): None},
        ["archive-damaged: no local header"],
    )


@pytest.mark.parametrize("flags", [1, 0x41, 0x2001])
def test_encrypted_files_are_listed_in_each_way_of_encryption(flags: int) -> None:
    octets = joined(
        [local(b"a", b"????", flags=flags)], [central(b"a", b"????", 0, flags=flags)]
    )
    assert seen(octets)[0] == {(b"a",): "encrypted"}


def test_aes_is_known_by_its_method_too() -> None:
    octets = joined(
        [local(b"a", b"????", method=99)],
        [central(b"a", b"????", 0, method=99, sizes=(4, 4))],
    )
    assert seen(octets)[0] == {(b"a",): "encrypted"}


def test_what_is_promised_wrongly_is_damaged() -> None:
    sizes = (len(deflated(EXE)), 5)
    octets = joined(
        [local(b"a", EXE, method=8, sizes=sizes)],
        [central(b"a", EXE, 0, method=8, sizes=sizes)],
    )
    assert seen(octets)[0] == {
        (b"a",): "archive-damaged: content is not what was promised"
    }


def test_content_that_cannot_be_inflated_is_damaged() -> None:
    bad = b"\xff\xff\xff"
    sizes = (3, 9)
    octets = joined(
        [local(b"a", bad, sizes=sizes, method=0).replace(b"\0\0\0\0", b"\0\0\0\0", 1)],
        [central(b"a", bad, 0, sizes=sizes)],
    ).replace(b"\x14\0\0\0\0\0\0\0", b"\x14\0\0\0\x08\0\0\0")
    assert "archive-damaged" in str(seen(octets)[0])
    assert zlib.crc32(bad)  # the octets are there, only not as promised


@pytest.mark.parametrize("method", [1, 6, 9, 97])
def test_other_methods_are_not_inspectable(method: int) -> None:
    octets = joined(
        [local(b"a", b"1", method=method)], [central(b"a", b"1", 0, method=method)]
    )
    assert seen(octets)[0] == {(b"a",): f"not-inspectable: zip method {method}"}


def test_one_more_than_asked_for_is_listed() -> None:
    octets = zipped({str(number): b"" for number in range(20)})
    assert sum(isinstance(one, Member) for one in zip_members(octets, 5)) == 6
    strays = b"".join(local(b"%d" % number, b"") for number in range(20))
    assert sum(isinstance(one, Member) for one in zip_members(strays, 5)) == 6


def test_an_empty_directory_has_nothing() -> None:
    assert seen(end(0, 0, 0)) == ({}, [])
