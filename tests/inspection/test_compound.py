from __future__ import annotations

import struct

import pytest

from smtpguard.inspection.compound import MAX_STREAMS, MSI, PROTECTED, look_at_compound
from smtpguard.inspection.signatures import OLE
from smtpguard.model.contents import Contents, Fact
from tests.inspection.compounds import compound, entry


WORD = struct.pack("<HHHHHH", 0xA5EC, 0xC1, 0, 0x407, 0, 0x1000)
WORD_ENCRYPTED = struct.pack("<HHHHHH", 0xA5EC, 0xC1, 0, 0x407, 0, 0x1100)
BOF = struct.pack("<HHHH", 0x0809, 16, 0x0600, 5) + bytes(12)
FILE_PASS = struct.pack("<HH", 0x2F, 6) + bytes(6)
MACRO_SHEET = struct.pack("<HHIBB", 0x85, 9, 0, 0, 1) + b"\1\0A"
END = struct.pack("<HH", 0x0A, 0)
VBA_ATOM = bytes.fromhex("1f00ff03 14000000 02000004 0c000000 07000000")
USER = struct.pack("<HHIII", 0, 0xFF6, 20, 20, 0xE391C05F)
USER_ENCRYPTED = struct.pack("<HHIII", 0, 0xFF6, 20, 20, 0xF3D1C4DF)
DAMAGED = {Fact.MALFORMED, Fact.LIMIT}


def look(streams: dict[str, bytes], class_id: bytes = bytes(16)) -> Contents:
    return look_at_compound(compound(streams, class_id))


@pytest.mark.parametrize(
    ("streams", "kind"),
    [
        ({"WordDocument": WORD, "1Table": b""}, "application/msword"),
        ({"Workbook": BOF + END}, "application/vnd.ms-excel"),
        ({"Book": BOF + END}, "application/vnd.ms-excel"),
        (
            {"PowerPoint Document": b"x", "Current User": USER},
            "application/vnd.ms-powerpoint",
        ),
        ({"__properties_version1.0": b""}, "application/vnd.ms-outlook"),
        ({"x": b""}, OLE),
    ],
    ids=["word", "excel", "excel-5", "powerpoint", "outlook", "other"],
)
def test_a_document_is_named_by_its_streams(
    streams: dict[str, bytes], kind: str
) -> None:
    assert look(streams) == Contents(kind)


@pytest.mark.parametrize(
    "streams",
    [
        {"WordDocument": WORD, "Macros/x": b""},
        {"WordDocument": WORD, "VBA/_VBA_PROJECT": b""},
        {"Workbook": BOF + END, "_VBA_PROJECT_CUR/x": b""},
        {"Workbook": BOF + MACRO_SHEET + END},
        {
            "PowerPoint Document": bytes(600) + VBA_ATOM + b"\1\0\0\0\2\0\0\0",
            "Current User": USER,
        },
    ],
    ids=["word", "vba", "excel", "excel-4", "powerpoint"],
)
def test_macros_are_seen(streams: dict[str, bytes]) -> None:
    assert look(streams).facts == {Fact.MACRO}


def test_a_presentation_that_says_it_has_no_macros_has_none() -> None:
    stream = VBA_ATOM + b"\0\0\0\0\2\0\0\0"
    assert look({"PowerPoint Document": stream}).facts == frozenset()


@pytest.mark.parametrize(
    ("streams", "kind"),
    [
        ({"EncryptionInfo": b"", "EncryptedPackage": b""}, PROTECTED),
        ({"\x09DRMContent": b""}, PROTECTED),
        ({"WordDocument": WORD_ENCRYPTED}, "application/msword"),
        ({"Workbook": BOF + FILE_PASS + END}, "application/vnd.ms-excel"),
        (
            {"PowerPoint Document": b"x", "Current User": USER_ENCRYPTED},
            "application/vnd.ms-powerpoint",
        ),
    ],
    ids=["ooxml", "rights", "word", "excel", "powerpoint"],
)
def test_encryption_is_seen(streams: dict[str, bytes], kind: str) -> None:
    assert look(streams) == Contents(kind, frozenset({Fact.ENCRYPTED}))


