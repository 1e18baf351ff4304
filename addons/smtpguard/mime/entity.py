"""What the header of one entity says about its content (RFC 2045, RFC 2183).

Turns the ``Content-*`` fields of a part into claims: type, boundary, encoding, names.
Of fields that occur twice the first one counts here, and a defect says that another
reader may have taken the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.defects import DefectLog, Kind
from smtpguard.mime.encodedwords import has_encoded_word
from smtpguard.mime.limits import MAX_NAMES
from smtpguard.mime.names import file_names
from smtpguard.mime.parameters import (
    Structured,
    parse_structured,
    readings,
    variants,
)
from smtpguard.mime.transferencoding import IDENTITY, KNOWN


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime.header import Field


MESSAGE_TYPES = frozenset({"message/rfc822", "message/global", "message/news"})
"""Types whose content is a message of its own (RFC 2046 5.2.1, RFC 6532, RFC 5537)."""

_TYPE = re.compile(rb"[!#$&-+.0-9A-Z^_`a-z{|}~-]+/[!#$&-+.0-9A-Z^_`a-z{|}~-]+")
_CONTAINER_MARKS = ("multipart", "message", "boundary")
_RFC_BOUNDARY = 70


@dataclass(frozen=True, slots=True)
class Claims:
    """What a header claims; all text lower case where it has no case."""

    content_type: str
    boundary: bytes | None
    """None unless the type is multipart and says how its parts are delimited."""
    transfer_encoding: str
    names: tuple[str, ...]

    @property
    def is_encoded(self) -> bool:
        """Say whether the content must be decoded before it can be read."""
        return self.transfer_encoding in KNOWN - IDENTITY


class _Notes:
    """Adds defects to one part."""

    def __init__(self, log: DefectLog, part: str) -> None:
        self._log = log
        self._part = part

    def add(self, kind: Kind, field: Field) -> None:
        self._log.add(kind, self._part, field.span.start)


def read_claims(
    fields: tuple[Field, ...],
    default_type: str,
    part: str,
    defects: DefectLog,
    max_names: int = MAX_NAMES,
) -> Claims:
    """Read the ``Content-*`` fields; ``default_type`` counts where no type is given."""
    notes = _Notes(defects, part)
    # Most fields are about something else, and each is compared several times.
    fields = tuple(one for one in fields if one.name[:8].lower() == "content-")
    types = _structured(fields, "content-type", notes)
    dispositions = _structured(fields, "content-disposition", notes)
    if len(types) > 1 and len({_without_case(field) for field, _ in types}) > 1:
        notes.add(Kind.DUPLICATE_CONTENT_TYPE, types[1][0])
    if len(dispositions) > 1:
        notes.add(Kind.DUPLICATE_DISPOSITION, dispositions[1][0])
    content_type = _content_type(types, default_type, notes)
    return Claims(
        content_type=content_type,
        boundary=(
            _boundary(types[0], notes)
            if types and content_type.startswith("multipart/")
            else None
        ),
        transfer_encoding=_transfer_encoding(fields, notes),
        names=_names((*dispositions, *types), max_names, notes),
    )


def _names(
    claimed: tuple[tuple[Field, Structured], ...], max_names: int, notes: _Notes
) -> tuple[str, ...]:
    limit = max(0, min(MAX_NAMES, max_names))
    names = file_names(
        (item.parameters for _, item in claimed),
        (item.parameters for field, _ in claimed for item in _other_readings(field)),
        limit + 1,
    )
    if len(names) > limit:
        notes.add(Kind.LIMIT_NAMES, claimed[0][0])
    return names[:limit]


def _other_readings(field: Field) -> Iterator[Structured]:
    """Yield what odd readers make of a field: its folds dropped with their blanks, and
    its encoded words decoded before anything else (RFC 2047 5 forbids them here)."""
    joined = field.joined_value
    if joined is not None:
        yield parse_structured(joined)
    if b"=?" in field.raw_value and has_encoded_word(field.raw_value.decode("latin-1")):
        yield parse_structured(field.value.encode("utf-8", "replace"))


def _structured(
    fields: tuple[Field, ...], name: str, notes: _Notes
) -> list[tuple[Field, Structured]]:
    found: list[tuple[Field, Structured]] = []
    for field in fields:
        if not field.is_named(name):
            continue
        value = parse_structured(field.raw_value)
        found.append((field, value))
        for kind in value.defects:
            notes.add(kind, field)
        if any(has_encoded_word(p.raw.decode("latin-1")) for p in value.parameters):
            notes.add(Kind.ENCODED_WORD_IN_PARAMETER, field)
    return found


def _without_case(field: Field) -> bytes:
    return b"".join(field.raw_value.lower().split())


def _content_type(
    types: list[tuple[Field, Structured]], default_type: str, notes: _Notes
) -> str:
    if not types:
        return default_type
    field, value = types[0]
    if _TYPE.fullmatch(value.token) is None:
        notes.add(Kind.MALFORMED_CONTENT_TYPE, field)
        said = field.value.lower()
        if any(mark in said for mark in _CONTAINER_MARKS):
            notes.add(Kind.MALFORMED_CONTAINER_TYPE, field)
        return "text/plain"
    return value.token.decode("ascii").lower()


def _transfer_encoding(fields: tuple[Field, ...], notes: _Notes) -> str:
    found = [f for f in fields if f.is_named("content-transfer-encoding")]
    if not found:
        return "7bit"
    plain = found[0].raw_value.decode("latin-1").lower()
    if plain in KNOWN and len(found) == 1:
        return plain
    read = [parse_structured(field.raw_value) for field in found]
    first = read[0]
    encoding, *others = (one.token.decode("latin-1").lower() for one in read)
    if len({"" if one in IDENTITY else one for one in (encoding, *others)}) > 1:
        notes.add(Kind.DUPLICATE_TRANSFER_ENCODING, found[1])
    if encoding not in KNOWN or first.parameters or first.defects:
        notes.add(Kind.UNKNOWN_TRANSFER_ENCODING, found[0])
    return encoding


def _boundary(claimed: tuple[Field, Structured], notes: _Notes) -> bytes | None:
    """Return the boundary, None where there is none that can be used."""
    field, value = claimed
    found = [r for r in readings(value.parameters, "boundary") if r.octets.strip()]
    if not found:
        notes.add(Kind.MISSING_BOUNDARY, field)
        return None
    if len({reading.octets for reading in found} | _other_boundaries(claimed)) > 1:
        notes.add(Kind.CONFLICTING_BOUNDARY, field)
    if not found[0].plain:
        notes.add(Kind.CONTINUED_BOUNDARY, field)
    # RFC 2046 5.1.1: a boundary does not end in blanks, so they were added on the way.
    boundary = found[0].octets.rstrip()
    if boundary != found[0].octets:
        notes.add(Kind.BLANK_ENDED_BOUNDARY, field)
    if len(boundary) > _RFC_BOUNDARY:
        notes.add(Kind.OVERLONG_BOUNDARY, field)
    return boundary


def _other_boundaries(claimed: tuple[Field, Structured]) -> set[bytes]:
    """Return what readers make of a boundary that is not quite by the grammar."""
    field, value = claimed
    plain = [item for item in value.parameters if item.name == "boundary"]
    found = {text for item in plain for text in variants(item.raw)}
    for other in _other_readings(field):
        found |= {one.octets for one in readings(other.parameters, "boundary")}
    return {text for text in found if text.strip()}
