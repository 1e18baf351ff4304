"""Content-transfer-encodings (RFC 2045 6): lenient decoding, strict encoding.

Decoding reads as much as any mail reader would: foreign octets in base64 are skipped,
decoding goes on after padding, a ``=`` that begins nothing stays. It works on chunks of
a span, so that a large part is never held twice, in linear time, and never raises.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

from smtpguard.mime.octets import Span
from smtpguard.model.content import CHUNK_OCTETS


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpguard.mime.octets import Octets


IDENTITY = frozenset({"7bit", "8bit", "binary"})
KNOWN = IDENTITY | {"base64", "quoted-printable"}

MAX_LINE = 76
"""Characters of an encoded line, CRLF not counted (RFC 2045 6.7, 6.8)."""

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
FOREIGN = bytes(sorted(set(range(256)) - set(ALPHABET) - {ord("=")}))
QUAD = 4
_LINE_OCTETS = MAX_LINE // QUAD * 3
_BAD_LINE_STARTS = (b"--", b"From ", b".")
"""A boundary delimiter, what mailbox files change, and what SMTP stuffs."""
# What needs no encoding, most lines of a notice.
_PLAIN_ROW = re.compile(rb"(?:(?!--|From |\.)[ -<>-~]{0,74}[!-<>-~])?")
# The look-behind keeps a long run of blanks linear: only its first octet can begin a
# match.
_TRAILING_BLANKS = re.compile(rb"(?<![ \t])[ \t]++(?=\r?\n)")
_BLANK_ENDS = (b" \r\n", b" \n", b"\t\r\n", b"\t\n")
_EQUALS_BARE_CR = re.compile(rb"=(?=\r(?!\n))")


def decode(encoding: str, buffer: Octets, span: Span) -> Iterator[bytes]:
    """Yield the content of ``span`` in chunks; an unknown encoding changes nothing."""
    if encoding == "base64":
        return _decode_base64_chunks(buffer, span)
    if encoding == "quoted-printable":
        return _decode_quoted_printable_chunks(buffer, span)
    return _chunks(buffer, span)


def content(encoding: str, buffer: Octets, span: Span) -> bytes:
    """Return the content of ``span`` whole, in one copy where nothing is decoded."""
    if encoding in KNOWN - IDENTITY:
        return b"".join(decode(encoding, buffer, span))
    return span.of(buffer)


def decode_base64(octets: bytes) -> bytes:
    """Return ``octets`` decoded, whatever they are."""
    return content("base64", octets, Span(0, len(octets)))


def _chunks(buffer: Octets, span: Span) -> Iterator[bytes]:
    for start in range(span.start, span.end, CHUNK_OCTETS):
        yield buffer[start : min(start + CHUNK_OCTETS, span.end)]


def _decode_base64_chunks(buffer: Octets, span: Span) -> Iterator[bytes]:
    rest = b""
    for chunk in _chunks(buffer, span):
        decoded, rest = _decode_quads(rest + chunk.translate(None, FOREIGN))
        if decoded:
            yield decoded
    if last := decode_rest(rest):
        yield last


def _decode_quads(kept: bytes) -> tuple[bytes, bytes]:
    """Decode all but the characters of a last group that may still go on.

    Padding ends a group, not the content: some readers stop at it and some go on, so we
    go on.
    """
    *ended, open_run = kept.split(b"=")
    whole = len(open_run) // QUAD * QUAD
    # In one call each: a mail may be nothing but padding, millions of times. The last
    # of one character more than whole groups holds less than an octet.
    pieces = [
        binascii.a2b_base64(run + b"==" if len(run) % QUAD != 1 else run[:-1])
        for run in ended
        if len(run) > 1
    ]
    pieces.append(binascii.a2b_base64(open_run[:whole]))
    return b"".join(pieces), open_run[whole:]


def decode_rest(rest: bytes) -> bytes:
    """Decode a group of less than four; the six bits of a lone character are lost."""
    if len(rest) < 2:
        return b""
    return binascii.a2b_base64(rest + b"=" * (QUAD - len(rest)))


def _decode_quoted_printable_chunks(buffer: Octets, span: Span) -> Iterator[bytes]:
    rest = b""
    for chunk in _chunks(buffer, span):
        text = rest + chunk
        cut = _safe_cut(text)
        rest = text[cut:]
        yield _decode_quoted_printable_lines(text[:cut])
    if rest:
        yield _decode_quoted_printable_lines(rest)


def _safe_cut(text: bytes) -> int:
    """Return where ``text`` can be cut without cutting an escape or trailing blanks."""
    cut = text.rfind(b"\n") + 1
    if cut:
        return cut
    # One line longer than a chunk: an escape is at most three octets, and of a run of
    # "=" each two are one octet.
    cut = text.rfind(b"=", max(0, len(text) - 3))
    run = cut + 1 - len(text[: cut + 1].rstrip(b"="))
    return len(text) if cut <= 0 or run % 2 == 0 else cut


def decode_quoted_printable(octets: bytes) -> bytes:
    """Return ``octets`` decoded, whatever they are."""
    return content("quoted-printable", octets, Span(0, len(octets)))


def _decode_quoted_printable_lines(text: bytes) -> bytes:
    """Decode lines, or a piece of one; their number bounds what is made of them."""
    # RFC 2045 6.7 (3): blanks at the end of a line were added on the way.
    if any(end in text for end in _BLANK_ENDS):  # a hundred times as quick
        text = _TRAILING_BLANKS.sub(b"", text)
    if b"=\r" in text:
        # binascii drops everything from "=" CR up to the next LF.
        text = _EQUALS_BARE_CR.sub(b"=3D", text)
    return binascii.a2b_qp(text)


def encode_base64(octets: bytes) -> bytes:
    """Return ``octets`` as CRLF-ended lines of base64."""
    return b"".join(base64_pieces((octets,)))


def base64_pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what the chunks hold together as CRLF-ended lines of base64, in pieces of
    at most ``CHUNK_OCTETS``."""
    step = CHUNK_OCTETS // (MAX_LINE + 2) * _LINE_OCTETS
    pending = bytearray()
    for chunk in chunks:
        for start in range(0, len(chunk), step):
            pending += memoryview(chunk)[start : start + step]
            if len(pending) >= step:
                yield _base64_lines(pending[:step])
                del pending[:step]
    if pending:
        yield _base64_lines(pending)


