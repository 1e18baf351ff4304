"""What the header of one entity says about its content (RFC 2045, RFC 2183).

Turns the ``Content-*`` fields of a part into claims: type, boundary, encoding,
disposition, names. Of fields that occur twice the first one counts here, and a defect
says that another reader may have taken the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.defects import DefectLog, Kind
from smtpguard.mime.encodedwords import has_encoded_word
from smtpguard.mime.names import file_names
from smtpguard.mime.parameters import Parameter, Structured, parse_structured, readings
from smtpguard.mime.transferencoding import IDENTITY, KNOWN


if TYPE_CHECKING:
    from smtpguard.mime.header import Field


MESSAGE_TYPES = frozenset({"message/rfc822", "message/global", "message/news"})
"""Types whose content is a message of its own (RFC 2046 5.2.1, RFC 6532, RFC 5537)."""

_TYPE = re.compile(rb"[!#$&-+.0-9A-Z^_`a-z{|}~-]+/[!#$&-+.0-9A-Z^_`a-z{|}~-]+")
_RFC_BOUNDARY = 70
_EMPTY = Structured(b"", (), ())


@dataclass(frozen=True, slots=True)
class Claims:
    """What a header claims; all text lower case where it has no case."""

    content_type: str
    untyped: bool
    parameters: tuple[Parameter, ...]
    boundary: bytes | None
    """None unless the type is multipart and says how its parts are delimited."""
    transfer_encoding: str
    content_disposition: str
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

    def add(self, kind: Kind, field: Field, text: str = "") -> None:
        self._log.add(kind, self._part, field.span.start, text)


def read_claims(
    fields: tuple[Field, ...], default_type: str, part: str, defects: DefectLog
) -> Claims:
    """Read the ``Content-*`` fields; ``default_type`` counts where no type is given."""
    notes = _Notes(defects, part)
    types = _structured(fields, "content-type", notes)
    dispositions = _structured(fields, "content-disposition", notes)
    _note_second(types, Kind.DUPLICATE_CONTENT_TYPE, notes)
    _note_second(dispositions, Kind.DUPLICATE_DISPOSITION, notes)
    content_type = _content_type(types, default_type, notes)
    claimed = types[0][1] if types else _EMPTY
    disposition = dispositions[0][1].token if dispositions else b""
    return Claims(
        content_type=content_type,
        untyped=not types,
        parameters=claimed.parameters,
        boundary=(
            _boundary(types[0], notes)
            if types and content_type.startswith("multipart/")
            else None
        ),
        transfer_encoding=_transfer_encoding(fields, notes),
        content_disposition=disposition.decode("latin-1").lower(),
        names=file_names(item.parameters for _, item in (*dispositions, *types)),
    )


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


def _note_second(
    found: list[tuple[Field, Structured]], kind: Kind, notes: _Notes
) -> None:
    if len(found) > 1:
        notes.add(kind, found[1][0])


def _content_type(
    types: list[tuple[Field, Structured]], default_type: str, notes: _Notes
) -> str:
    if not types:
        return default_type
    field, value = types[0]
    if _TYPE.fullmatch(value.token) is None:
        notes.add(Kind.MALFORMED_CONTENT_TYPE, field)
        return "text/plain"
    return value.token.decode("ascii").lower()


def _transfer_encoding(fields: tuple[Field, ...], notes: _Notes) -> str:
    found = [f for f in fields if f.is_named("content-transfer-encoding")]
    if not found:
        return "7bit"
    if len(found) > 1:
        notes.add(Kind.DUPLICATE_TRANSFER_ENCODING, found[1])
    value = parse_structured(found[0].raw_value).token
    encoding = value.decode("latin-1").lower()
    if encoding not in KNOWN:
        notes.add(Kind.UNKNOWN_TRANSFER_ENCODING, found[0], ascii(encoding)[:80])
    return encoding


def _boundary(claimed: tuple[Field, Structured], notes: _Notes) -> bytes | None:
    """Return the boundary, None where there is none that can be used."""
    field, value = claimed
    found = [r for r in readings(value.parameters, "boundary") if r.octets.strip()]
    if not found:
        notes.add(Kind.MISSING_BOUNDARY, field)
        return None
    if len({reading.octets for reading in found}) > 1:
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
