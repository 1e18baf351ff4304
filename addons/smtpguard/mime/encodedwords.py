"""Encoded words in header text (RFC 2047, with the language of RFC 2231 5).

Tolerant as mail readers are: words are found anywhere, also glued to other text, inside
quotes and with blanks in them. Linear time; never raises.
"""

from __future__ import annotations

import re

from smtpguard.mime.charsets import decode as decode_charset
from smtpguard.mime.transferencoding import decode_base64


# RFC 2047 2 forbids "?" in the text, readers take it; few, so that no input of nothing
# but beginnings is searched to its end for each of them.
_WORD = re.compile(
    r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*+(?:(?<!=)\?(?!=)[^?]*+){0,8}+)\?="
)
_HEX = re.compile(rb"=([0-9A-Fa-f]{2})")


def has_encoded_word(text: str) -> bool:
    """Say whether ``text`` holds something that reads as an encoded word."""
    return "=?" in text and _WORD.search(text) is not None


def decode_words(text: str) -> str:
    """Return ``text`` with its encoded words decoded.

    Blanks between two words are dropped (RFC 2047 6.2), and neighbours of one charset
    are decoded together, since senders split characters over words.
    """
    if "=?" not in text:
        return text
    result: list[str] = []
    run: list[bytes] = []
    run_charset = ""
    position = 0
    for word in _WORD.finditer(text):
        between = text[position : word.start()]
        charset = word[1].partition("*")[0].lower()
        if run and (charset != run_charset or between.strip()):
            result.append(decode_charset(b"".join(run), run_charset))
            run = []
        if between.strip() or position == 0:
            result.append(between)
        run_charset = charset
        run.append(_octets(word[2], word[3]))
        position = word.end()
    if run:
        result.append(decode_charset(b"".join(run), run_charset))
    result.append(text[position:])
    return "".join(result)


def _octets(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64(raw)
    return _HEX.sub(
        lambda pair: bytes.fromhex(pair[1].decode()), raw.replace(b"_", b" ")
    )
