"""Parts made of what was found inside a leaf, or around the parts of a multipart.

Owns when that is looked for and how it stands in the tree; ``inner`` finds it, and the
parser reads what has a structure of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from smtpguard.mime import cms
from smtpguard.mime.defects import Kind
from smtpguard.mime.entity import MESSAGE_TYPES, Claims
from smtpguard.mime.inner import Inner, hidden_parts, inner_contents
from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.otherreadings import MAX_OCTETS
from smtpguard.mime.part import Part
from smtpguard.mime.transferencoding import decode


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime.defects import DefectLog
    from smtpguard.mime.limits import Budget, Limits
    from smtpguard.mime.openentity import OpenEntity


_COLON = re.compile(rb":")
_MESSAGE_NAME = re.compile(r"(?is).*\.(?:eml|mht(?:ml)?|mim)[\s.]*")
_BEGINS_MESSAGE = re.compile(rb"[\s\xef\xbb\xbf]{0,64}(?:From |[!-9;-~]{1,64}[ \t]*:)")
_OTHER_CLAIMS = frozenset(
    {
        Kind.DUPLICATE_CONTENT_TYPE,
        Kind.MALFORMED_CONTENT_TYPE,
        Kind.MALFORMED_CONTAINER_TYPE,
        Kind.MALFORMED_FIELD,
        Kind.CONTROL_IN_HEADER,
        Kind.BLANK_CONTINUATION,
        Kind.SPACE_BEFORE_COLON,
        Kind.MISSING_HEADER_END,
    }
)
"""Defects of a header for which somebody could take a text for a multipart."""
_CMS_HEAD = 4 << 10
FILE_TYPE = "application/octet-stream"
"""Of a file in text, which claims none."""


class ReadNested(Protocol):
    """Reads octets as an entity, or with ``boundary`` as the body of a multipart."""

    def __call__(
        self,
        octets: bytes,
        log: DefectLog,
        budget: Budget,
        path: str,
        *,
        depth: int,
        boundary: bytes | None = None,
    ) -> Part:
        """Return what they hold."""
        ...


class InnerParts:
    """Makes the ``decoded_parts`` of the entities of one buffer."""

    def __init__(
        self,
        buffer: Octets,
        limits: Limits,
        defects: DefectLog,
        budget: Budget,
        read: ReadNested,
        *,
        is_hidden: bool,
    ) -> None:
        self._buffer = buffer
        self._limits = limits
        self._defects = defects
        self._budget = budget
        self._read = read
        self._is_hidden = is_hidden
        """The buffer holds hidden parts: those in them were looked for already."""

    def parts(self, entity: OpenEntity, end: int) -> tuple[Part, ...]:
        """Return what lies in an entity beside what it is by the book."""
        claims = entity.claims
        is_deepest = entity.depth >= self._limits.depth
        if claims.is_encoded and claims.content_type in MESSAGE_TYPES:
            if is_deepest or self._budget.parts <= 0:
                return ()
            return self._encoded_message(entity, Span(entity.body, end))
        found: list[Part] = []
        if self._budget.is_read_enough:
            self._defects.add(Kind.LIMIT_READINGS, entity.path, entity.body)
            return ()
        # Read in other ways it was, however little came out.
        body = 0 if entity.children else min(end - entity.body, MAX_OCTETS)
        for inner in self._contents(entity, end):
            cost, body = body + len(inner.octets), 0
            if not self._budget.spend(cost):
                self._defects.add(Kind.LIMIT_READINGS, entity.path, entity.body)
                break
            if is_deepest or self._budget.parts <= 0:
                kind = Kind.LIMIT_DEPTH if is_deepest else Kind.LIMIT_PARTS
                self._defects.add(kind, entity.path, entity.body)
                break
            path = f"{entity.path}.{len(entity.children) + len(found) + 1}"
            found.append(self._part(entity, inner, path))
        if entity.children:
            return tuple(found)
        whole, path = Span(entity.body, end), f"{entity.path}.{len(found) + 1}"
        if any(map(_MESSAGE_NAME.fullmatch, claims.names)):
            found += self._message_file(entity, whole, path)
        elif cms.is_claimed(claims.content_type, claims.names):
            found += self._signed_content(entity, whole, path)
        return tuple(found)

    def _contents(self, entity: OpenEntity, end: int) -> Iterator[Inner]:
        buffer, path, log = self._buffer, entity.path, self._defects
        body = Span(entity.body, end)
        around: list[Span] = []
        kind = Kind.HIDDEN_PARTS
        if entity.delimiters:
            around = [Span(body.start, entity.delimiters[0].start)]
            around += [] if entity.epilogue is None else [Span(entity.epilogue, end)]
        elif not entity.children:
            yield from inner_contents(buffer, body, entity.claims, path, log)
            around = [] if entity.claims.is_encoded else [body]
            if _is_plain_text(entity, log):
                kind = Kind.QUOTED_PARTS
        for span in around if not self._is_hidden else ():
            yield from hidden_parts(buffer, span, path, log, kind)

    def _part(self, entity: OpenEntity, inner: Inner, path: str) -> Part:
        octets, claims, depth = inner.octets, entity.claims, entity.depth + 1
        if inner.boundary is not None:
            log = self._defects.within(entity.body)
            return self._read(
                octets, log, self._budget, path, depth=depth, boundary=inner.boundary
            )
        if inner.is_file:
            return self._file(octets, FILE_TYPE, (inner.name,), path)
        return self._file(octets, claims.content_type, claims.names, path)

    def _file(
        self, octets: bytes, content_type: str, names: tuple[str, ...], path: str
    ) -> Part:
        """Return a part whose whole content ``octets`` are."""
        self._budget.parts -= 1
        return Part(
            path=path,
            span=Span(0, len(octets)),
            header=Span(0, 0),
            body=Span(0, len(octets)),
            fields=(),
            claims=Claims(
                content_type=content_type,
                boundary=None,
                transfer_encoding="binary",
                names=names,
            ),
            children=(),
            decoded_parts=(),
            delimiters=(),
            epilogue=None,
            buffer=octets,
        )

    def _message_file(
        self, entity: OpenEntity, body: Span, path: str
    ) -> tuple[Part, ...]:
        """Read what is a message by its name: opened, it shows its attachments."""
        if (content := self._decoded(entity, body)) is None:
            return ()
        if not _BEGINS_MESSAGE.match(content):
            return ()
        return (self._nested(entity, content, path),)

    def _signed_content(
        self, entity: OpenEntity, body: Span, path: str
    ) -> tuple[Part, ...]:
        """Read what S/MIME signs and encloses: readers show it instead of the leaf."""
        # What is encrypted, as most is, costs nothing. What is not read is told by
        # who asks what the leaf is.
        head = Span(body.start, min(body.end, body.start + _CMS_HEAD))
        encoding, names = entity.claims.transfer_encoding, entity.claims.names
        if not cms.is_signed(b"".join(decode(encoding, self._buffer, head))):
            return ()
        if entity.depth >= self._limits.depth or self._budget.parts <= 1:
            return ()
        content = self._budget.decode(encoding, self._buffer, body)
        signed = None if content is None else cms.signed_content(content)
        if signed is None:
            return ()
        within = tuple(map(cms.name_within, names))
        found = []
        if _BEGINS_MESSAGE.match(signed):
            found.append(self._nested(entity, signed, path))
        if not found or any("." in name for name in within if name not in names):
            # ``invoice.js.p7m``: for some a message, for others a script.
            path = f"{entity.path}.{int(path.rpartition('.')[2]) + len(found)}"
            found.append(self._file(signed, FILE_TYPE, within, path))
        return tuple(found)

    def _decoded(self, entity: OpenEntity, body: Span) -> bytes | None:
        """Return the content of a leaf to be read; None where that is a limit."""
        if entity.depth >= self._limits.depth or self._budget.parts <= 0:
            self._defects.add(Kind.LIMIT_DEPTH, entity.path, entity.body)
            return None
        encoding = entity.claims.transfer_encoding
        content = self._budget.decode(encoding, self._buffer, body)
        if content is None:
            self._defects.add(Kind.LIMIT_DECODED, entity.path, entity.body)
        return content

    def _nested(self, entity: OpenEntity, octets: bytes, path: str) -> Part:
        log, depth = self._defects.within(entity.body), entity.depth + 1
        return self._read(octets, log, self._budget, path, depth=depth)

    def _encoded_message(self, entity: OpenEntity, body: Span) -> tuple[Part, ...]:
        """Read a message that was encoded, although RFC 2045 6.4 forbids it."""
        if _COLON.search(self._buffer, body.start, body.end):
            self._defects.add(Kind.ENCODED_STRUCTURE, entity.path, entity.start)
        content = self._decoded(entity, body)
        return (
            ()
            if content is None
            else (self._nested(entity, content, f"{entity.path}.1"),)
        )


def _is_plain_text(entity: OpenEntity, log: DefectLog) -> bool:
    """Whether every reader takes an entity for a text: it says so, and nothing else."""
    if entity.claims.content_type != "text/plain" or log.has(
        entity.path, _OTHER_CLAIMS
    ):
        return False
    types = (field for field in entity.fields if field.is_named("content-type"))
    return not any(b"boundary" in field.raw_value.lower() for field in types)
