"""Excel's binary records (MS-XLS 2.1.4): encryption and macro sheets.

The records of a workbook stream, or of a file that is nothing else: Excel opens both.
Reads the headers of ``MAX_RECORDS`` records.
"""

from __future__ import annotations

import re

from smtpguard.inspection.octets import little
from smtpguard.model.contents import Contents, Fact, Finding


MAX_RECORDS = 100_000

EXCEL = "application/vnd.ms-excel"

# BOF of Excel 2 to 8, its size, and the kinds of sheets that there are.
_BOF = re.compile(
    rb"\x09[\x00\x02\x04\x08](?:[\x04\x06\x08\x10])\x00..(?:[\x05\x06\x10\x20\x40]\x00"
    rb"|\x00\x01)",
    re.DOTALL,
)
_BOFS = frozenset({0x0009, 0x0209, 0x0409, 0x0809})
_FILE_PASS = 0x002F
_BOUND_SHEET = 0x0085
_MACRO_SHEET = 0x40
_SHEET_TYPES_WITH_MACROS = frozenset({1, 6})
"""A macro sheet of Excel 4, a module of Excel 5 (MS-XLS 2.4.28)."""


def is_biff(octets: bytes) -> bool:
    """Whether ``octets`` are the records of Excel without a compound file."""
    return _BOF.match(octets[:16]) is not None


def look_at_biff(octets: bytes) -> Contents:
    """Return what the records tell; too many of them are a limit."""
    facts: set[Fact] = set()
    at = 0
    for _ in range(MAX_RECORDS):
        if at + 4 > len(octets):
            return Contents(EXCEL, frozenset(facts))
        kind, size = little(octets, at, 2), little(octets, at + 2, 2)
        if kind == _FILE_PASS:
            # What follows is encrypted, all but the headers of the records.
            facts.add(Fact.ENCRYPTED)
            return Contents(EXCEL, frozenset(facts))
        if kind in _BOFS and little(octets, at + 6, 2) == _MACRO_SHEET:
            facts.add(Fact.MACRO)
        elif kind == _BOUND_SHEET:
            sheet_type = little(octets, at + 9, 1)
            if sheet_type in _SHEET_TYPES_WITH_MACROS:
                facts.add(Fact.MACRO)
        at += 4 + size
    finding = Finding("limit-records", f"more than {MAX_RECORDS} records")
    return Contents(EXCEL, frozenset({*facts, Fact.LIMIT}), findings=(finding,))
