from __future__ import annotations

import struct

import pytest

from smtpguard.inspection.biff import MAX_RECORDS, is_biff, look_at_biff
from smtpguard.model.contents import Fact


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def bof(sheet: int = 0x0005) -> bytes:
    return record(0x0809, struct.pack("<HH", 0x0600, sheet) + bytes(12))


def bound_sheet(kind: int) -> bytes:
    return record(0x0085, struct.pack("<IBB", 0x1234, 0, kind) + b"\x01\x00A")


END = record(0x000A, b"")


def test_a_workbook_of_tables_tells_nothing() -> None:
    assert look_at_biff(bof() + bound_sheet(0) + bound_sheet(2) + END).facts == set()


@pytest.mark.parametrize("kind", [1, 6], ids=["excel-4", "module"])
def test_a_sheet_of_macros_is_seen_behind_others(kind: int) -> None:
    assert look_at_biff(bof() + bound_sheet(0) + bound_sheet(kind)).facts == {
        Fact.MACRO
    }


def test_a_stream_that_is_a_macro_sheet_itself() -> None:
    assert look_at_biff(record(0x0009, struct.pack("<HH", 2, 0x40))).facts == {
        Fact.MACRO
    }


def test_file_pass_is_encryption_and_ends_what_can_be_read() -> None:
    octets = bof() + record(0x002F, bytes(54)) + bound_sheet(1)
    assert look_at_biff(octets).facts == {Fact.ENCRYPTED}


def test_too_many_records_are_a_limit() -> None:
    flood = record(0x0001, b"")
    found = look_at_biff(flood * MAX_RECORDS)
    assert found.facts == {Fact.LIMIT}
    assert [finding.kind for finding in found.findings] == ["limit-records"]
    assert look_at_biff(flood * (MAX_RECORDS - 1)).facts == set()


def test_records_without_a_compound_file_are_known() -> None:
    assert is_biff(bof())
    assert is_biff(record(0x0009, struct.pack("<HH", 2, 0x10)))
    assert not is_biff(b"\t\x08 text")
    assert not is_biff(b"")
