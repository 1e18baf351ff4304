"""Edits: planned as spans of the received octets, applied once (contract 6).

An edit changes the octets of its span and no other. What is inserted can be taken for
no structure of what is around it (``writing``). Edits hold no copy of the message; the
result is a list of spans and insertions over the same buffer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.writing import (
    CRLF,
    Entity,
    field_octets,
    locked_entity,
    mixed_entity,
    notice_entity,
)
from smtpguard.model.content import Edited


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from smtpguard.mime.header import Field
    from smtpguard.mime.notice import Notice
    from smtpguard.mime.part import Message, Part


# Of a field that a limit cut: the rest of its line, and its continuations.
_REST_OF_LINE = re.compile(rb"[^\n]*+\n?")
_CONTINUATIONS = re.compile(rb"(?:[ \t][^\n]*+\n?)*+")


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the octets of a span; an empty span inserts."""

    span: Span
    replacement: bytes
    part: str = ""
    """Path of the part that is replaced; "" where only a field changes."""
    more: tuple[bytes, ...] = ()
    """Goes on after ``replacement``, where that is too large for one piece."""


def strip(message: Message, part: Part, notice: Notice) -> tuple[Edit, ...]:
    """Plan to put a text part with the deny message where ``part`` is.

    A part between boundary lines goes with its header. A message (the whole one, or one
    inside message/rfc822) keeps its header, octet for octet, but for ``Content-*``. A
    part that was found in decoded content takes the part that was decoded with it.
    """
    return _replaced(message, message.holder(part), notice_entity(notice.text))


def lock(
    message: Message,
    part: Part,
    notice: Notice,
    name: str,
    octets: bytes | Iterable[bytes],
) -> tuple[Edit, ...]:
    """Plan to put a text part with the deny message, and a file of that name and those
    octets, where ``part`` is.

    What goes and what stays is as with ``strip``; ``octets`` should be made of the
    content of ``message.holder(part)``, and are read once, at once. ``name`` may be any
    text. In a multipart/mixed the two stand between its own delimiters; elsewhere two
    parts would mean something else than one (RFC 2046 5.1.4), so they are in a
    multipart/mixed of their own. Raises ValueError as ``mixed_entity`` does.
    """
    part = message.holder(part)
    two = notice_entity(notice.text), locked_entity(name, octets)
    around = _around(message, part)
    if around and around[0].content_type == "multipart/mixed":
        number = int(part.path.rpartition(".")[2])
        delimiter = around[0].delimiters[number - 1].of(message.buffer).strip(CRLF)
        pieces = (*two[0].pieces, delimiter + CRLF, *two[1].pieces)
        return (_between_delimiters(message.buffer, part, pieces),)
    boundaries = (one.claims.boundary for one in around)
    both = mixed_entity(two, (one for one in boundaries if one is not None))
    return _replaced(message, part, both)


def prepend_field(message: Message, name: bytes, value: bytes) -> Edit:
    """Plan to add a field on top of the header; the value is folded at blanks.

    Raises ValueError unless name and value are printable ASCII: whoever puts a sender's
    text into a field must have made it harmless before.
    """
    field = field_octets(name, value)
    at = _top_of_header(message)
    lead = b"" if _begins_line(message.buffer, at) else CRLF
    return Edit(Span(at, at), lead + field)


def remove_field(message: Message, field: Field) -> Edit:
    """Plan to take a field away with all its lines; of any part's header.

    No line of the others is touched: what follows a field begins with no blank, so it
    continues nothing. A field that was cut by a limit goes to its end.
    """
    return Edit(_whole(message.buffer, field), b"")


def apply(message: Message, edits: Sequence[Edit]) -> Edited:
    """Carry out edits over the octets of ``message``, each once.

    The order of disjoint edits does not matter; insertions at one place keep theirs.
    Of edits inside one another the outer one counts; of two of the same span or part,
    the first. Raises ValueError where two spans overlap in part, which is a bug.
    """
    pieces: list[tuple[int, int] | bytes] = []
    position = 0
    for edit in _effective(edits):
        if edit.span.start < position:
            msg = f"edits overlap at {edit.span.start}"
            raise ValueError(msg)
        if position < edit.span.start:
            pieces.append((position, edit.span.start))
        pieces += filter(None, (edit.replacement, *edit.more))
        position = edit.span.end
    if position < len(message.buffer):
        pieces.append((position, len(message.buffer)))
    return Edited(message.buffer, tuple(pieces))


