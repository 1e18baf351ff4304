from __future__ import annotations

import gzip

import pytest

from smtpguard.inspection.members import Member, Oddity, UnreadableError
from smtpguard.unpacking import libarchivereader
from smtpguard.unpacking.libarchivereader import (
    archive_members,
    compressed_members,
    expanded,
    expanded_by_zip,
    is_builtin,
    warm_up,
)
from tests.inspection import crafted
from tests.inspection.crafted import EXE, tarred, zipped


def contents(members: object) -> dict[tuple[bytes | str, ...], bytes]:
    found = {}
    for member in members:  # type: ignore[attr-defined]
        assert isinstance(member, Member), member
        assert member.chunks is not None
        found[member.names] = b"".join(member.chunks)
    return found


def test_libarchive_is_there() -> None:
    assert libarchivereader.available()
    assert all(map(is_builtin, ("gzip", "bzip2", "xz", "lzma", "zstd")))


def test_filters_that_start_programs_are_never_used() -> None:
    for name in ("lrzip", "grzip", "uu", ""):
        assert not is_builtin(name)


def test_it_may_begin_anywhere_and_nothing_is_copied() -> None:
    octets = b"?" * 7 + crafted.rar5(b"x.exe", EXE)
    assert contents(archive_members(octets, 7)) == {("x.exe",): EXE}


def test_each_octet_of_a_name_is_kept_where_its_character_set_is_unknown() -> None:
    for make in (crafted.lzh, crafted.ar, crafted.cpio):
        names = [*contents(archive_members(make(b"a\xe4.exe", EXE)))]
        assert b"a\xe4.exe" in names[0], make


def test_a_zip_is_left_to_the_reader_that_sees_more() -> None:
    (oddity,) = archive_members(zipped({"a": b"b"}))
    assert isinstance(oddity, Oddity)
    assert oddity.unseen


def test_a_list_of_files_of_this_machine_is_no_archive() -> None:
    """mtree names files that libarchive would read from the disk."""
    (oddity,) = archive_members(b"#mtree\n./x type=file contents=/etc/passwd\n")
    assert isinstance(oddity, Oddity)


def test_one_compression_is_undone_at_a_time() -> None:
    twice = gzip.compress(gzip.compress(EXE, mtime=0), mtime=0)
    assert contents(expanded(twice, "gzip")) == {
        (b"data",): gzip.compress(EXE, mtime=0)
    }


def test_members_of_a_compressed_tar() -> None:
    octets = tarred({"a": b"1", "b": b"2"}, "w:gz")
    assert contents(compressed_members(octets, "gzip")) == {
        (b"a",): b"1",
        (b"b",): b"2",
    }


def test_folders_are_no_members() -> None:
    head = bytearray(tarred({"d/": b""})[:512])
    head[156] = ord("5")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    assert [*archive_members(bytes(head) + bytes(1024))] == []


def test_an_encrypted_member_has_no_content() -> None:
    (member,) = archive_members(crafted.rar4(b"x", EXE, flags=4))
    assert isinstance(member, Member)
    assert (member.encrypted, member.chunks, member.size) == (True, None, len(EXE))


def test_what_is_cut_behind_an_encrypted_member_is_damaged_not_encrypted() -> None:
    octets = crafted.rar4(b"x", EXE, flags=4)
    found = [*archive_members(octets[:-7] + crafted.rar4(b"y", EXE)[20:55])]
    assert isinstance(found[0], Member)
    assert found[0].encrypted
    oddity = found[-1]
    assert isinstance(oddity, Oddity)
    assert (oddity.unseen, oddity.encrypted) == (True, False)
    assert oddity.kind == "archive-damaged"


@pytest.mark.parametrize("size", [8, 30, 67])
def test_an_archive_cut_in_its_first_header_is_damaged(size: int) -> None:
    (oddity,) = archive_members(crafted.ar(b"x", EXE)[:size])
    assert isinstance(oddity, Oddity)
    assert (oddity.kind, oddity.unseen) == ("archive-damaged", True)


def test_a_member_that_is_cut_is_damaged() -> None:
    members = archive_members(tarred({"x": EXE})[:900])
    member = next(members)
    assert isinstance(member, Member)
    assert member.chunks is not None
    with pytest.raises(UnreadableError) as caught:
        b"".join(member.chunks)
    assert caught.value.kind == "archive-damaged"


def test_a_file_of_a_zip_is_expanded() -> None:
    assert b"".join(expanded_by_zip(crafted.local(b"x", EXE, method=8))) == EXE
    with pytest.raises(UnreadableError):
        b"".join(expanded_by_zip(b"PK\3\4"))


def test_without_libarchive_this_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libarchivereader, "_FFI", None)
    assert not libarchivereader.available()
    assert not is_builtin("gzip")
    (oddity,) = archive_members(tarred({"x": EXE}))
    assert oddity == Oddity(
        "not-inspectable", "no libarchive", unseen=True, malformed=False
    )


def test_warming_up_twice_does_no_harm() -> None:
    warm_up()
    warm_up()
    assert [*contents(archive_members(crafted.lzh(b"\x81", EXE)))] == [(b"\x81",)]


def test_nothing_is_asked_of_an_archive_whose_content_has_failed_for_good() -> None:
    """libarchive 3.6.2 dies if it is asked what follows such a block of a cabinet."""
    members = archive_members(crafted.cab(b"x.exe", EXE, claimed=0x9334))
    member = next(members)
    assert isinstance(member, Member)
    assert member.chunks is not None
    with pytest.raises(UnreadableError):
        b"".join(member.chunks)
    assert [*members] == []
