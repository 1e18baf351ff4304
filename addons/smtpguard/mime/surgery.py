"""Edits: planned as spans of the received octets, applied once (contract 6).

An edit changes the octets of its span and no other. What is inserted is 7-bit, in
CRLF-ended lines of at most 76 characters (fields: 998, RFC 5322 2.1.1), none of which
begins with ``--``: no boundary, whatever it is, can be among them. Edits hold no copy
of the message; the result is a list of spans and insertions over the same buffer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.octets import Octets, Span
from smtpguard.mime.transferencoding import (
    MAX_LINE,
    encode_base64,
    encode_quoted_printable,
)
from smtpguard.model.content import Edited


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpguard.mime.notice import Notice
    from smtpguard.mime.part import Message, Part


_CRLF = b"\r\n"
_FIELD_NAME = re.compile(rb"[!-9;-~]{1,77}")
_FIELD_VALUE = re.compile(rb"[ -~]*")
_WORD = re.compile(rb" *[^ ]+")
# What needs no encoding: short lines that nothing on the way takes for something else.
_PLAIN_LINE = re.compile(r"(?!--|From |\.)(?:[ -~\t]{0,75}[!-~])?")

MAX_FIELD_LINE = 998
"""Octets of a line without CRLF (RFC 5322 2.1.1)."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the octets of a span; an empty span inserts."""

    span: Span
    replacement: bytes
    part: str = ""
    """Path of the part that is replaced; "" where only a field changes."""


def strip(message: Message, part: Part, notice: Notice) -> tuple[Edit, ...]:
    """Plan to put a text part with the deny message where ``part`` is.

    A part between boundary lines goes with its header. A message (the whole one, or one
    inside message/rfc822) keeps its header, octet for octet, but for ``Content-*``. A
    part that was found in decoded content takes the part that was decoded with it.
    """
    part = message.holder(part)
    header, body = _notice_entity(notice.text)
    if not _is_own_message(message, part):
        text = _joined_to(message.buffer, part.span.end, header + _CRLF + body)
        return (Edit(part.span, text, part.path),)
    return tuple(_strip_message(message.buffer, part, (header, body)))


def prepend_field(message: Message, name: bytes, value: bytes) -> Edit:
    """Plan to add a field on top of the header; the value is folded at blanks.

    Raises ValueError unless name and value are printable ASCII: whoever puts a sender's
    text into a field must have made it harmless before.
    """
    if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        msg = f"not a header field: {name!r}: {value!r}"
        raise ValueError(msg)
    at = _top_of_header(message)
    lead = b"" if _begins_line(message.buffer, at) else _CRLF
    field = _folded(name + b": " + value.strip(b" "))
    return Edit(Span(at, at), lead + field)


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
        if edit.replacement:
            pieces.append(edit.replacement)
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


def _is_own_message(message: Message, part: Part) -> bool:
    """Say whether ``part`` is a message rather than a part between boundary lines."""
    if part.path == message.root.path:
        return True
    container = message.part(part.path.rpartition(".")[0])
    return container is not None and container.is_message


def _strip_message(
    buffer: Octets, part: Part, entity: tuple[bytes, bytes]
) -> Iterator[Edit]:
    """Plan the edits that replace a message's content but not its other fields.

    The new fields stand where the first ``Content-*`` field stood, else at the end.
    """
    header, body = entity
    end = part.header.end
    if not any(field.is_named("mime-version") for field in part.fields):
        header = b"MIME-Version: 1.0\r\n" + header
    claims = [f.span for f in part.fields if f.name.lower().startswith("content-")]
    for span in claims:
        yield Edit(span, header, part.path)
        header = b""
    is_open = not _begins_line(buffer, end) and end not in {s.end for s in claims}
    rest = (_CRLF if is_open else b"") + header
    if part.body.start == end:
        # No empty line: the header ends where the message does.
        text = _joined_to(buffer, part.span.end, rest + _CRLF + body)
        yield Edit(Span(end, part.span.end), text, part.path)
        return
    if rest:
        yield Edit(Span(end, end), rest, part.path)
    text = _joined_to(buffer, part.span.end, body)
    yield Edit(part.body, text, part.path)


def _notice_entity(text: str) -> tuple[bytes, bytes]:
    """Return the header fields and the body of a notice, CRLF-ended."""
    encoding, body = _encoded(text)
    fields = (
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: " + encoding,
        b"Content-Disposition: inline",
    )
    return b"".join(field + _CRLF for field in fields), body


def _encoded(text: str) -> tuple[bytes, bytes]:
    """Return the lightest 7-bit encoding of ``text`` and its lines."""
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if all(_PLAIN_LINE.fullmatch(line) for line in lines):
        return b"7bit", "".join(f"{line}\r\n" for line in lines).encode("ascii")
    foreign = sum(not character.isascii() for character in text)
    if foreign * 3 > len(text):
        joined = "".join(f"{line}\r\n" for line in lines)
        return b"base64", encode_base64(joined.encode("utf-8", "replace"))
    return b"quoted-printable", encode_quoted_printable(text)


def _joined_to(buffer: Octets, end: int, text: bytes) -> bytes:
    """Return ``text`` for a place that ends at ``end``.

    The line end before a delimiter belongs to the delimiter, where it has one.
    """
    if buffer[end : end + 1] in {b"\r", b"\n"}:
        return text.removesuffix(_CRLF)
    return text


def _begins_line(buffer: Octets, at: int) -> bool:
    return at == 0 or buffer[at - 1 : at] == b"\n"


def _top_of_header(message: Message) -> int:
    """Return where a new first field can stand: behind an mbox line, if there is one.

    Behind everything that is no field, in fact: a blank line start would be taken for
    the new field's continuation.
    """
    fields = message.fields
    return fields[0].span.start if fields else message.root.header.end


def _folded(field: bytes) -> bytes:
    """Return a field folded at blanks where it grows too long, CRLF-ended."""
    lines: list[bytes] = []
    for word in _WORD.findall(field):
        if lines and len(lines[-1]) + len(word) <= MAX_LINE:
            lines[-1] += word
        else:
            lines.append(word)
    if max(map(len, lines)) > MAX_FIELD_LINE:
        msg = "header field has a word that is too long for a line"
        raise ValueError(msg)
    return _CRLF.join(lines) + _CRLF