def _effective(edits: Sequence[Edit]) -> list[Edit]:
    """Return the edits that are not inside another one, by offset."""
    replaced = {edit.part for edit in edits if edit.part}
    seen: set[tuple[str, Span]] = set()
    kept: list[Edit] = []
    outer = Span(0, 0)
    for edit in sorted(edits, key=_rank):
        if edit.part and (edit.part, edit.span) in seen:
            continue
        if _has_ancestor(edit.part, replaced) or _is_inside(edit.span, outer):
            continue
        seen.add((edit.part, edit.span))
        kept.append(edit)
        outer = edit.span or outer
    return kept


def _rank(edit: Edit) -> tuple[int, bool, int, bool]:
    """Order insertions before what begins at the same place, outer spans before inner
    ones, and of two edits of one span the one that replaces a part before the other."""
    return edit.span.start, bool(edit.span), -edit.span.end, not edit.part


def _has_ancestor(path: str, replaced: set[str]) -> bool:
    while path := path.rpartition(".")[0]:
        if path in replaced:
            return True
    return False


def _is_inside(inner: Span, outer: Span) -> bool:
    if inner:
        return outer.covers(inner)
    return outer.start < inner.start < outer.end


def _around(message: Message, part: Part) -> list[Part]:
    """Return the containers that ``part`` is in, the innermost first."""
    found: list[Part] = []
    one = message.root
    for number in part.path.split(".")[1:]:
        found.insert(0, one)
        one = one.children[int(number) - 1]
    return found


def _replaced(message: Message, part: Part, entity: Entity) -> tuple[Edit, ...]:
    """Plan to put ``entity`` where ``part`` is."""
    around = _around(message, part)
    if not around or around[0].is_message:
        return tuple(_replace_content(message.buffer, part, entity))
    return (_between_delimiters(message.buffer, part, entity.pieces),)


def _between_delimiters(buffer: Octets, part: Part, pieces: tuple[bytes, ...]) -> Edit:
    """Plan to put whole entities where a part between boundary lines is."""
    # A delimiter that is the end of the message may have no line end.
    lead = () if _begins_line(buffer, part.span.start) else (CRLF,)
    return _edit(buffer, part.span, (*lead, *pieces), part.path)


def _replace_content(buffer: Octets, part: Part, entity: Entity) -> Iterator[Edit]:
    """Plan the edits that replace a message's content but not its other fields.

    The new fields stand where the first ``Content-*`` field stood, else at the end.
    """
    header, body = entity.header, entity.body
    end = part.header.end
    if not any(field.is_named("mime-version") for field in part.fields):
        header = b"MIME-Version: 1.0\r\n" + header
    claims = [
        _whole(buffer, field)
        for field in part.fields
        if field.name.lower().startswith("content-")
    ]
    for span in claims:
        yield Edit(span, header, part.path)
        header = b""
    is_open = not _begins_line(buffer, end) and end not in {c.end for c in claims}
    rest = (CRLF if is_open else b"") + header
    if part.body.start == end:
        # No empty line: the header ends where the message does.
        pieces = (rest + CRLF, *body)
        yield _edit(buffer, Span(end, part.span.end), pieces, part.path)
        return
    if rest:
        yield Edit(Span(end, end), rest, part.path)
    yield _edit(buffer, part.body, body, part.path)


def _edit(buffer: Octets, span: Span, pieces: tuple[bytes, ...], path: str) -> Edit:
    """Return an edit that ends where ``span`` does.

    The line end before a delimiter belongs to the delimiter, where it has one.
    """
    *pieces_before, last = pieces
    if buffer[span.end : span.end + 1] in {b"\r", b"\n"}:
        last = last.removesuffix(CRLF)
    first, *more = (*pieces_before, last)
    return Edit(span, first, path, tuple(more))


def _whole(buffer: Octets, field: Field) -> Span:
    """Return all octets of a field, also of one that was read up to a limit."""
    end = field.span.end
    if not _begins_line(buffer, end):
        end = _end(_REST_OF_LINE, buffer, end)
    return Span(field.span.start, _end(_CONTINUATIONS, buffer, end))


def _end(pattern: re.Pattern[bytes], buffer: Octets, start: int) -> int:
    found = pattern.match(buffer, start)
    assert found is not None
    return found.end()


def _begins_line(buffer: Octets, at: int) -> bool:
    return at == 0 or buffer[at - 1 : at] == b"\n"


def _top_of_header(message: Message) -> int:
    """Return where a new first field can stand: behind an mbox line, if there is one.

    Behind everything that is no field, in fact: a blank line start would be taken for
    the new field's continuation.
    """
    fields = message.fields
    return fields[0].span.start if fields else message.root.header.end
