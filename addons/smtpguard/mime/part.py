"""The tree: parts as spans of the received octets, and what rules ask about them.

Nothing is kept twice: a part holds positions and claims, and reads the buffer when its
content is asked for. A message lives as long as its buffer does. Paths count as in IMAP
but keep the root: the message is ``1``, its parts are ``1.1``, ``1.2``; the message
inside a message/rfc822 part ``1.2`` is ``1.2.1``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.mime.defects import Kind
from smtpguard.mime.entity import MESSAGE_TYPES, Claims
from smtpguard.mime.transferencoding import content, decode


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime.defects import Defect
    from smtpguard.mime.header import Field
    from smtpguard.mime.octets import Octets, Span


@dataclass(frozen=True, slots=True)
class Part:
    """One entity (RFC 2045 2.4): a header and a body."""

    path: str
    span: Span
    """Header, empty line and body; the line end before a delimiter is not in it."""
    header: Span
    """The fields, without the empty line after them."""
    body: Span
    """Everything after the empty line."""
    fields: tuple[Field, ...]
    claims: Claims = field(repr=False)
    children: tuple[Part, ...]
    """The parts of a multipart, or the one message of a message/rfc822."""
    decoded_parts: tuple[Part, ...]
    """What else is in the octets for some reader (``inner``): a message in base64, the
    content decoded in another way, files in text, hidden parts, what S/MIME signed.
    They have a ``buffer`` of their own, which no edit can reach; ``holder`` can be
    edited."""
    delimiters: tuple[Span, ...]
    """Delimiter lines of a multipart, with the line end before each."""
    epilogue: Span | None
    """What follows the close delimiter; None where there is none."""
    buffer: Octets = field(repr=False, compare=False)

    @property
    def content_type(self) -> str:
        """``type/subtype`` as claimed, lower case."""
        return self.claims.content_type

    @property
    def transfer_encoding(self) -> str:
        """Content-transfer-encoding as claimed, lower case; ``7bit`` if none is."""
        return self.claims.transfer_encoding

    @property
    def names(self) -> tuple[str, ...]:
        """Every reading of the part's file name, likeliest first."""
        return self.claims.names

    @property
    def is_leaf(self) -> bool:
        """True where the octets hold no other part as they stand."""
        return not self.children

    @property
    def is_message(self) -> bool:
        """True for message/rfc822 and its kin."""
        return self.content_type in MESSAGE_TYPES

    def decoded(self) -> Iterator[bytes]:
        """Yield the content in chunks, the transfer encoding of a leaf undone."""
        return decode(self._encoding, self.buffer, self.body)

    def content(self) -> bytes:
        """Return the content whole, the transfer encoding of a leaf undone."""
        return content(self._encoding, self.buffer, self.body)

    def measure(self) -> tuple[int, str]:
        """Return octets and hexadecimal SHA-256 of the content, in one pass."""
        size = 0
        digest = hashlib.sha256()
        for chunk in self.decoded():
            size += len(chunk)
            digest.update(chunk)
        return size, digest.hexdigest()

    @property
    def _encoding(self) -> str:
        return self.transfer_encoding if self.is_leaf else "binary"


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was read, and how well it could be read."""

    buffer: Octets = field(repr=False)
    root: Part
    defects: tuple[Defect, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The header fields of the message itself, in order."""
        return self.root.fields

    @property
    def is_header_read(self) -> bool:
        """Say whether ``fields`` are all there are: no limit cut them off."""
        limits = {Kind.LIMIT_HEADER, Kind.LIMIT_FIELDS}
        return not any(
            one.part == self.root.path and one.kind in limits for one in self.defects
        )

    def parts(self) -> Iterator[Part]:
        """Yield every part, the root first, in document order."""
        stack = [self.root]
        while stack:
            part = stack.pop()
            yield part
            stack.extend(reversed((*part.children, *part.decoded_parts)))

    def candidates(self) -> Iterator[Part]:
        """Yield what rules look at: leaves, and message/rfc822 as a whole."""
        return (part for part in self.parts() if part.is_leaf or part.is_message)

    def part(self, path: str) -> Part | None:
        """Return the part of that path."""
        part: Part | None = self.root
        while part is not None and part.path != path:
            inner = (*part.children, *part.decoded_parts)
            part = next((p for p in inner if _leads_to(p.path, path)), None)
        return part

    def holder(self, part: Part) -> Part:
        """Return the part whose octets ``part`` is made of: itself, unless it was
        found in decoded content, else the part that was decoded."""
        while part.buffer is not self.buffer:
            outer = self.part(part.path.rpartition(".")[0])
            assert outer is not None
            part = outer
        return part


def _leads_to(path: str, target: str) -> bool:
    return path == target or target.startswith(f"{path}.")
