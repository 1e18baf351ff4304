"""What was wrong with a message, and where: data on the tree, never an exception.

A defect does not say what to do; that is judged above this package. But some say that
two readers could see different parts (``AMBIGUITIES``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The slugs of defects; they appear in ``inspect --json`` and stay as they are."""

    LIMIT_DEPTH = "limit-depth"
    """A container at the deepest level was not entered."""
    LIMIT_PARTS = "limit-parts"
    """Parts after this offset were not separated from the last one."""
    LIMIT_HEADER = "limit-header"
    """Octets of a header section after this offset were not read for fields."""
    LIMIT_FIELDS = "limit-fields"
    """Fields after this offset were not read."""
    LIMIT_DECODED = "limit-decoded"
    """An encoded message was not entered: too much was decoded already, or too many
    lie in one another."""
    LIMIT_PARAMETERS = "limit-parameters"
    """A field has more parameters than are read."""
    LIMIT_NAMES = "limit-names"
    """A file name has more readings than are kept, or all of them together have."""
    LIMIT_BOUNDARY = "limit-boundary"
    """A multipart was not entered, because its boundary is longer than any line."""

    MBOX_LINE = "mbox-line"
    """The message begins with the ``From`` line of an mbox file."""
    MALFORMED_FIELD = "malformed-field"
    """A line of a header section is neither a field nor a continuation of one."""
    SPACE_BEFORE_COLON = "space-before-colon"
    """Blanks between a field's name and its colon (RFC 5322 4.5)."""
    BLANK_CONTINUATION = "blank-continuation"
    """A continuation line of blanks only, which some readers take for the end."""
    CONTROL_IN_HEADER = "control-in-header"
    """A control character, bare CR or NUL in a header section."""
    MIXED_LINE_ENDS = "mixed-line-ends"
    """A bare LF in the structure of a message whose lines end in CRLF."""
    MISSING_HEADER_END = "missing-header-end"
    """A header section without the empty line after it."""

    DUPLICATE_CONTENT_TYPE = "duplicate-content-type"
    """Two fields that do not say the same."""
    DUPLICATE_TRANSFER_ENCODING = "duplicate-content-transfer-encoding"
    """Two fields that do not mean the same."""
    DUPLICATE_DISPOSITION = "duplicate-content-disposition"
    MALFORMED_CONTENT_TYPE = "malformed-content-type"
    """Not ``type/subtype``; read as text/plain (RFC 2045 5.2)."""
    MALFORMED_CONTAINER_TYPE = "malformed-container-type"
    """The same, of a field that speaks of a multipart, a message or a boundary."""
    MALFORMED_PARAMETER = "malformed-parameter"
    """No ``=``, text after a quoted value, or text between type and first ``;``."""
    DUPLICATE_PARAMETER = "duplicate-parameter"
    UNQUOTED_SPECIALS = "unquoted-specials"
    """A value that must be quoted and is not (RFC 2045 5.1)."""
    UNTERMINATED_QUOTE = "unterminated-quote"
    COMMENT_IN_PARAMETER = "comment-in-parameter"
    UNTERMINATED_COMMENT = "unterminated-comment"
    ENCODED_WORD_IN_PARAMETER = "encoded-word-in-parameter"
    """RFC 2047 5 forbids it; many senders do it."""
    UNKNOWN_TRANSFER_ENCODING = "unknown-transfer-encoding"
    """None that is known, or something behind it; others were tried as well."""
    ENCODED_CONTAINER = "encoded-container"
    """base64 or quoted-printable around a multipart or message (RFC 2045 6.4).

    A multipart is read as if it were not encoded, a message is decoded and read."""
    ENCODED_STRUCTURE = "encoded-structure"
    """An encoded container that has a structure of its own where it is not decoded: a
    multipart, or a message with fields in its encoded octets."""

    MISSING_BOUNDARY = "missing-boundary"
    """A multipart without a boundary parameter; read as one part."""
    OVERLONG_BOUNDARY = "overlong-boundary"
    """More than 70 octets (RFC 2046 5.1.1)."""
    CONFLICTING_BOUNDARY = "conflicting-boundary"
    """A boundary that can be read in two ways; the first was used."""
    CONTINUED_BOUNDARY = "continued-boundary"
    """A boundary by RFC 2231 continuations or charset, which few readers know."""
    BLANK_ENDED_BOUNDARY = "blank-ended-boundary"
    """A boundary that ends in blanks (RFC 2046 5.1.1); read as if it did not."""
    REPEATED_BOUNDARY = "repeated-boundary"
    """A multipart with the boundary of one around it; its parts are the outer's."""
    BOUNDARY_NOT_FOUND = "boundary-not-found"
    """A multipart without a single delimiter line; read as one part."""
    INEXACT_DELIMITER = "inexact-delimiter"
    """A line that begins like a delimiter and goes on; it was not taken for one."""
    MISSING_CLOSE_BOUNDARY = "missing-close-boundary"
    HIDDEN_PARTS = "hidden-parts"
    """A part that is one by its header holds what looks like parts."""
    QUOTED_PARTS = "quoted-parts"
    """A text holds what looks like parts, as bounces and reports do; they are read too,
    but no reader shows them as anything but text."""
    BAD_BASE64 = "bad-base64"
    """Characters or padding that readers of base64 take for different things."""
    BAD_QUOTED_PRINTABLE = "bad-quoted-printable"
    """A ``=`` that begins no escape, which readers take for different things."""
    AMBIGUOUS_CONTENT = "ambiguous-content"
    """Readers see different contents of a part that is no mere text."""
    EMBEDDED_FILE = "embedded-file"
    """A file by uuencode, BinHex or yEnc in text; entered."""
    LIMIT_READINGS = "limit-readings"
    """Not every way to read a content was tried: it is too large."""
    DELIMITER_IN_EPILOGUE = "delimiter-in-epilogue"
    """A delimiter behind the close delimiter of its multipart; no part begins there."""


