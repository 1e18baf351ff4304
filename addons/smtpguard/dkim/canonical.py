"""What is hashed: canonical header fields and bodies (RFC 6376 3.4).

Works on chunks and in linear time: a line may be as long as the message, and may be
nothing but blanks.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator


CRLF = b"\r\n"
_EMPTY_LINES = CRLF * 4096
"""That many are handed on at once, when others follow that are not empty."""


def canonical_field(field: bytes, *, relaxed: bool) -> bytes:
    """Return a whole header field as it is hashed, with its line end if it has one.

    Simple: as it is. Relaxed: name in lower case, unfolded, blanks made one or none.
    """
    if not relaxed:
        return field
    name, _, value = field.partition(b":")
    end = CRLF if value.endswith(CRLF) else b""
    value = _single_blanks(value.replace(CRLF, b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + end


def body_digests(
    chunks: Iterable[bytes], lengths: Collection[int], *, relaxed: bool
) -> tuple[dict[int, bytes], int]:
    """Return SHA-256 of a body's canonical form, and how many octets that has.

    The digest of the whole is under its length; of the first octets under each of
    ``lengths`` (``l=``) that is no greater.
    """
    digest, seen = hashlib.sha256(), 0
    found = {0: digest.digest()}
    wanted = sorted(set(lengths) - {0}, reverse=True)
    for chunk in canonical_body(chunks, relaxed=relaxed):
        start = 0
        while wanted and wanted[-1] <= seen + len(chunk):
            length = wanted.pop()
            digest.update(chunk[start : length - seen])
            start = length - seen
            found[length] = digest.digest()
        digest.update(chunk[start:] if start else chunk)
        seen += len(chunk)
    found[seen] = digest.digest()
    return found, seen


def canonical_body(chunks: Iterable[bytes], *, relaxed: bool) -> Iterator[bytes]:
    """Yield a body as it is hashed, in pieces about as long as ``chunks``."""
    if relaxed:
        chunks = _with_single_blanks(chunks)
    is_empty = True
    for piece in _without_empty_end(chunks):
        is_empty = False
        yield piece
    if not (is_empty and relaxed):
        yield CRLF


def _single_blanks(text: bytes) -> bytes:
    """Make each run of blanks one space; every turn halves them."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _with_single_blanks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks with runs of blanks made one space, and none at the end of lines."""
    held = b""
    for chunk in chunks:
        text = _single_blanks(held + chunk).replace(b" \r\n", CRLF)
        # What these are is told by what follows.
        held = next((end for end in (b" \r", b"\r", b" ") if text.endswith(end)), b"")
        yield text[: len(text) - len(held)]
    if held != b" ":
        yield held


def _without_empty_end(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks without the last CRLF and all CRLFs right before it."""
    line_ends, held = 0, b""
    for chunk in chunks:
        text = held + chunk
        held = b"\r" if text.endswith(b"\r") else b""
        text = text[: len(text) - len(held)]
        ends = _line_ends_at_end(text)
        rest = text[: len(text) - 2 * ends]
        if rest:
            yield from _lines(line_ends)
            yield rest
            line_ends = 0
        line_ends += ends
    if held:
        yield from _lines(line_ends)
        yield held


def _line_ends_at_end(text: bytes) -> int:
    """Count the CRLFs that ``text``, which does not end in CR, ends with."""
    start = len(text.rstrip(CRLF))
    start = max(start, text.rfind(b"\r\r", start) + 1, text.rfind(b"\n\n", start) + 1)
    return (len(text) - start) // 2


def _lines(count: int) -> Iterator[bytes]:
    many, rest = divmod(count, len(_EMPTY_LINES) // 2)
    for _ in range(many):
        yield _EMPTY_LINES
    if rest:
        yield CRLF * rest
