"""Encoded words in header text (RFC 2047, with the language of RFC 2231 5).

Tolerant as mail readers are: words are found anywhere, also glued to other text, inside
quotes and with blanks in them. Linear time; never raises.
"""

from __future__ import annotations

import re

from smtpguard.mime.charsets import decode as decode_charset
from smtpguard.mime.transferencoding import decode_base64


# RFC 2047 2 forbids "?" in the text, readers take it. A word ends at the first "?=" or
# is none where another one begins before that, so each character is searched once.
_BEGIN = r"=\?([^?\s]++)\?([bBqQ])\?"
_WORD = re.compile(_BEGIN + r"((?:[^?=]++|\?(?!=)|=(?!\?(?!=)))*+)\?=")
_WHOLE = re.compile(_BEGIN + r"(.*)\?=", re.DOTALL)
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


def decode_as_one_word(text: str) -> str:
    """Return ``text`` as those read it who end a word at the last ``?=``.

    Only text that is nothing but such a word changes.
    """
    word = _WHOLE.fullmatch(text)
    if word is None:
        return text
    return decode_charset(_octets(word[2], word[3]), word[1].partition("*")[0])


def _octets(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "replace")
    if encoding in "bB":
        return decode_base64(raw)
    return _HEX.sub(
        lambda pair: bytes.fromhex(pair[1].decode()), raw.replace(b"_", b" ")
    )
