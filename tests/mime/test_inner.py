"""What lies in a leaf for some reader, as defects and contents (attacks M2 to M8)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace

import pytest

from smtpguard.mime.defects import DefectLog, Kind
from smtpguard.mime.entity import Claims
from smtpguard.mime.inner import Inner, hidden_parts, inner_contents
from smtpguard.mime.octets import Span
from smtpguard.mime.otherreadings import MAX_OCTETS, MAX_PADDINGS


TOOL = b"MZ\x90\0 a tool of some length, so that it fills lines" * 3
BASE64 = base64.encodebytes(TOOL).replace(b"\n", b"\r\n")
LEAF = Claims("application/x-tool", None, "7bit", ("a.exe",))
TEXT = Claims("text/plain", None, "7bit", ())


def found(body: bytes, claims: Claims, *odd: Kind) -> tuple[list[Inner], set[Kind]]:
    """Return what is in a body and what is noted besides ``odd``."""
    log = DefectLog()
    for kind in odd:
        log.add(kind, "1.2", 0)
    around = b"QU#JD" + body + b"begin 644 no.exe\r\n"
    span = Span(5, 5 + len(body))
    inner = list(inner_contents(around, span, claims, "1.2", log))
    return inner, {defect.kind for defect in log.all()} - set(odd)


@pytest.mark.parametrize(
    ("body", "claims"),
    [
        (b"", TEXT),
        (b"just text = nothing else\r\n", TEXT),
        (b"\x89PNG\r\n\x1a\n", LEAF),
        (b"-" * 60 + b"\r\n", TEXT),
        (b"x" * 76 + b"\r\n", TEXT),
        (BASE64, replace(LEAF, transfer_encoding="base64")),
        (b"a=3Db=\r\n", replace(TEXT, transfer_encoding="quoted-printable")),
    ],
)
def test_what_is_clean_has_nothing_in_it(body: bytes, claims: Claims) -> None:
    assert found(body, claims) == ([], set())


def test_base64_that_is_read_in_two_ways_is_there_in_both() -> None:
    junk = b"\r\n".join(line and line + b"#zz" for line in BASE64.split(b"\r\n"))
    inner, noted = found(junk, replace(LEAF, transfer_encoding="base64"))
    assert Inner(TOOL) in inner
    assert noted == {Kind.BAD_BASE64, Kind.AMBIGUOUS_CONTENT}
    # A text that nobody saves as a file is looked into, and is no alarm.
    inner, noted = found(junk, replace(TEXT, transfer_encoding="base64"))
    assert Inner(TOOL) in inner
    assert noted == {Kind.BAD_BASE64}


def test_quoted_printable_that_is_read_in_two_ways_is_there_in_both() -> None:
    body = b"".join(b"==%02X" % octet for octet in TOOL)
    inner, noted = found(body, replace(LEAF, transfer_encoding="quoted-printable"))
    assert Inner(TOOL) in inner
    assert noted == {Kind.BAD_QUOTED_PRINTABLE, Kind.AMBIGUOUS_CONTENT}


@pytest.mark.parametrize(
    "encoding", ["x-base64", "base6", "", "bas", "uuencode", "quoted-printabl"]
)
def test_an_unknown_encoding_is_tried_and_is_ambiguous(encoding: str) -> None:
    claims = replace(LEAF, transfer_encoding=encoding)
    inner, noted = found(BASE64, claims, Kind.UNKNOWN_TRANSFER_ENCODING)
    assert Inner(TOOL) in inner
    assert noted == {Kind.AMBIGUOUS_CONTENT}


def test_an_unknown_encoding_of_a_text_is_no_alarm() -> None:
    """Ten of five hundred real mails have one, from programs of their senders."""
    claims = replace(TEXT, transfer_encoding="amazonses")
    body = b"Dear customer, your parcel is late.\r\n"
    assert found(body, claims, Kind.UNKNOWN_TRANSFER_ENCODING) == ([], set())


def test_behind_a_broken_header_the_looks_count() -> None:
    inner, noted = found(BASE64, LEAF, Kind.CONTROL_IN_HEADER)
    assert inner == [Inner(TOOL)]
    assert noted == {Kind.AMBIGUOUS_CONTENT}


def test_a_line_that_is_no_field_may_begin_the_content() -> None:
    """noxxi: the first line of base64 stands before the empty line."""
    log = DefectLog()
    log.add(Kind.MALFORMED_FIELD, "1.2", 0)
    first, _, rest = BASE64.partition(b"\r\n")
    text = first + b"\r\n\r\n" + rest
    body = Span(len(first) + 4, len(text))
    claims = replace(LEAF, transfer_encoding="base64")
    inner = list(inner_contents(text, body, claims, "1.2", log))
    assert Inner(TOOL) in inner


def test_a_body_of_base64_alone_is_read_whatever_is_claimed() -> None:
    inner, noted = found(BASE64, LEAF)
    assert inner == [Inner(TOOL)]
    assert noted == {Kind.AMBIGUOUS_CONTENT}


def test_files_in_text_are_there_with_their_names() -> None:
    row = binascii.b2a_uu(TOOL[:45]).rstrip(b"\n")
    uu = b"Look:\r\nbegin 644 b.exe\r\n" + row + b"\r\n`\r\nend\r\n"
    inner, noted = found(uu, TEXT)
    assert inner == [Inner(TOOL[:45], "b.exe", is_file=True)]
    assert noted == {Kind.EMBEDDED_FILE}
    coded = base64.encodebytes(uu).replace(b"\n", b"\r\n")
    inner, _ = found(coded, replace(TEXT, transfer_encoding="base64"))
    assert inner == [Inner(TOOL[:45], "b.exe", is_file=True)]


def test_what_is_too_large_to_be_read_in_other_ways_is_told() -> None:
    claims = replace(LEAF, transfer_encoding="x-unknown")
    body = b"QUJD\r\n" * (MAX_OCTETS // 6 + 1)
    assert found(body, claims, Kind.UNKNOWN_TRANSFER_ENCODING) == (
        [],
        {Kind.LIMIT_READINGS},
    )
    padded = b"QQ==" * (MAX_PADDINGS // 2 + 1)
    _, noted = found(padded, replace(LEAF, transfer_encoding="base64"))
    assert Kind.LIMIT_READINGS in noted


LONG = b"a line of a text, as long as such lines are\r\n" * (MAX_OCTETS // 45 + 1)
BEGIN = b"begin 644 b.exe\r\n#0V%T\r\n`\r\nend\r\n"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("7bit", LONG + BEGIN),
        ("base64", base64.encodebytes(LONG + BEGIN).replace(b"\n", b"\r\n")),
        ("base64", base64.encodebytes(BEGIN + LONG).replace(b"\n", b"\r\n")),
        ("quoted-printable", BEGIN.replace(b"b", b"=62", 1) + LONG),
    ],
    ids=["plain", "base64", "base64-first", "quoted-printable"],
)
def test_a_file_in_a_text_too_large_to_be_searched_is_told(
    encoding: str, body: bytes
) -> None:
    claims = replace(TEXT, transfer_encoding=encoding)
    assert found(body, claims) == ([], {Kind.LIMIT_READINGS})


def test_a_large_text_is_no_alarm() -> None:
    dashes = b"--X\r\nContents are long.\r\nThey begin 644 pages\r\nbelow.\r\n"
    text = dashes + LONG + dashes
    assert found(text, TEXT) == ([], set())
    coded = base64.encodebytes(text).replace(b"\n", b"\r\n")
    assert found(coded, replace(TEXT, transfer_encoding="base64")) == ([], set())
    log = DefectLog()
    assert list(hidden_parts(text, Span(0, len(text)), "1", log)) == []
    assert log.all() == ()


def test_hidden_parts_far_behind_are_told() -> None:
    part = b"--X\r\nContent-Type: a/b\r\n\r\nx\r\n--X--\r\n"
    log = DefectLog()
    text = LONG + part
    assert list(hidden_parts(text, Span(0, len(text)), "1", log)) == []
    assert [defect.kind for defect in log.all()] == [Kind.LIMIT_READINGS]
    # The end of a part that begins early is cut off.
    log = DefectLog()
    text = part + LONG
    assert len(list(hidden_parts(text, Span(0, len(text)), "1", log))) == 1
    kinds = {defect.kind for defect in log.all()}
    assert kinds == {Kind.HIDDEN_PARTS, Kind.LIMIT_READINGS}
    # What comes behind the span is not its own.
    log = DefectLog()
    text = LONG + part
    assert list(hidden_parts(text, Span(0, len(LONG)), "1", log)) == []
    assert log.all() == ()


def test_hidden_parts_are_there_by_each_of_their_boundaries() -> None:
    log = DefectLog()
    text = b"x--X\r\nContent-ID: a\r\n\r\n--Y\r\nContent-ID: b\r\n"
    inner = list(hidden_parts(text, Span(1, len(text)), "1", log))
    body = b"\r\n" + text[1:]
    assert inner == [Inner(body, boundary=b"X"), Inner(body, boundary=b"Y")]
    assert [defect.kind for defect in log.all()] == [Kind.HIDDEN_PARTS]
