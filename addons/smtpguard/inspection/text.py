"""Text: whether it is any, in which encoding, and whether it is hypertext.

Reads 64 KiB at most.
"""

from __future__ import annotations

import codecs
import re


SAMPLE_OCTETS = 64 * 1024

# The control characters that no text has.
_CONTROLS = bytes(set(range(32)) - set(b"\b\t\n\v\f\r\x1a\x1b")) + b"\x7f"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ASCII_HALF = re.compile(rb"(?:[\t\r\n -~]\x00){8}")

_MARKUP_CHARACTERS = 4096
"""In which hypertext says what it is: browsers look past what stands before it."""
_HTML = re.compile(
    r"^[ \t\ufeff]*(?:\xef\xbb\xbf)?(?:<!--[^>]{0,512}>\s*+)?"
    r"<(?:!doctype\s+html|html|head|title|body|script|style|meta|base\s+href)(?=[\s/>=])",
    re.IGNORECASE | re.MULTILINE,
)
_HTML_START = re.compile(
    r"\s*+(?:<!--(?:[^-]|-(?!->)){0,4096}-->\s*+){0,8}"
    r"(?:<a\s+href\s*="
    r"|</?(?:table|div|p|br|hr|img|font|center|h[1-6]|span|b|i|a)"
    r"(?:\s[^<]{0,256})?/?>)",
    re.IGNORECASE,
)
_SHORTCUT = re.compile(r"^\[internetshortcut\]", re.IGNORECASE | re.MULTILINE)
_SVG = re.compile(
    r"\s*+(?:<\?xml\b[^>]{0,256}>\s*+)?(?:<!--(?:[^-]|-(?!->)){0,4096}-->\s*+){0,8}"
    r"(?:<!doctype\s+svg\b[^>]{0,1024}>\s*+)?<svg\b",
    re.IGNORECASE,
)

_FIRST_WORDS = (
    ("<?xml", "text/xml"),
    ("begin:vcalendar", "text/calendar"),
    ("begin:vcard", "text/vcard"),
)


def is_text(sample: bytes) -> bool:
    """Whether there is something and nothing in it that no text has."""
    return bool(sample) and len(sample.translate(None, _CONTROLS)) == len(sample)


def is_wide_text(sample: bytes) -> bool:
    """Whether it is UTF-16, marked or plainly ASCII."""
    marked = sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return marked or _ASCII_HALF.match(sample) is not None


def read_text(octets: bytes) -> str:
    """Return the beginning as text, whatever it is.

    UTF-8 is not demanded: each octet that is not ASCII becomes one character.
    """
    sample = octets[:SAMPLE_OCTETS]
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return sample[len(mark) :].decode(encoding, "replace")
    if _ASCII_HALF.match(sample):
        return sample.decode("utf-16-le", "replace")
    return sample.decode("latin-1")


def markup_type(text: str) -> str:
    """Return the type of a text that says what it is; "" for any other."""
    if _SVG.match(text):
        return "image/svg+xml"
    start = text[:_MARKUP_CHARACTERS]
    has_tags = "<" in start  # twenty times as quick as the expression
    if has_tags and (_HTML.search(start) or _HTML_START.match(text)):
        return "text/html"
    if "[" in start and _SHORTCUT.search(start):
        return "application/x-mswinurl"
    first = start.lstrip()[:20].lower()
    return next((kind for word, kind in _FIRST_WORDS if first.startswith(word)), "")
