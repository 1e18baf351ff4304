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


# One line and its continuations. Possessive, so that no input makes it go back. A name
# is printable ASCII without the colon (RFC 5322 3.6.8).
_FOLDED = re.compile(
    rb"(?:([!-9;-~]++)([ \t]*+):|[^\n])[^\n]*+(?:\n(?=[ \t])[^\n]*+)*+\n?|\n"
)
_LINE_END = re.compile(rb"\r?\n")
_ODD_FOLD = re.compile(rb"(?!\A)(?<!;)(?<!;\r)\r?\n[ \t]")
_FOLD = re.compile(rb"\r?\n[ \t]*+")
_BLANK_CONTINUATION = re.compile(rb"\n[ \t]++\r?(?:\n|\Z)")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\r")) + b"\x7f"
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
        octets = self.value_span.of(self.buffer)
        if b"\n" in octets:
            octets = _LINE_END.sub(b"", octets)
        return octets.strip(b" \t")

    @property
    def joined_value(self) -> bytes | None:
        """``raw_value`` as those read it who drop a fold with its blanks; None where no
        line of it ends within a value."""
        octets = self.value_span.of(self.buffer)
        if b"\n" not in octets or _ODD_FOLD.search(octets) is None:
            return None
        return _FOLD.sub(b"", octets).strip(b" \t")

    @property
    def value(self) -> str:
        """The text after the colon: unfolded, with encoded words decoded."""
        return decode_words(decode(self.raw_value))

    def is_named(self, name: str) -> bool:
        """Compare the name, which has no case."""
        # Each field is asked for several names, and hardly ever has one as long.
        return len(self.name) == len(name) and self.name.lower() == name.lower()


def parse_fields(
    buffer: Octets, section: Span, part: str, defects: DefectLog, limit: int
) -> Iterator[Field]:
    """Yield the fields of a header section, at most ``limit`` of them.

    ``section`` must not be larger than the caller wants copied. Never raises.
    """
    text = section.of(buffer)
    base = section.start
    _note_characters(text, base, part, defects)
    for count, line in enumerate(_FOLDED.finditer(text)):
        start, end = line.span()
        if count >= limit:
            defects.add(Kind.LIMIT_FIELDS, part, base + start)
            return
        name, blanks = line.groups()
        if name is None:
            mbox = count == 0 and line[0].startswith(_MBOX)
            kind = Kind.MBOX_LINE if mbox else Kind.MALFORMED_FIELD
            defects.add(kind, part, base + start)
            continue
        if blanks:
            defects.add(Kind.SPACE_BEFORE_COLON, part, base + start)
        value = base + line.end(2) + 1
        value_end = base + _without_line_end(text, value - base, end)
        yield Field(
            name.decode("ascii"),
            Span(base + start, base + end),
            Span(value, value_end),
            buffer,
        )


def _without_line_end(text: bytes, start: int, end: int) -> int:
    """Return where a value ends whose last line ends at ``end``."""
    if text.endswith(b"\r\n", start, end):
        return end - 2
    return end - 1 if text.endswith(b"\n", start, end) else end


def _note_characters(text: bytes, base: int, part: str, defects: DefectLog) -> None:
    # The expression takes ten times as long; it tells where.
    may = len(text.translate(None, _CONTROLS)) < len(text)
    may = may or text.count(b"\r") > text.count(b"\r\n")
    if may and (control := _CONTROL.search(text)):
        defects.add(Kind.CONTROL_IN_HEADER, part, base + control.start())
    if blank := _BLANK_CONTINUATION.search(text):
        defects.add(Kind.BLANK_CONTINUATION, part, base + blank.start() + 1)
