"""A message as a tree of spans over the octets it came in (RFC 5322, RFC 2045-2046).

Theory of operation. One pass from the first octet to the last. The parser keeps a
stack of open entities and a table of the boundaries they wait for; every line that
begins with ``--`` is looked up in the table, and all entities above the one it belongs
to end there. So a parent's delimiter ends its children, each octet is searched once
whatever the nesting, and a line is compared with the boundaries of the open entities
alone, ``Limits.depth`` at most. A header section ends at its empty line or at a
delimiter, whichever comes first.

Nothing is repaired, and nothing raises: what is wrong is a defect, and what lies behind
a limit stays in the span of the part before it. What else a leaf holds for some reader
(``innerparts``) is decoded, and read by a parser of its own. A boundary that two open
multiparts share belongs to the outer one. Lines end as ``header`` says.
"""

from __future__ import annotations

import re

from smtpguard.mime.defects import DefectLog, Kind
from smtpguard.mime.entity import MESSAGE_TYPES, Claims, read_claims
from smtpguard.mime.header import parse_fields
from smtpguard.mime.innerparts import InnerParts
from smtpguard.mime.limits import MAX_BOUNDARY, Budget, Limits
from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.openentity import OpenEntity
from smtpguard.mime.part import Message, Part


# The line may be longer; what is longer than any boundary is only blanks or no match.
_CANDIDATE = re.compile(rb"\n--([^\n]{0,%d})" % (MAX_BOUNDARY + 2))
_EMPTY_LINE = re.compile(rb"\n(\r?\n)")
_EMPTY_FIRST_LINE = re.compile(rb"\r?\n")
_LINE_END = re.compile(rb"\n")
_CRLF = re.compile(rb"\r\n")
_REST_IS_BLANK = re.compile(rb"[ \t\r]*+(?:\n|\Z)")
# Begins with what it looks for: ten times as quick as the other way round.
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
_BLANKS = b" \t\r"


def parse(buffer: Octets, limits: Limits | None = None) -> Message:
    """Read a message. Never raises; linear time; memory bounded by ``limits``."""
    bounds = limits or Limits()
    defects = DefectLog()
    root = _Parser(buffer, bounds, defects, Budget(bounds)).run("1", 1)
    return Message(buffer, root, defects.all())


def _nested(
    octets: bytes,
    log: DefectLog,
    budget: Budget,
    path: str,
    *,
    depth: int,
    boundary: bytes | None = None,
) -> Part:
    """Read octets that were found in a leaf: a message, or with ``boundary`` the hidden
    parts of a multipart."""
    with budget.nested():
        is_hidden = boundary is not None
        reader = _Parser(octets, budget.limits, log, budget, is_hidden=is_hidden)
        return reader.run(path, depth, boundary)


