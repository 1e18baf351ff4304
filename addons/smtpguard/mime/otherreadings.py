"""What other readers make of a leaf: contents that we would not see by the book.

``transferencoding`` reads a content as most mail readers do. Where an encoding is not
clean, not known, or stands in a header that is broken, others read something else: for
each of them the content as they see it. The tree keeps these as parts of their own, so
that rules and scanners look into all of them.

Takes octets and gives octets; never raises; linear. At most ``MAX_OCTETS`` of a content
are read in other ways.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from smtpguard.mime.embedded import decode_binhex, decode_uu
from smtpguard.mime.transferencoding import (
    ALPHABET,
    FOREIGN,
    QUAD,
    decode_base64,
    decode_quoted_printable,
    decode_rest,
)


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from smtpguard.mime.octets import Octets, Span


MAX_OCTETS = 4 * 1024 * 1024
MAX_BOUNDARIES = 5
"""Boundaries by which one content is tried to be read; more of them are no mail."""
MAX_PADDINGS = 10_000
"""Groups of base64 with padding that are told apart; clean content has one."""

_SAMPLE = 4096
_SAMPLE_LINES = 40
_CLEAN = ALPHABET + b"\r\n"
_NO_DATA = FOREIGN + b"="
# What stands behind a foreign character on a line, for those who give up on it there.
_JUNK = re.compile(rb"[^A-Za-z0-9+/=\s][^\n]*")
_JUNK_BEFORE_DATA = re.compile(rb"[^A-Za-z0-9+/=\s][A-Za-z0-9+/]")
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*+(?:\r?\n|\Z))")
_BAD_ESCAPES = re.compile(rb"=(?![0-9A-Fa-f]{2}|[ \t]*+(?:\r?\n|\Z))[^\r\n=]{0,2}")
_ESCAPE = re.compile(rb"=[0-9A-Fa-f]{2}")
_FIELD_BEHIND = (
    rb"--([^\n]{0,200}+)[ \t]*+\r?\n[ \t\r\n]*+"
    rb"[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[A-Za-z-]{2,40}[ \t]*:"
)
_DELIMITER_LIKE = re.compile(rb"\n" + _FIELD_BEHIND)
_DELIMITER_HERE = re.compile(_FIELD_BEHIND)


def is_clean_base64(buffer: Octets, span: Span) -> bool:
    """Say whether every reader decodes a span alike: whole groups, padding at the end.

    A last line end, or none, makes no difference; nor do blanks at the very end.
    """
    step = MAX_OCTETS
    length = 0
    for start in range(span.start, span.end, step):
        chunk = bytes(buffer[start : min(start + step, span.end)])
        rest = chunk.translate(None, _CLEAN)
        if rest and (
            start + step < span.end or rest.strip(b" \t") not in {b"=", b"=="}
        ):
            return False
        length += len(chunk.translate(None, b"\r\n \t"))
        if rest and not chunk.rstrip(b"\r\n \t").endswith(rest.strip(b" \t")):
            return False
    return length % QUAD == 0


def is_clean_quoted_printable(octets: bytes) -> bool:
    """Say whether each ``=`` begins an escape or ends a line."""
    return _BAD_ESCAPE.search(octets) is None


def other_base64(octets: bytes) -> Iterator[bytes]:
    """Yield what is read by those who end a group at each padding, by those who leave a
    line at the first character that is not base64, and by those who leave as it is what
    looks like none at all."""
    _, _, behind = octets.partition(b"=")
    if behind.translate(None, _NO_DATA):
        yield _by_groups(octets.translate(None, FOREIGN))
    if _JUNK_BEFORE_DATA.search(octets):
        yield decode_base64(_without(_JUNK, octets))
    if not _looks_like_base64(octets):
        yield octets


def other_quoted_printable(octets: bytes) -> Iterator[bytes]:
    """Yield what is read by those who drop a ``=`` that begins no escape, and by those
    who drop what stands behind it too."""
    if _BAD_ESCAPE.search(octets):
        yield decode_quoted_printable(_without(_BAD_ESCAPE, octets))
        yield decode_quoted_printable(_without(_BAD_ESCAPES, octets))


def any_encoding(octets: bytes) -> Iterator[bytes]:
    """Yield the octets decoded by every encoding that they may be in by their looks."""
    if _looks_like_base64(octets):
        yield decode_base64(octets)
        yield from other_base64(octets)
    if _ESCAPE.search(octets):
        yield decode_quoted_printable(octets)
    if _looks_like_uu(octets):
        yield decode_uu(octets)
    if b"BinHex" in octets:
        yield decode_binhex(octets, MAX_OCTETS)[1]


def _without(pattern: re.Pattern[bytes], octets: bytes) -> bytes:
    """Return octets without what a pattern finds.

    ``sub`` makes a list of all pieces first: of 4 MiB of noise it had 147 MiB.
    """
    kept, position = bytearray(), 0
    for found in pattern.finditer(octets):
        start, end = found.span()
        kept += octets[position:start]
        position = end
    kept += octets[position:]
    return bytes(kept)


def _looks_like_base64(octets: bytes) -> bool:
    """Say whether nearly all is of the alphabet, and not words with blanks between."""
    text = octets.translate(None, b"\r\n")
    foreign = len(text.translate(None, ALPHABET + b"="))
    return (
        len(text) >= QUAD
        and foreign * 20 <= len(text)
        and (text.count(b" ") * 100 <= len(text))
    )


def _looks_like_uu(octets: bytes) -> bool:
    """Say whether the first lines are as long as their first character says."""
    lines = octets[:_SAMPLE].splitlines()[:_SAMPLE_LINES]
    whole = [line for line in lines if line and line[0] in range(33, 97)]
    fit = [x for x in whole if len(x) - 1 in {_uu_length(x), _uu_length(x) + 1}]
    return bool(fit) and len(fit) * 2 >= len(whole)


def _uu_length(line: bytes) -> int:
    return (((line[0] - 32) & 63) + 2) // 3 * 4


def distinct(primary: bytes, others: Iterable[bytes]) -> Iterator[bytes]:
    """Yield those that are neither empty nor seen before."""
    seen = {primary, b""}
    for octets in others:
        if octets not in seen:
            seen.add(octets)
            yield octets


def hidden_boundaries(text: bytes) -> tuple[bytes, ...]:
    """Return the boundaries of parts in what we take for one part, each once.

    A line that begins with ``--`` and has a ``Content-`` field behind it delimits parts
    for whoever reads the boundary out of a broken header. At most ``MAX_BOUNDARIES``.
    """
    found = (match[1] for match in _DELIMITER_LIKE.finditer(text))
    boundaries = (line.removesuffix(b"\r").rstrip(b" \t") for line in found)
    return tuple(islice(dict.fromkeys(boundaries), MAX_BOUNDARIES))


def has_delimiter(buffer: Octets, span: Span) -> bool:
    """Say whether a line in ``span`` delimits hidden parts; copies nothing."""
    start, end = span.start, span.end
    found = _DELIMITER_HERE.match(buffer, start, end)
    return bool(found or _DELIMITER_LIKE.search(buffer, start, end))


def _by_groups(kept: bytes) -> bytes:
    """Decode group by group, padding and all that is in a group ending it."""
    pieces: list[bytes] = []
    position = 0
    for _ in range(MAX_PADDINGS):
        padding = kept.find(b"=", position)
        if padding < 0:
            break
        group = padding - (padding - position) % QUAD
        pieces.append(decode_base64(kept[position:group]))
        pieces.append(decode_rest(kept[group : group + QUAD].replace(b"=", b"")))
        position = group + QUAD
    pieces.append(decode_base64(kept[position:]))
    return b"".join(pieces)
