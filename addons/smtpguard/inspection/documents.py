"""Documents that are neither zip nor compound file: PDF, RTF, OneNote.

Each reads all octets once, by expressions that take linear time.
"""

from __future__ import annotations

import re

from smtpguard.inspection.signatures import ONENOTE, PDF, RTF
from smtpguard.model.contents import Contents, Fact, Finding


PDF_WINDOW = 1024
"""Octets in which the header of a PDF may begin (ISO 32000-1, implementation note 13
of Adobe's extension): readers take no offence at what comes before."""

_PDF_HEADER = re.compile(rb"%PDF-[0-9]\.[0-9]")
# The entry of a trailer or of a cross-reference stream, neither of which is ever packed
# (ISO 32000-1 7.5.5, 7.5.8): a reference or a dictionary. Each letter of the name may
# be written as its number; who hides the value behind a comment has one to hide.
_PDF_ENCRYPT = re.compile(
    rb"/(?:E|#45)(?:n|#6[Ee])(?:c|#63)(?:r|#72)(?:y|#79)(?:p|#70)(?:t|#74)"
    rb"[\x00\t\n\f\r ]*+(?:[0-9]{1,10}[\x00\t\n\f\r %]|<<|%)"
)
# Control words are never written otherwise (RTF 1.9.1, "Objects").
_RTF_OBJECT = re.compile(rb"\\obj(?:data|emb|link|autlink|ocx|html|class)\b")
# FileDataStoreObject (MS-ONESTORE 2.6.13): a file as it is, any file.
_ONENOTE_FILE = b"\xe7\x16\xe3\xbd\x65\x26\x11\x45\xa4\xc4\x8d\x4d\x0b\x7a\x9e\xac"


def has_pdf_header(octets: bytes) -> bool:
    """Whether a PDF begins there, or a little behind."""
    return _PDF_HEADER.search(octets[: PDF_WINDOW + 8]) is not None


def look_at_pdf(octets: bytes) -> Contents:
    """Return whether a PDF is encrypted."""
    encrypted = _PDF_ENCRYPT.search(octets) is not None
    return Contents(PDF, frozenset({Fact.ENCRYPTED} if encrypted else ()))


def look_at_rtf(octets: bytes) -> Contents:
    """Return whether objects lie in a rich text."""
    if _RTF_OBJECT.search(octets) is None:
        return Contents(RTF)
    return Contents(RTF, findings=(Finding("embedded-object", "RTF object"),))


def look_at_onenote(octets: bytes) -> Contents:
    """Return whether files lie in a section of OneNote."""
    if octets.find(_ONENOTE_FILE) < 0:
        return Contents(ONENOTE)
    return Contents(ONENOTE, findings=(Finding("embedded-object", "OneNote file"),))
