from __future__ import annotations

import pytest

from smtpguard.inspection.documents import (
    PDF_WINDOW,
    has_pdf_header,
    look_at_onenote,
    look_at_pdf,
    look_at_rtf,
)
from smtpguard.model.contents import Fact


PDF = b"%%PDF-1.7\n1 0 obj\n<</Type/Catalog>>\nendobj\ntrailer\n<</Root 1 0 R%b>>\n"


def test_a_pdf_may_begin_within_the_first_1024_octets() -> None:
    assert has_pdf_header(bytes(PDF_WINDOW) + b"%PDF-1.4")
    assert not has_pdf_header(bytes(PDF_WINDOW + 1) + b"%PDF-1.4")
    assert not has_pdf_header(b"%PDF-x.y")


@pytest.mark.parametrize(
    "entry",
    [
        b"/Encrypt 5 0 R",
        b"/Encrypt<</Filter/Standard>>",
        b"/Encrypt" + b" \r\n\0" * 100 + b"5 0 R",
        b"/#45ncryp#74 5 0 R",
        b"/Encrypt%" + b"x" * 5000 + b"\n5 0 R",
    ],
    ids=["reference", "dictionary", "blanks", "numbers", "comment"],
)
def test_an_encrypted_pdf_is_seen_however_it_is_written(entry: bytes) -> None:
    assert look_at_pdf(PDF % entry).facts == {Fact.ENCRYPTED}


@pytest.mark.parametrize(
    "entry",
    [b"", b"/Encrypt null", b"/EncryptMetadata false", b"(/Encrypt the file)"],
    ids=["none", "null", "metadata", "prose"],
)
def test_an_open_pdf_is_not_encrypted(entry: bytes) -> None:
    assert look_at_pdf(PDF % entry).facts == frozenset()


def test_an_object_in_rich_text_is_a_finding() -> None:
    found = look_at_rtf(rb"{\rtf1{\object\objemb{\*\objdata 0105}}}")
    assert [finding.kind for finding in found.findings] == ["embedded-object"]
    assert look_at_rtf(rb"{\rtf1 an \objector}").findings == ()


def test_a_file_in_onenote_is_a_finding() -> None:
    guid = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
    found = look_at_onenote(bytes(64) + guid)
    assert [finding.kind for finding in found.findings] == ["embedded-object"]
    assert look_at_onenote(bytes(64)).findings == ()