AMBIGUITIES = frozenset(
    {
        Kind.MIXED_LINE_ENDS,
        Kind.DUPLICATE_CONTENT_TYPE,
        Kind.DUPLICATE_TRANSFER_ENCODING,
        Kind.MALFORMED_CONTAINER_TYPE,
        Kind.ENCODED_STRUCTURE,
        Kind.MISSING_BOUNDARY,
        Kind.CONFLICTING_BOUNDARY,
        Kind.CONTINUED_BOUNDARY,
        Kind.INEXACT_DELIMITER,
        Kind.DELIMITER_IN_EPILOGUE,
        Kind.AMBIGUOUS_CONTENT,
        Kind.HIDDEN_PARTS,
    }
)
"""Defects for which two readers could see different parts; ordinary sloppy mail has
none of them."""


MALFORMATIONS = frozenset({Kind.CONTROL_IN_HEADER, Kind.REPEATED_BOUNDARY})
"""Defects of structure that no composer of mail makes and no reader is bound to read in
one way."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that was wrong; the first of its kind in its part."""

    kind: Kind
    part: str
    """Path of the part."""
    offset: int
    """Octets from the beginning of the message."""

    @property
    def is_limit(self) -> bool:
        """Say whether the message was not read to its end for it."""
        return self.kind.startswith("limit-")

    @property
    def is_ambiguity(self) -> bool:
        """Say whether another reader could see other parts for it."""
        return self.kind in AMBIGUITIES

    @property
    def is_malformation(self) -> bool:
        """Say whether the message is broken in a way that mail is not by chance."""
        return self.kind in MALFORMATIONS


class DefectLog:
    """Collects defects while a message is read.

    Keeps the first of each kind in each part, so a flood of one defect stays small.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, Kind], Defect] = {}
        self._offset: int | None = None

    def add(self, kind: Kind, part: str, offset: int) -> None:
        """Note a defect unless this part has one of its kind."""
        if (part, kind) not in self._found:
            at = offset if self._offset is None else self._offset
            self._found[part, kind] = Defect(kind, part, at)

    def within(self, offset: int) -> DefectLog:
        """Return a log that adds to this one, for content decoded from ``offset``."""
        inner = DefectLog()
        inner._found = self._found
        inner._offset = offset if self._offset is None else self._offset
        return inner

    def has(self, part: str, kinds: frozenset[Kind]) -> bool:
        """Say whether a part has a defect of one of these kinds."""
        return any((part, kind) in self._found for kind in kinds)

    def offset(self, part: str, kind: Kind) -> int | None:
        """Return where a defect of a part was found, None without."""
        found = self._found.get((part, kind))
        return None if found is None or self._offset is not None else found.offset

    def all(self) -> tuple[Defect, ...]:
        """Return what was found, by offset."""
        return tuple(sorted(self._found.values(), key=lambda found: found.offset))
