from __future__ import annotations

import struct

import pytest

from smtpguard.inspection import rar
from smtpguard.inspection.rar import MAGIC_4, MAGIC_5, is_rar, look_at_rar
from smtpguard.model.contents import Fact


def block4(kind: int, flags: int = 0, body: bytes = b"", data: bytes = b"") -> bytes:
    return struct.pack("<HBHH", 0, kind, flags, 7 + len(body)) + body + data


def file4(flags: int, data: bytes) -> bytes:
    body = struct.pack("<II", len(data), len(data)) + bytes(17) + b"a"
    return block4(0x74, flags | 0x8000, body, data)


def vint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])


def block5(kind: int, extra: bytes = b"", data: bytes = b"") -> bytes:
    flags = (0x01 if extra else 0) | (0x02 if data else 0)
    body = vint(kind) + vint(flags)
    body += vint(len(extra)) if extra else b""
    body += vint(len(data)) if data else b""
    body += b"fields of it" + extra
    return bytes(4) + vint(len(body)) + body + data


TIMES = vint(3) + b"\x03\x00\x00"
ENCRYPTION = vint(4) + b"\x01\x00\x00\x0f"
MAIN4, MAIN5 = block4(0x73, 0, bytes(6)), block5(1)
NOISE = bytes(range(256)) * 2


@pytest.mark.parametrize(
    ("octets", "encrypted"),
    [
        (MAGIC_4 + MAIN4 + file4(0, NOISE) + block4(0x7B), False),
        (MAGIC_4 + MAIN4 + file4(0, NOISE) + file4(0x0004, NOISE), True),
        (MAGIC_4 + block4(0x73, 0x0080, bytes(6)) + NOISE, True),
        (MAGIC_4 + MAIN4 + block4(0x7B) + file4(0x0004, b""), False),
        (MAGIC_5 + MAIN5 + block5(2, TIMES, NOISE) + block5(5), False),
        (MAGIC_5 + MAIN5 + block5(2, b"", NOISE) + block5(2, ENCRYPTION, NOISE), True),
        (MAGIC_5 + MAIN5 + block5(2, TIMES + ENCRYPTION), True),
        (MAGIC_5 + block5(4) + NOISE, True),
        (MAGIC_5 + MAIN5 + block5(5) + block5(4), False),
    ],
    ids=[
        "4",
        "4-second-file",
        "4-headers",
        "4-after-the-end",
        "5",
        "5-second-file",
        "5-second-record",
        "5-headers",
        "5-after-the-end",
    ],
)
def test_encryption_is_seen_in_both_formats(octets: bytes, encrypted: bool) -> None:
    expected = {Fact.ARCHIVE, Fact.ENCRYPTED} if encrypted else {Fact.ARCHIVE}
    assert look_at_rar(octets).facts == expected
    assert is_rar(octets, 0)
    assert look_at_rar(b"behind" + octets, 6).facts == expected


def test_data_of_more_than_4_gib_is_jumped_over() -> None:
    body = struct.pack("<II", 5, 5) + bytes(17) + struct.pack("<II", 1, 1)
    octets = MAGIC_4 + MAIN4 + block4(0x74, 0x8100, body, b"x" * 5)
    assert look_at_rar(octets + file4(0x0004, b"")).facts == {Fact.ARCHIVE}


@pytest.mark.parametrize(
    "octets",
    [
        MAGIC_4 + struct.pack("<HBHH", 0, 0x73, 0, 0),
        MAGIC_5 + bytes(20),
        b"Rar!\x1a\x07\x09",
    ],
    ids=["4", "5", "version"],
)
def test_what_cannot_be_read_is_told(octets: bytes) -> None:
    found = look_at_rar(octets)
    assert found.facts == {Fact.ARCHIVE, Fact.LIMIT}
    assert [finding.kind for finding in found.findings] == ["not-inspectable"]


@pytest.mark.parametrize(
    "octets",
    [MAGIC_4 + MAIN4 + block4(0x75) * 3, MAGIC_5 + MAIN5 + block5(3) * 3],
    ids=["4", "5"],
)
def test_too_many_headers_are_told(
    octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rar, "MAX_BLOCKS", 5)
    assert look_at_rar(octets).facts == {Fact.ARCHIVE}
    monkeypatch.setattr(rar, "MAX_BLOCKS", 4)
    assert look_at_rar(octets).facts == {Fact.ARCHIVE, Fact.LIMIT}


def test_a_signature_in_a_text_begins_no_archive() -> None:
    assert not is_rar(MAGIC_4 + b"is how it begins", 0)
    assert not is_rar(MAGIC_5 + b"is how it begins", 0)
    assert not is_rar(b"Rar!", 0)
    assert not is_rar(bytes(8) + MAIN5, 0)


def test_data_of_other_blocks_is_jumped_over() -> None:
    hidden = file4(0x0004, b"")
    size = struct.pack("<I", len(hidden))
    octets = MAGIC_4 + MAIN4 + block4(0x75, 0x8000, size, hidden)
    assert look_at_rar(octets).facts == {Fact.ARCHIVE}
    without_flag = struct.pack("<II", len(hidden), 1) + bytes(18)
    octets = MAGIC_4 + MAIN4 + block4(0x74, 0, without_flag, hidden)
    assert look_at_rar(octets).facts == {Fact.ARCHIVE}


def test_numbers_of_several_octets_are_read() -> None:
    extra = vint(200) + b"\x03" + bytes(199)
    data = block5(2, ENCRYPTION)
    octets = MAGIC_5 + MAIN5 + block5(2, extra, data)
    assert look_at_rar(octets).facts == {Fact.ARCHIVE}
    assert look_at_rar(octets + data).facts == {Fact.ARCHIVE, Fact.ENCRYPTED}
