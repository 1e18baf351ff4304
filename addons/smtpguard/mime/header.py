"""Header sections as spans: fields with their octets, order and folding (RFC 5322 2.2).

A line ends with LF, with or without CR before it. The gateway only ever hands over
messages whose every line ends in CRLF, so there the two are the same; files read with
``inspect --raw`` may have bare LF, and a bare CR ends no line. A line that is neither a
field nor a continuation is a defect and skipped, as mail readers do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.mime.charsets import decode
from smtpguard.mime.defects import DefectLog, Kind
from smtpguard.mime.encodedwords import decode_words
from smtpguard.mime.octets import Octets, Span


if TYPE_CHECKING:
    from collections.abc import Iterator


# One line and its continuations. Possessive, so that no input makes it go back.
_FOLDED = re.compile(rb"[^\n]++(?:\n(?=[ \t])[^\n]*+)*+\n?|\n")
# Printable ASCII without the colon (RFC 5322 3.6.8).
_NAME = re.compile(rb"([!-9;-~]++)([ \t]*+):")
_LINE_END = re.compile(rb"\r?\n")
_ODD_FOLD = re.compile(rb"(?!\A)(?<!;)(?<!;\r)\r?\n[ \t]")
_FOLD = re.compile(rb"\r?\n[ \t]*+")
_BLANK_CONTINUATION = re.compile(rb"\n[ \t]++\r?(?:\n|\Z)")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_MBOX = (b"From ", b">From ")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field."""

    name: str
    """As it was written."""
    span: Span
    """All its octets, folding and final line end included."""
    value_span: Span
    """What follows the colon, without the final line end."""
    buffer: Octets = field(repr=False, compare=False)

    @property
    def raw(self) -> bytes:
        """The octets of the whole field."""
        return self.span.of(self.buffer)

    @property
    def raw_value(self) -> bytes:
        """The octets after the colon, unfolded (RFC 5322 2.2.3), outer blanks gone."""
        return _LINE_END.sub(b"", self.value_span.of(self.buffer)).strip(b" \t")

    @property
    def joined_value(self) -> bytes | None:
        """``raw_value`` as those read it who drop a fold with its blanks; None where no
        line of it ends within a value."""
        octets = self.value_span.of(self.buffer)
        if _ODD_FOLD.search(octets) is None:
            return None
        return _FOLD.sub(b"", octets).strip(b" \t")

    @property
    def value(self) -> str:
        """The text after the colon: unfolded, with encoded words decoded."""
        return decode_words(decode(self.raw_value))

    def is_named(self, name: str) -> bool:
        """Compare the name, which has no case."""
        return self.name.lower() == name.lower()


def parse_fields(
    buffer: Octets, section: Span, part: str, defects: DefectLog, limit: int
) -> Iterator[Field]:
    """Yield the fields of a header section, at most ``limit`` of them.

    ``section`` must not be larger than the caller wants copied. Never raises.
    """
    text = section.of(buffer)
    _note_characters(text, section.start, part, defects)
    for count, line in enumerate(_FOLDED.finditer(text)):
        start = section.start + line.start()
        if count >= limit:
            defects.add(Kind.LIMIT_FIELDS, part, start)
            return
        name = _NAME.match(line[0])
        if name is None:
            mbox = count == 0 and line[0].startswith(_MBOX)
            kind = Kind.MBOX_LINE if mbox else Kind.MALFORMED_FIELD
            defects.add(kind, part, start)
            continue
        if name[2]:
            defects.add(Kind.SPACE_BEFORE_COLON, part, start)
        end = section.start + line.end()
        value = Span(start + name.end(), _without_line_end(line[0], end))
        yield Field(name[1].decode("ascii"), Span(start, end), value, buffer)


def _without_line_end(line: bytes, end: int) -> int:
    if line.endswith(b"\r\n"):
        return end - 2
    return end - 1 if line.endswith(b"\n") else end


def _note_characters(text: bytes, base: int, part: str, defects: DefectLog) -> None:
    if control := _CONTROL.search(text):
        defects.add(Kind.CONTROL_IN_HEADER, part, base + control.start())
    if blank := _BLANK_CONTINUATION.search(text):
        defects.add(Kind.BLANK_CONTINUATION, part, base + blank.start() + 1)