@pytest.mark.parametrize("last", ["82", "84", "86"])
def test_an_installer_is_known_by_its_class(last: str) -> None:
    class_id = bytes.fromhex(f"{last}100c0000000000c000000000000046")
    assert look({"x": b""}, class_id) == Contents(MSI, frozenset({Fact.EXECUTABLE}))


def test_an_installer_is_known_by_the_names_of_its_tables() -> None:
    assert look({"\u4840\u3f3f": b""}).facts == {Fact.EXECUTABLE}


def test_an_embedded_document_is_looked_at_but_does_not_name_the_file() -> None:
    found = look({"Workbook": BOF + END, "MBD0001/WordDocument": WORD_ENCRYPTED})
    assert found.detected == "application/vnd.ms-excel"
    assert found.facts == {Fact.ENCRYPTED}


def test_an_embedded_object_is_a_finding() -> None:
    found = look({"WordDocument": WORD, "ObjectPool/\x01Ole10Native": b""})
    assert [finding.kind for finding in found.findings] == ["embedded-object"]


@pytest.mark.parametrize(
    ("at", "octet"),
    [(66, 0), (66, 3), (65, 1), (64, 27), (64, 66), (25, 1)],
    ids=["deleted", "unknown", "long", "odd", "longer", "unended"],
)
def test_what_is_no_entry_has_no_name(at: int, octet: int) -> None:
    octets = bytearray(compound({"x": b"", "_VBA_PROJECT": b""}))
    start = octets.index("_VBA_PROJECT".encode("utf-16-le"))
    octets[start + at] = octet
    assert look_at_compound(bytes(octets)).facts == frozenset()


def test_macros_of_a_broken_file_are_seen() -> None:
    """Office repairs what olefile gives up on."""
    octets = bytearray(compound({"WordDocument": WORD, "VBA/_VBA_PROJECT": b""}))
    octets[44:76] = b"\xff" * 32
    found = look_at_compound(bytes(octets))
    assert found.facts == {Fact.MACRO, *DAMAGED}
    assert [finding.kind for finding in found.findings] == ["ole-damaged"]


def test_a_stream_that_cannot_be_read_is_told() -> None:
    octets = compound({"WordDocument": WORD})
    at = octets.index("WordDocument".encode("utf-16-le"))
    broken = octets[: at + 116] + struct.pack("<I", 0x7FFFFFF0) + octets[at + 120 :]
    assert look_at_compound(broken).facts == DAMAGED


def test_a_stream_longer_than_the_file_is_not_read() -> None:
    """Its sectors run in a circle: 2 GiB would be read from 5 KiB."""
    octets = compound({"WordDocument": WORD})
    at = octets.index("WordDocument".encode("utf-16-le"))
    looped = bytearray(octets)
    looped[at + 120 : at + 124] = struct.pack("<I", 0x7FFFFFFF)
    table = len(octets) - 512
    looped[table : table + 4] = struct.pack("<I", 0)
    assert look_at_compound(bytes(looped)).facts == DAMAGED


def test_a_tree_deeper_than_the_interpreter_can_go_is_told() -> None:
    entries = entry("Root Entry", 5, child=1)
    entries += b"".join(entry(f"s{at}", 1, child=at + 1) for at in range(1, 3000))
    entries += entry("WordDocument", 2)
    sectors = -(-len(entries) // 512)
    fat = [*range(1, sectors), 0xFFFFFFFE]
    tables = -(-(sectors + 10) // 128)
    fat += [0xFFFFFFFD] * tables + [0xFFFFFFFF] * 1000
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack("<9I", 0, tables, 0, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    header += struct.pack(
        "<109I",
        *range(sectors, sectors + tables),
        *[0xFFFFFFFF] * (109 - tables),
    )
    table = struct.pack(f"<{tables * 128}I", *fat[: tables * 128])
    found = look_at_compound(header + entries.ljust(sectors * 512, b"\0") + table)
    assert found.detected == "application/msword"
    assert found.facts == DAMAGED


def test_too_many_embedded_documents_are_told() -> None:
    many = {f"M{at}/WordDocument": WORD[:12] for at in range(MAX_STREAMS)}
    assert look(many).facts == frozenset()
    assert look(many | {"M/WordDocument": WORD}).facts == DAMAGED


def test_a_signature_alone_is_a_compound_file() -> None:
    assert look_at_compound(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") == Contents(OLE)
