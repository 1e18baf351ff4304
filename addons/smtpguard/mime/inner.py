"""What lies in a leaf for some reader: other contents, files in text, hidden parts.

Decides which of the other ways to read are worth a try; ``otherreadings`` and
``embedded`` do the reading. Each result is octets of its own, which the parser turns
into parts that no edit can reach: whatever is done to one is done to the leaf.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.defects import DefectLog, Kind
from smtpguard.mime.embedded import begins_in, embedded_files, has_embedded
from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.otherreadings import (
    MAX_OCTETS,
    MAX_PADDINGS,
    any_encoding,
    distinct,
    has_delimiter,
    hidden_boundaries,
    is_clean_base64,
    is_clean_quoted_printable,
    other_base64,
    other_quoted_printable,
)
from smtpguard.mime.transferencoding import IDENTITY, KNOWN, content, decode


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime.entity import Claims


_ODD_HEADER = frozenset(
    {
        Kind.UNKNOWN_TRANSFER_ENCODING,
        Kind.DUPLICATE_TRANSFER_ENCODING,
        Kind.MALFORMED_FIELD,
        Kind.CONTROL_IN_HEADER,
        Kind.BLANK_CONTINUATION,
        Kind.SPACE_BEFORE_COLON,
        Kind.MISSING_HEADER_END,
    }
)
"""Defects of a header behind which a reader may have seen another encoding."""
_BASE64_SAMPLE = 60
_BASE64_LEAST = 32


@dataclass(frozen=True, slots=True)
class Inner:
    """Something in a leaf that is looked at by itself."""

    octets: bytes
    name: str = ""
    """Of a file in text."""
    boundary: bytes | None = None
    """Of hidden parts: ``octets`` are the body of a multipart."""
    is_file: bool = False
    """A file of its own; False for the leaf's content, read in another way."""


def inner_contents(
    buffer: Octets, span: Span, claims: Claims, path: str, log: DefectLog
) -> Iterator[Inner]:
    """Yield what else is in the body of a leaf; adds what is odd to ``log``."""
    encoding = claims.transfer_encoding
    is_odd = log.has(path, _ODD_HEADER)
    if encoding == "base64":
        is_odd |= not is_clean_base64(buffer, span)
    elif encoding == "quoted-printable":
        is_odd |= not is_clean_quoted_printable(bytes(buffer[span.start : span.end]))
    else:
        is_odd |= _looks_like_base64(buffer, span)
    if is_odd:
        yield from _other_contents(buffer, span, claims, path, log)
    if claims.content_type.startswith("text/") or encoding != "base64":
        yield from _files(buffer, span, claims, path, log)


def hidden_parts(
    buffer: Octets,
    span: Span,
    path: str,
    log: DefectLog,
    kind: Kind = Kind.HIDDEN_PARTS,
) -> Iterator[Inner]:
    """Yield octets that are no multipart by their header, but hold parts for some.

    Those in the first ``MAX_OCTETS``; that there are more is added to ``log``, and as
    ``kind`` that there are some.
    """
    if not has_delimiter(buffer, span):
        return
    end = min(span.end, span.start + MAX_OCTETS)
    # A delimiter is a line of its own, the first one too.
    octets = b"\r\n" + buffer[span.start : end]
    for boundary in hidden_boundaries(octets):
        log.add(kind, path, span.start)
        yield Inner(octets, boundary=boundary)
    if end < span.end:
        log.add(Kind.LIMIT_READINGS, path, span.start)


def _other_contents(
    buffer: Octets, span: Span, claims: Claims, path: str, log: DefectLog
) -> Iterator[Inner]:
    if len(span) > MAX_OCTETS:
        log.add(Kind.LIMIT_READINGS, path, span.start)
        return
    octets = bytes(buffer[span.start : span.end])
    encoding = claims.transfer_encoding
    primary = content(encoding, buffer, span)
    found: list[bytes] = []
    if encoding == "base64":
        if octets.count(b"=") > MAX_PADDINGS:
            log.add(Kind.LIMIT_READINGS, path, span.start)
        found += distinct(primary, other_base64(octets))
        if found:
            log.add(Kind.BAD_BASE64, path, span.start)
    elif encoding == "quoted-printable":
        found += distinct(primary, other_quoted_printable(octets))
        if found:
            log.add(Kind.BAD_QUOTED_PRINTABLE, path, span.start)
    if encoding not in KNOWN or log.has(path, _ODD_HEADER):
        # Fields that are none may be content, or end the header for somebody.
        at = log.offset(path, Kind.MALFORMED_FIELD)
        whole = octets if at is None else bytes(buffer[at : span.end])
        found += any_encoding(octets)
        found += any_encoding(whole) if at is not None else ()
    elif encoding in IDENTITY:
        found += any_encoding(octets)
    contents = tuple(distinct(primary, found))
    is_text = claims.content_type.startswith("text/") and not claims.names
    if not is_text and (contents or encoding not in KNOWN):
        log.add(Kind.AMBIGUOUS_CONTENT, path, span.start)
    yield from map(Inner, contents)


def _files(
    buffer: Octets, span: Span, claims: Claims, path: str, log: DefectLog
) -> Iterator[Inner]:
    if len(span) > MAX_OCTETS:
        if begins_in(decode(claims.transfer_encoding, buffer, span)):
            log.add(Kind.LIMIT_READINGS, path, span.start)
        return
    text, where = buffer, span
    if claims.is_encoded:
        text = content(claims.transfer_encoding, buffer, span)
        where = Span(0, len(text))
    if not has_embedded(text, where):
        return
    log.add(Kind.EMBEDDED_FILE, path, span.start)
    for file in embedded_files(where.of(text), MAX_OCTETS):
        if file is None:
            log.add(Kind.LIMIT_READINGS, path, span.start)
            return
        yield Inner(file.content, file.name, is_file=True)


def _looks_like_base64(buffer: Octets, span: Span) -> bool:
    """Say whether a body that claims no encoding is nothing but clean base64."""
    if len(span) < _BASE64_LEAST:
        return False
    sample = Span(span.start, min(span.end, span.start + _BASE64_SAMPLE))
    head = bytes(buffer[sample.start : sample.end])
    # A line of dashes or of one letter is no base64 of anything.
    mixed = not (head.islower() or head.isupper())
    return mixed and b" " not in head and is_clean_base64(buffer, span)
