from __future__ import annotations

import pytest

from smtpguard.inspection.text import (
    SAMPLE_OCTETS,
    is_text,
    is_wide_text,
    markup_type,
    read_text,
)


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"Hello\r\n", True),
        ("Grüße".encode(), True),
        ("Grüße".encode("latin-1"), True),
        (b"\x1b$B\x1b(B \x0c", True),
        (b"", False),
        (b"a\x00b", False),
        (b"\x7fELF", False),
    ],
    ids=["ascii", "utf-8", "latin-1", "iso-2022", "empty", "nul", "delete"],
)
def test_text_is_told_from_other_octets(octets: bytes, *, text: bool) -> None:
    assert is_text(octets) == text


def test_utf16_is_text_with_a_mark_and_without() -> None:
    assert is_wide_text("Hellö".encode("utf-16"))
    assert is_wide_text("Hello world".encode("utf-16-le"))
    assert not is_wide_text(b"Hello world")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "ascii"])
def test_each_encoding_reads_the_same(encoding: str) -> None:
    assert read_text("Hello world".encode(encoding)) == "Hello world"


def test_utf16_with_the_high_octet_first_is_read_by_its_mark() -> None:
    assert read_text(b"\xfe\xff\0H\0i") == "Hi"


def test_no_more_than_a_sample_is_read() -> None:
    assert len(read_text(b"a" * (SAMPLE_OCTETS + 1))) == SAMPLE_OCTETS


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<!DOCTYPE html><p>", "text/html"),
        (" \r\n<!-- x -- y --><html>", "text/html"),
        ('<a href="x">', "text/html"),
        ('<?xml version="1.0"?><svg xmlns="x">', "image/svg+xml"),
        ("<svg>", "image/svg+xml"),
        ('<?xml version="1.0"?><x/>', "text/xml"),
        ("BEGIN:VCALENDAR\r\nVERSION:2.0", "text/calendar"),
        ("begin:vcard\n", "text/vcard"),
        ("[InternetShortcut]\nURL=x", "application/x-mswinurl"),
        ("[DEFAULT]\nBASEURL=x\n[InternetShortcut]\nURL=x", "application/x-mswinurl"),
        ('<a href="data:' + "x" * 1000 + '">', "text/html"),
        ("iieo\n<html>", "text/html"),
        ("\n\xef\xbb\xbf<!DOCTYPE html>", "text/html"),
        ("</br></br><center>", "text/html"),
        ("a\n" * 2048 + "<html>", ""),
        ("a < b <html>", ""),
        ("<a@example.com> wrote:", ""),
        ("<p@example.com> wrote:", ""),
        ("<htmlish>", ""),
    ],
)
def test_markup_is_told_by_how_it_begins(text: str, kind: str) -> None:
    assert markup_type(text) == kind
