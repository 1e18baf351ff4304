from __future__ import annotations

import struct

import pytest

from smtpguard.inspection.zipheader import central_header, inflated, local_header
from tests.inspection.crafted import EXE, central, local


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


def test_a_central_header_says_where_the_local_one_is_and_where_it_ends() -> None:
    octets = b"??" + central(b"x.exe", EXE, 40, extra=b"UT\1\0x")
    found = central_header(octets, 2, 7)
    assert found is not None
    header, end = found
    assert (header.offset, header.names, header.data) == (47, (b"x.exe",), 0)
    assert (header.packed, header.size, end) == (len(EXE), len(EXE), len(octets))
    assert central_header(octets, 1, 0) is None
    assert central_header(octets[:40], 2, 0) is None


@pytest.mark.parametrize(
    ("flags", "method", "extra", "encrypted"),
    [
        (0x0001, 8, b"", True),
        (0x0041, 8, b"", True),
        (0x2000, 0, b"", True),
        (0, 99, b"", True),
        (0, 8, b"\x01\x99\x07\x00\x02\x00AE\x03\x08\x00", True),
        (0x0808, 8, b"UT\x05\x00\x03abcd", False),
    ],
    ids=["classic", "strong", "masked", "aes", "aes-extra", "plain"],
)
def test_encryption_is_seen_in_either_header(
    flags: int, method: int, extra: bytes, encrypted: bool
) -> None:
    one = local_header(local(b"x", b"", flags=flags, method=method, extra=extra), 0)
    assert one is not None
    assert one.is_encrypted == encrypted
    octets = central(b"x", b"", 0, flags=flags, method=method, extra=extra)
    found = central_header(octets, 0, 0)
    assert found is not None
    assert found[0].is_encrypted == encrypted


def test_the_beginning_of_a_file_is_read_stored_and_deflated() -> None:
    for method in (0, 8):
        octets = local(b"x", EXE, method=method)
        header = local_header(octets, 0)
        assert header is not None
        assert inflated(octets, header, 9999) == EXE
        some = inflated(octets, header, 100)
        assert some
        assert len(some) <= 100
        assert EXE.startswith(some)


def test_a_file_that_is_a_bomb_is_read_to_the_limit() -> None:
    octets = local(b"x", bytes(5_000_000), method=8)
    header = local_header(octets, 0)
    assert header is not None
    assert inflated(octets, header, 100_000) == bytes(100_000)


@pytest.mark.parametrize(
    "octets",
    [
        local(b"x", b"x", flags=1),
        local(b"x", b"x", method=14),
        local(b"x", b"", method=8)[:-2] + b"\xff\xff\xff",
    ],
    ids=["encrypted", "method", "broken"],
)
def test_a_file_that_cannot_be_read_is_none(octets: bytes) -> None:
    header = local_header(octets, 0)
    assert header is not None
    assert inflated(octets, header, 100) is None
