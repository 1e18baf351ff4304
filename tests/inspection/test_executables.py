from __future__ import annotations

import struct

import pytest

from smtpguard.inspection.executables import DOS, JAVA_CLASS, MACH_O, PE, program_type


def windows(at: int = 0x80, signature: bytes = b"PE\0\0") -> bytes:
    header = b"MZ\x90\0".ljust(0x3C, b"\0") + struct.pack("<I", at)
    return header.ljust(at, b"\0") + signature


def test_pe_is_told_by_the_header_that_mz_points_to() -> None:
    assert program_type(windows()) == PE
    assert program_type(windows(at=0x40)) == PE


@pytest.mark.parametrize("signature", [b"NE\0\0", b"LE\0\0", b"PE\0\x01", b""])
def test_mz_without_pe_is_of_dos(signature: bytes) -> None:
    assert program_type(windows(signature=signature)) == DOS


def test_mz_that_points_beyond_the_end_is_of_dos() -> None:
    assert program_type(windows(at=0x80)[:0x50]) == DOS


def test_pe_header_within_that_of_dos_is_pe() -> None:
    """Packers do so: what counts is what the loader reads."""
    octets = bytearray(64)
    octets[:2] = b"MZ"
    octets[12:16] = b"PE\0\0"
    octets[0x3C:0x40] = struct.pack("<I", 12)
    assert program_type(bytes(octets)) == PE


def test_text_that_begins_with_mz_is_no_program() -> None:
    assert program_type(b"MZ is how programs of DOS begin, after Mark Zbikowski.") == ""
    assert program_type(b"MZ") == ""


def test_zm_is_of_dos_as_well() -> None:
    assert program_type(b"ZM" + bytes(62)) == DOS


@pytest.mark.parametrize(
    "magic", ["feedface", "feedfacf", "cefaedfe", "cffaedfe"], ids=str
)
def test_mach_o_of_each_order_and_width(magic: str) -> None:
    assert program_type(bytes.fromhex(magic) + bytes(28)) == MACH_O


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        ("cafebabe00000002", MACH_O),
        ("cafebabf00000002", MACH_O),
        ("cafebabe0000002d", JAVA_CLASS),
        ("cafebabe00030041", JAVA_CLASS),
        ("cafebabeffff0041", JAVA_CLASS),
        ("cafebabe", ""),
    ],
    ids=["fat", "fat-64", "java-1.1", "minor", "preview", "short"],
)
def test_fat_mach_o_is_told_from_a_java_class(octets: str, kind: str) -> None:
    assert program_type(bytes.fromhex(octets)) == kind
