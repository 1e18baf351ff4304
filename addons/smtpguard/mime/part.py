"""The tree: parts as spans of the received octets, and what rules ask about them.

Nothing is kept twice: a part holds positions and claims, and reads the buffer when its
content is asked for. A message lives as long as its buffer does. Paths count as in IMAP
but keep the root: the message is ``1``, its parts are ``1.1``, ``1.2``; the message
inside a message/rfc822 part ``1.2`` is ``1.2.1``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from smtpguard.mime.entity import MESSAGE_TYPES, Claims
from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.transferencoding import decode


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime.defects import Defect
    from smtpguard.mime.header import Field


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
    """What was found in the content once it was decoded (a message in base64): parts
    of a ``buffer`` of their own, which no edit can reach; ``holder`` can be edited."""
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
    def untyped(self) -> bool:
        """True where there is no Content-Type field."""
        return self.claims.untyped

    @property
    def parameters(self) -> dict[str, str]:
        """Parameters of the Content-Type, names in lower case, first ones only."""
        found: dict[str, str] = {}
        for item in self.claims.parameters:
            found.setdefault(item.name, item.value.decode("utf-8", "replace"))
        return found

    @property
    def transfer_encoding(self) -> str:
        """Content-transfer-encoding as claimed, lower case; ``7bit`` if none is."""
        return self.claims.transfer_encoding

    @property
    def content_disposition(self) -> str:
        """``inline``, ``attachment`` ..., lower case; "" if none is claimed."""
        return self.claims.content_disposition

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

    @property
    def is_attachment(self) -> bool:
        """True with a file name or ``Content-Disposition: attachment``."""
        return bool(self.names) or self.content_disposition == "attachment"

    @property
    def preamble(self) -> Span | None:
        """What stands before the first delimiter; None without delimiters."""
        if not self.delimiters:
            return None
        return Span(self.body.start, self.delimiters[0].start)

    def decoded(self) -> Iterator[bytes]:
        """Yield the content in chunks, the transfer encoding of a leaf undone."""
        encoding = self.transfer_encoding if self.is_leaf else "binary"
        return decode(encoding, self.buffer, self.body)

    def measure(self) -> tuple[int, str]:
        """Return octets and hexadecimal SHA-256 of the content, in one pass."""
        size = 0
        digest = hashlib.sha256()
        for chunk in self.decoded():
            size += len(chunk)
            digest.update(chunk)
        return size, digest.hexdigest()

    def size(self) -> int:
        """Return the octets of the content; decodes it."""
        return sum(len(chunk) for chunk in self.decoded())

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the content; decodes it."""
        return self.measure()[1]


@dataclass(frozen=True, slots=True)
class Tile:
    """One piece of a message; all of them in order are the message."""

    role: str
    """``header``, ``separator``, ``body``, ``preamble``, ``delimiter`` or
    ``epilogue``."""
    part: str
    """Path of the part it belongs to."""
    span: Span


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

    def values(self, name: str) -> tuple[str, ...]:
        """Return the decoded values of the fields of that name, in order."""
        return tuple(found.value for found in self.fields if found.is_named(name))

    def parts(self) -> Iterator[Part]:
        """Yield every part, the root first, in document order."""
        stack = [self.root]
        while stack:
            part = stack.pop()
            yield part
            stack.extend(reversed((*part.children, *part.decoded_parts)))

    def leaves(self) -> Iterator[Part]:
        """Yield the parts that hold no other part as they stand."""
        return (part for part in self.parts() if part.is_leaf)

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

    def tiles(self) -> Iterator[Tile]:
        """Yield every octet of the message once, in order, empty pieces left out."""
        stack: list[Part | Tile] = [self.root]
        while stack:
            item = stack.pop()
            if isinstance(item, Tile):
                if item.span:
                    yield item
                continue
            stack.extend(reversed(list(_layout(item))))


def _leads_to(path: str, target: str) -> bool:
    return path == target or target.startswith(f"{path}.")


def _layout(part: Part) -> Iterator[Part | Tile]:
    """Yield the pieces of one part, its children as parts."""
    yield Tile("header", part.path, part.header)
    yield Tile("separator", part.path, Span(part.header.end, part.body.start))
    if part.preamble is None:
        if part.children:
            yield from part.children
        else:
            yield Tile("body", part.path, part.body)
        return
    yield Tile("preamble", part.path, part.preamble)
    children = iter(part.children)
    for delimiter in part.delimiters:
        yield Tile("delimiter", part.path, delimiter)
        # The close delimiter comes last and has no part behind it.
        yield from islice(children, 1)
    if part.epilogue is not None:
        yield Tile("epilogue", part.path, part.epilogue)