def _base64_lines(octets: bytearray) -> bytes:
    text = binascii.b2a_base64(octets, newline=False)
    lines = [text[at : at + MAX_LINE] for at in range(0, len(text), MAX_LINE)]
    return b"\r\n".join(lines) + b"\r\n"


def encode_quoted_printable(text: str) -> bytes:
    """Return ``text`` (lines ended by LF or CRLF) as CRLF-ended quoted-printable lines.

    No line begins with ``--``, ``From `` or a dot: none can be a boundary delimiter or
    be changed by a mailbox on its way.
    """
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    return b"".join(_encode_line(line) for line in lines)


def _encode_line(line: str) -> bytes:
    octets = line.encode("utf-8", "replace")
    if _PLAIN_ROW.fullmatch(octets):
        return octets + b"\r\n"
    last = len(octets) - 1
    rows: list[bytes] = []
    row = b""
    for at, octet in enumerate(octets):
        begins_badly = not row and octets.startswith(_BAD_LINE_STARTS, at)
        ends_blank = at == last and octet in b" \t"
        atom = b"=%02X" % octet if begins_badly or ends_blank else _atom(octet)
        if len(row) + len(atom) > MAX_LINE - 1:
            rows.append(row + b"=")
            row = b""
            if octets.startswith(_BAD_LINE_STARTS, at):
                atom = b"=%02X" % octet
        row += atom
    rows.append(row)
    return b"\r\n".join(rows) + b"\r\n"


def _atom(octet: int) -> bytes:
    printable = ord(" ") <= octet <= ord("~") or octet == ord("\t")
    if printable and octet != ord("="):
        return bytes([octet])
    return b"=%02X" % octet