class _Parser:
    """Reads one buffer; encoded messages inside get a parser of their own."""

    def __init__(
        self,
        buffer: Octets,
        limits: Limits,
        defects: DefectLog,
        budget: Budget,
        *,
        is_hidden: bool = False,
    ) -> None:
        self._buffer = buffer
        self._end = len(buffer)
        self._limits = limits
        self._defects = defects
        self._budget = budget
        self._stack: list[OpenEntity] = []
        self._active: dict[bytes, OpenEntity] = {}
        self._closed: dict[bytes, OpenEntity] = {}
        """Multiparts by boundary whose epilogue is being read."""
        self._prefixes: tuple[bytes, ...] = ()
        self._empty_line: tuple[int, int] = (-1, -1)
        self._crlf = _CRLF.search(buffer) is not None
        self._root: Part | None = None
        self._inner = InnerParts(
            buffer, limits, defects, budget, _nested, is_hidden=is_hidden
        )

    def run(self, path: str, depth: int, boundary: bytes | None = None) -> Part:
        """Return what the buffer holds as part ``path``: an entity, or with
        ``boundary`` the body of a multipart."""
        self._push(OpenEntity(path, depth, 0, "text/plain"))
        if boundary is not None:
            self._begin_multipart(self._stack[0], boundary)
        self._read()
        self._settle_headers(self._end)
        self._close_above(None, self._end)
        assert self._root is not None
        return self._root

    def _read(self) -> None:
        """Go from delimiter to delimiter until no multipart is open."""
        buffer, search = self._buffer, _CANDIDATE.search
        position = 0
        while self._is_waiting():
            if self._stack[-1].content > position:
                # The line end before a line belongs to the pattern.
                position = self._stack[-1].content - 1
            candidate = search(buffer, position)
            if candidate is None:
                return
            text = candidate[1]
            position = candidate.end()
            line = candidate.start() + 1
            if self._stack[-1].header is None:
                self._settle_headers(line)
            # Nearly all lines of a flood of "--" end here.
            if text.startswith(self._prefixes) and not self._candidate(line, text):
                return

    def _is_waiting(self) -> bool:
        """Say whether delimiters are looked for: due, or behind a closed multipart."""
        if not self._prefixes:
            self._settle_headers(self._end)
        return bool(self._prefixes)

    def _candidate(self, line: int, text: bytes) -> bool:
        """Look at a line that begins with a boundary; False where reading must stop."""
        rest = line + 2 + len(text)
        if len(text) <= MAX_BOUNDARY or _REST_IS_BLANK.match(self._buffer, rest):
            key = text.rstrip(_BLANKS)
            if owner := self._active.get(key):
                return self._delimiter(owner, line, closes=False)
            if owner := self._active.get(key.removesuffix(b"--")):
                return self._delimiter(owner, line, closes=True)
            if owner := self._closed.get(key):
                self._defects.add(Kind.DELIMITER_IN_EPILOGUE, owner.path, line)
            if key.removesuffix(b"--") in self._closed:
                return True
        self._note(Kind.INEXACT_DELIMITER, line)
        return True

    def _delimiter(self, owner: OpenEntity, line: int, *, closes: bool) -> bool:
        if not closes and self._budget.parts <= 0:
            self._note(Kind.LIMIT_PARTS, line)
            return False
        innermost = self._stack[-1]
        if innermost.header is None:
            self._note(Kind.MISSING_HEADER_END, line)
            self._end_header(innermost, line, line)
        start = self._before_line_end(line, innermost.content)
        end = self._after_line(line)
        self._close_above(owner, start)
        owner.delimiters.append(Span(start, end))
        owner.content = end
        if closes:
            owner.epilogue = end
            self._deactivate(owner)
            self._watch(owner)
            return True
        digest = owner.claims.content_type == "multipart/digest"
        self._open(end, "message/rfc822" if digest else "text/plain")
        return True

    def _before_line_end(self, line: int, floor: int) -> int:
        """Return where the line end before ``line`` begins, not before ``floor``.

        It belongs to the delimiter (RFC 2046 5.1.1) unless it ends a field or a
        delimiter itself.
        """
        if line - 1 < floor:
            return line
        start = line - 1
        if self._is_crlf(start):
            return max(start - 1, floor)
        self._note_bare_lf(start)
        return start

    def _after_line(self, line: int) -> int:
        found = _LINE_END.search(self._buffer, line)
        if found is None:
            return self._end
        if not self._is_crlf(found.start()):
            self._note_bare_lf(found.start())
        return found.end()

    def _is_crlf(self, line_feed: int) -> bool:
        return self._buffer[max(line_feed - 1, 0) : line_feed] == b"\r"

    def _note(self, kind: Kind, offset: int) -> None:
        self._defects.add(kind, self._stack[-1].path, offset)

    def _note_bare_lf(self, offset: int) -> None:
        if self._crlf:
            self._note(Kind.MIXED_LINE_ENDS, offset)

    def _open(self, start: int, default_type: str) -> None:
        parent = self._stack[-1]
        path = f"{parent.path}.{len(parent.children) + 1}"
        self._push(OpenEntity(path, parent.depth + 1, start, default_type))

    def _push(self, entity: OpenEntity) -> None:
        self._budget.parts -= 1
        self._stack.append(entity)

    def _settle_headers(self, bound: int) -> None:
        """End the headers whose empty line lies before ``bound``; enter what they open.

        A header that is still open at the end of the message ends there.
        """
        while (entity := self._stack[-1]).header is None:
            start, end = self._next_empty_line(entity.start)
            if end > bound:
                if bound < self._end:
                    return
                self._note(Kind.MISSING_HEADER_END, self._end)
                start = end = self._end
            self._end_header(entity, start, end)
            self._enter(entity)

    def _begin_multipart(self, entity: OpenEntity, boundary: bytes) -> None:
        """Treat an entity as a multipart without a header."""
        entity.header = Span(0, 0)
        entity.body = entity.content = 0
        entity.fields = ()
        entity.claims = Claims("multipart/mixed", boundary, "7bit", ())
        if entity.depth >= self._limits.depth:
            self._note(Kind.LIMIT_DEPTH, 0)
        else:
            self._activate(entity, boundary)

    def _next_empty_line(self, start: int) -> tuple[int, int]:
        """Return the first empty line at or after ``start``; beyond the end if none.

        Remembers it, since many entities may open before the next one: the message is
        searched once.
        """
        if self._empty_line[0] >= start:
            return self._empty_line
        found = _EMPTY_LINE.search(self._buffer, max(start - 1, 0))
        self._empty_line = found.span(1) if found else (self._end + 1, self._end + 1)
        if start == 0 and (first := _EMPTY_FIRST_LINE.match(self._buffer)):
            self._empty_line = first.span()
        return self._empty_line

    def _end_header(self, entity: OpenEntity, end: int, body: int) -> None:
        entity.header = Span(entity.start, end)
        entity.body = entity.content = body
        section = Span(
            entity.start, min(end, entity.start + self._limits.header_section)
        )
        if section.end < end:
            self._note(Kind.LIMIT_HEADER, section.end)
        if self._crlf and (bare := _BARE_LF.search(self._buffer, entity.start, body)):
            self._note_bare_lf(bare.start())
        entity.fields = tuple(
            parse_fields(
                self._buffer, section, entity.path, self._defects, self._budget.fields
            )
        )
        self._budget.fields -= len(entity.fields)
        entity.claims = read_claims(
            entity.fields,
            entity.default_type,
            entity.path,
            self._defects,
            self._budget.names,
        )
        self._budget.names -= len(entity.claims.names)

    def _enter(self, entity: OpenEntity) -> None:
        """Open what the entity contains: the parts of a multipart, or a message."""
        claims = entity.claims
        is_message = claims.content_type in MESSAGE_TYPES
        if claims.boundary is None and not is_message:
            return
        if claims.is_encoded:
            self._note(Kind.ENCODED_CONTAINER, entity.start)
            if not is_message:
                self._note(Kind.ENCODED_STRUCTURE, entity.start)
        if entity.depth >= self._limits.depth:
            self._note(Kind.LIMIT_DEPTH, entity.content)
        elif claims.boundary is not None:
            self._activate(entity, claims.boundary)
        elif self._budget.parts <= 0:
            self._note(Kind.LIMIT_PARTS, entity.content)
        elif entity.content < self._end and not claims.is_encoded:
            self._open(entity.content, "text/plain")

    def _activate(self, entity: OpenEntity, boundary: bytes) -> None:
        if boundary in self._active:
            self._note(Kind.REPEATED_BOUNDARY, entity.start)
        elif len(boundary) <= MAX_BOUNDARY:
            entity.boundary = boundary
            self._active[boundary] = entity
            self._note_prefixes()
        else:
            self._note(Kind.LIMIT_BOUNDARY, entity.content)

    def _deactivate(self, entity: OpenEntity) -> None:
        assert entity.boundary is not None
        del self._active[entity.boundary]
        self._note_prefixes()

    def _watch(self, entity: OpenEntity) -> None:
        """Look out for delimiters behind the close delimiter."""
        assert entity.boundary is not None
        self._closed.setdefault(entity.boundary, entity)
        self._note_prefixes()

    def _unwatch(self, entity: OpenEntity) -> None:
        boundary = entity.boundary
        if boundary is not None and self._closed.get(boundary) is entity:
            del self._closed[boundary]
            self._note_prefixes()

    def _note_prefixes(self) -> None:
        self._prefixes = (*self._active, *self._closed)

    def _close_above(self, owner: OpenEntity | None, end: int) -> None:
        """End every entity above ``owner`` at ``end``; all of them for None."""
        while self._stack and self._stack[-1] is not owner:
            entity = self._stack[-1]
            if entity.boundary is not None and entity.epilogue is None:
                missing = Kind.MISSING_CLOSE_BOUNDARY
                kind = missing if entity.delimiters else Kind.BOUNDARY_NOT_FOUND
                self._note(kind, end)
                self._deactivate(entity)
            self._unwatch(entity)
            self._stack.pop()
            part = self._finished(entity, end)
            if self._stack:
                self._stack[-1].children.append(part)
            else:
                self._root = part

    def _finished(self, entity: OpenEntity, end: int) -> Part:
        assert entity.header is not None
        epilogue = entity.epilogue
        return Part(
            path=entity.path,
            span=Span(entity.start, end),
            header=entity.header,
            body=Span(entity.body, end),
            fields=entity.fields,
            claims=entity.claims,
            children=tuple(entity.children),
            decoded_parts=self._inner.parts(entity, end),
            delimiters=tuple(entity.delimiters),
            epilogue=None if epilogue is None else Span(epilogue, end),
            buffer=self._buffer,
        )
