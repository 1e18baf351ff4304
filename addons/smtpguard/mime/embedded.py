"""Files that lie in text: uuencode, BinHex 4.0 (RFC 1741) and yEnc (attack M8).

Older than MIME and still opened by mail readers. A file begins at its own first line
and ends at its last one, or where the text does; several may follow each other. Reads
leniently, never raises, takes linear time; what comes beyond ``limit`` octets of
decoded content is left out and told.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.octets import Span
from smtpguard.mime.transferencoding import decode_base64
from smtpguard.model.content import CHUNK_OCTETS


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpguard.mime.octets import Octets


MAX_FILES = 100
"""Files in one text that are taken out of it."""

_FIRST_LINE = (
    rb"(?:begin(?P<base64>-base64)? [0-7]{3,4} (?P<uu>[^\r\n]{1,255})"
    rb"|=ybegin (?P<y>[^\r\n]{1,1024})"
    rb"|(?P<hqx>\(This file must be converted with BinHex[^\r\n]{0,80}))\r?$"
)
_BEGIN = re.compile(b"^" + _FIRST_LINE, re.MULTILINE)
_BEGIN_HERE = re.compile(_FIRST_LINE, re.MULTILINE)
_MAY_BEGIN = re.compile(rb"\n(?:begin|=ybegin|\(This file)")
"""What each has before it or at its beginning, told eight times as quickly."""
_MAX_FIRST_LINE = 1100
"""Octets that hold any line that ``_BEGIN`` knows."""
_UU_BITS = bytes(32 + ((octet - 32) & 63) for octet in range(256))
_LINE = re.compile(rb"[^\r\n]+")
_UU_END = re.compile(rb"^end[ \t]*\r?$", re.MULTILINE)
_UU64_END = re.compile(rb"^====[ \t]*\r?$", re.MULTILINE)
_Y_END = re.compile(rb"^=yend\b[^\r\n]*\r?$", re.MULTILINE)
_Y_PART = re.compile(rb"\r?\n=ypart [^\r\n]*(?=\r?\n)")
_Y_NAME = re.compile(rb"\bname=([^\r\n]*)")
_Y_ESCAPED = re.compile(rb"=.", re.DOTALL)
_Y_TABLE = bytes((octet - 42) % 256 for octet in range(256))
_Y_UNESCAPED = {
    bytes([ord("="), octet]): bytes([(octet - 64) % 256]) for octet in range(256)
}
_HQX = re.compile(rb"\r?\n[ \t\r\n]*:([^:]*):?")
_HQX_ALPHABET = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_BASE64_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_HQX_TO_BASE64 = bytes.maketrans(_HQX_ALPHABET, _BASE64_ALPHABET)
_HQX_FOREIGN = bytes(sorted(set(range(256)) - set(_HQX_ALPHABET)))


@dataclass(frozen=True, slots=True)
class Embedded:
    """One file found in text."""

    name: str
    """As it is written there; "" where it has none."""
    content: bytes
    offset: int
    """Where it begins, in octets of the text."""


def has_embedded(buffer: Octets, span: Span) -> bool:
    """Say whether a file may lie in the text in ``span``; copies nothing."""
    start, end = span.start, span.end
    if _BEGIN_HERE.match(buffer, start, end):
        return True
    may = _MAY_BEGIN.search(buffer, start, end)
    return may is not None and _BEGIN.search(buffer, may.start(), end) is not None


def begins_in(chunks: Iterable[bytes]) -> bool:
    """Say whether a file may lie in a text that comes in pieces of any size."""
    open_line = b""
    for chunk in chunks:
        text = open_line + chunk
        if has_embedded(text, Span(0, len(text))):
            return True
        open_line = text[max(text.rfind(b"\n"), 0) :]
        if len(open_line) > _MAX_FIRST_LINE:
            # Too long to begin a file; what comes is no line of its own.
            open_line = open_line[-1:]
    return False


def embedded_files(text: bytes, limit: int) -> Iterator[Embedded | None]:
    """Yield the files in ``text``; None last where some are left out."""
    position = 0
    for _ in range(MAX_FILES):
        begin = _BEGIN.search(text, position)
        if begin is None:
            return
        name, content, position = _file(text, begin, limit)
        limit -= len(content)
        if limit < 0:
            yield None
            return
        yield Embedded(name, content, begin.start())
    if _BEGIN.search(text, position):
        yield None


def decode_uu(lines: bytes) -> bytes:
    """Return uuencoded lines decoded; lines that are none are skipped."""
    decoded = bytearray()  # a list of lines would take many times their length
    for found in _LINE.finditer(lines):
        decoded += _uu_line(found[0])
    return bytes(decoded)


def decode_binhex(text: bytes, limit: int) -> tuple[str, bytes]:
    """Return the name and the data fork of BinHex 4.0 text, as much as there is.

    Not much more than ``limit`` octets: the forks are packed.
    """
    found = _HQX.search(b"\n" + text)
    packed = (found[1] if found else text).translate(None, _HQX_FOREIGN)
    octets = decode_base64(packed.translate(_HQX_TO_BASE64))
    return _binhex_file(_unpacked(octets, limit))


def _file(text: bytes, begin: re.Match[bytes], limit: int) -> tuple[str, bytes, int]:
    """Return name, content and the offset behind a file that begins there."""
    if begin["hqx"] is not None:
        found = _HQX.match(text, begin.end())
        if found is None:
            return "", b"", begin.end()
        name, content = decode_binhex(found[0], limit)
        return name, content, found.end()
    if begin["y"] is not None:
        name_found = _Y_NAME.search(begin["y"])
        body, end = _until(_Y_END, text, begin.end())
        name = _text(name_found[1].strip()) if name_found else ""
        return name, _decode_yenc(body), end
    name = _text(begin["uu"].strip())
    if begin["base64"] is not None:
        body, end = _until(_UU64_END, text, begin.end())
        return name, decode_base64(body), end
    body, end = _until(_UU_END, text, begin.end())
    return name, decode_uu(body), end


def _until(end: re.Pattern[bytes], text: bytes, start: int) -> tuple[bytes, int]:
    found = end.search(text, start)
    return (
        (text[start : found.start()], found.end())
        if found
        else (text[start:], len(text))
    )


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def _uu_line(line: bytes) -> bytes:
    if not 32 <= line[0] <= 96:
        return b""
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        return _odd_uu_line(line)


def _odd_uu_line(line: bytes) -> bytes:
    """Decode a line as those do who look at six bits of each character, and at nothing
    behind as many as its length wants: what fills the last group, and what follows."""
    size = (line[0] - 32) & 63
    groups = (size + 2) // 3
    body = line[1 : 1 + groups * 4].translate(_UU_BITS)
    return binascii.a2b_uu(bytes([32 + groups * 3]) + body)[:size]


def _decode_yenc(body: bytes) -> bytes:
    joined = _Y_PART.sub(b"", body, count=1).translate(None, b"\r\n")
    plain: list[bytes] = []
    start = 0
    while start < len(joined):
        piece = joined[start : start + CHUNK_OCTETS]
        if (len(piece) - len(piece.rstrip(b"="))) % 2:
            # Its last octet escapes the next one.
            piece = joined[start : start + CHUNK_OCTETS + 1]
        plain.append(_Y_ESCAPED.sub(lambda found: _Y_UNESCAPED[found[0]], piece))
        start += len(piece)
    return b"".join(plain).translate(_Y_TABLE)


def _unpacked(octets: bytes, limit: int) -> bytes:
    """Undo the runs: an octet, 0x90, how often; 0x90 0x00 is 0x90 itself.

    Stops behind ``limit`` octets: a run is a hundred times as long as what says so.
    """
    found = bytearray()
    position = 0
    while len(found) <= limit:
        mark = octets.find(b"\x90", position)
        if mark < 0 or mark + 1 >= len(octets):
            found += octets[position : len(octets) if mark < 0 else mark]
            break
        found += octets[position:mark]
        count = octets[mark + 1]
        found += b"\x90" if count == 0 else found[-1:] * (count - 1)
        position = mark + 2
    return bytes(found)


def _binhex_file(octets: bytes) -> tuple[str, bytes]:
    if not octets or len(octets) < 22 + octets[0]:
        return "", b""
    name = octets[1 : 1 + octets[0]]
    sizes = 2 + octets[0] + 4 + 4 + 2
    data = int.from_bytes(octets[sizes : sizes + 4])
    start = sizes + 4 + 4 + 2
    return name.decode("mac_roman", "replace"), octets[start : start + data]
