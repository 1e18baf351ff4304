from __future__ import annotations

import pytest

from smtpguard.inspection.arjreader import arj_members, is_arj
from smtpguard.inspection.members import Member, Oddity, UnreadableError
from tests.inspection.crafted import EXE, arj


def only(octets: bytes, start: int = 0) -> Member:
    (member,) = arj_members(octets, start)
    assert isinstance(member, Member)
    return member


def content(member: Member) -> bytes:
    assert member.chunks is not None
    return b"".join(member.chunks)


def test_a_stored_file_is_read() -> None:
    member = only(arj(b"d/x.exe", EXE))
    assert (member.names, member.size) == ((b"d/x.exe",), len(EXE))
    assert content(member) == EXE


def test_it_may_begin_anywhere() -> None:
    octets = b"\x60\xea" + b"?" * 40 + arj(b"x", EXE)
    assert not is_arj(octets)
    assert is_arj(octets, 42)
    assert content(only(octets, 42)) == EXE


def test_a_compressed_file_is_listed_and_cannot_be_read() -> None:
    with pytest.raises(UnreadableError) as caught:
        content(only(arj(b"x", EXE, method=4)))
    assert (caught.value.kind, caught.value.detail) == (
        "not-inspectable",
        "arj method 4",
    )


def test_a_garbled_file_is_encrypted() -> None:
    member = only(arj(b"x", EXE, flags=1))
    assert member.encrypted
    assert member.chunks is None


def test_content_that_was_changed_or_cut_is_damaged() -> None:
    octets = arj(b"x", EXE)
    for damaged in (octets.replace(b"MZ", b"MX"), octets[:-20]):
        member = next(arj_members(damaged))
        assert isinstance(member, Member)
        with pytest.raises(UnreadableError) as caught:
            content(member)
        assert caught.value.kind == "archive-damaged"


def test_a_damaged_header_ends_the_list_and_is_told() -> None:
    octets = arj(b"name", EXE)
    for damaged in (octets.replace(b"name", b"nama"), octets[:60], octets[:-4]):
        *_, last = arj_members(damaged)
        assert last == Oddity("archive-damaged", "arj header", unseen=True)


def test_other_octets_are_none() -> None:
    for octets in (b"", b"\x60", b"\x60\xea", b"\x60\xea\0\0", b"\x60\xea\xff\xff"):
        assert not is_arj(octets) or octets == b"\x60\xea\0\0"
