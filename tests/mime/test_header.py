from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import Field, Span
from smtpguard.mime.defects import DefectLog
from smtpguard.mime.header import parse_fields
from tests.mime.mails import mail


def fields(text: bytes, limit: int = 100) -> tuple[list[Field], dict[str, int]]:
    log = DefectLog()
    found = list(parse_fields(text, Span(0, len(text)), "1", log, limit))
    return found, {str(defect.kind): defect.offset for defect in log.all()}


def test_fields_keep_order_case_and_octets() -> None:
    text = mail("Subject: one", "sUBJECT:two", "X-A:")
    found, defects = fields(text)
    assert [(f.name, f.value) for f in found] == [
        ("Subject", "one"),
        ("sUBJECT", "two"),
        ("X-A", ""),
    ]
    assert b"".join(field.raw for field in found) == text
    assert defects == {}


def test_names_have_no_case() -> None:
    (field,), _ = fields(b"SuBject: x\r\n")
    assert field.is_named("subject")
    assert not field.is_named("subjec")


def test_a_folded_field_is_unfolded() -> None:
    """RFC 5322 2.2.3: only the line end goes."""
    (field, after), defects = fields(mail("Subject: a", "  b", "\tc", "X: y"))
    assert field.raw == b"Subject: a\r\n  b\r\n\tc\r\n"
    assert field.raw_value == b"a  b\tc"
    assert after.name == "X"
    assert defects == {}


def test_a_value_span_is_what_follows_the_colon() -> None:
    text = b"A: 1\r\nSubject:  x \r\n y\r\n"
    field = fields(text)[0][1]
    assert field.value_span.of(text) == b"  x \r\n y"


def test_values_are_decoded() -> None:
    (field,), _ = fields(b"Subject: =?utf-8?q?=C3=BC?=\r\n =?utf-8?q?=C3=A4?=\r\n")
    assert field.value == "üä"


@pytest.mark.parametrize("raw", ["ü".encode(), b"\xfc"], ids=["utf-8", "latin-1"])
def test_eight_bit_values_are_read(raw: bytes) -> None:
    (field,), _ = fields(b"Subject: " + raw + b"\r\n")
    assert field.value == "ü"


def test_a_section_may_end_without_a_line_end() -> None:
    found, _ = fields(b"A: b\r\nC: d")
    assert [(f.name, f.value, f.raw) for f in found] == [
        ("A", "b", b"A: b\r\n"),
        ("C", "d", b"C: d"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "no colon here",
        ": no name",
        "Two words: x",
        b"N\xfcme: x",
        b"\0Content-Type: x",
        " continuation of nothing",
    ],
)
def test_a_line_that_is_no_field_is_skipped_and_told(line: str | bytes) -> None:
    text = mail(line, "A: b")
    found, defects = fields(text)
    assert [f.name for f in found] == ["A"]
    assert defects["malformed-field"] == 0


def test_a_line_that_is_no_field_takes_its_continuations_along() -> None:
    found, defects = fields(mail("A: b", "junk", " Content-Type: text/html", "C: d"))
    assert [f.name for f in found] == ["A", "C"]
    assert defects == {"malformed-field": 6}


@pytest.mark.parametrize("line", ["From a@b Mon Sep  1 12:00:00 2025", ">From a@b x:y"])
def test_an_mbox_line_is_told_apart(line: str) -> None:
    found, defects = fields(mail(line, "A: b"))
    assert [f.name for f in found] == ["A"]
    assert defects == {"mbox-line": 0}


def test_an_mbox_line_stands_only_at_the_beginning() -> None:
    _, defects = fields(mail("A: b", "From a@b Mon Sep  1 12:00:00 2025"))
    assert defects == {"malformed-field": 6}


def test_blanks_before_the_colon_are_allowed_and_told() -> None:
    """RFC 5322 4.5: obsolete, but read."""
    (field,), defects = fields(b"Subject \t: x\r\n")
    assert (field.name, field.value) == ("Subject", "x")
    assert defects == {"space-before-colon": 0}


def test_a_continuation_of_blanks_only_is_told() -> None:
    """Some readers take it for the empty line that ends the header."""
    found, defects = fields(mail("A: b", " \t", "C: d"))
    assert [f.raw for f in found] == [b"A: b\r\n \t\r\n", b"C: d\r\n"]
    assert defects == {"blank-continuation": 6}


@pytest.mark.parametrize("octet", [b"\0", b"\x0b", b"\x0c", b"\x7f", b"\r"])
def test_a_control_character_is_told(octet: bytes) -> None:
    _, defects = fields(b"A: x" + octet + b"y\r\n")
    assert defects == {"control-in-header": 4}


def test_tabs_and_line_ends_are_no_control_characters() -> None:
    _, defects = fields(b"A:\tb\r\n\tc\r\nD: e\n")
    assert defects == {}


def test_fields_are_counted() -> None:
    found, defects = fields(mail("A: 1", "B: 2", "C: 3"), limit=2)
    assert [f.name for f in found] == ["A", "B"]
    assert defects == {"limit-fields": 12}


def test_offsets_are_those_of_the_message() -> None:
    text = b"xxxA: b\r\njunk\r\n"
    log = DefectLog()
    (field,) = parse_fields(text, Span(3, len(text)), "1", log, 9)
    assert field.raw == b"A: b\r\n"
    assert log.all()[0].offset == 9


@given(
    st.lists(st.sampled_from([b"A", b":", b" ", b"\r\n", b"\n", b"\r", b"\0", b"\xff"]))
)
def test_reading_fields_never_raises_and_never_overlaps(pieces: list[bytes]) -> None:
    found, _ = fields(b"".join(pieces))
    spans = [field.span for field in found]
    assert spans == sorted(spans)
    assert all(a.end <= b.start for a, b in itertools.pairwise(spans))
    assert all(field.span.covers(field.value_span) for field in found)
    assert all(isinstance(field.value, str) for field in found)
