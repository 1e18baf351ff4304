"""Entities that we write: a notice, a locked attachment, a multipart around them.

Everything is 7-bit, in CRLF-ended lines of at most 76 characters (fields: 998, RFC 5322
2.1.1). No line begins with ``--`` but the delimiters of a multipart, and those begin
with no boundary of one around it: nothing here can be taken for another's structure.
"""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.notice import harmless
from smtpguard.mime.transferencoding import (
    MAX_LINE,
    base64_pieces,
    encode_base64,
    encode_quoted_printable,
)
from smtpguard.model.characters import without_ending


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


CRLF = b"\r\n"
LOCKED_TYPE = "application/x-smtpguard-locked"
"""Content type of what a locked part becomes (contract 6)."""
MAX_FIELD_LINE = 998
"""Octets of a line without CRLF (RFC 5322 2.1.1)."""
MAX_FILE_NAME = 255
"""Octets of UTF-8: what file systems take, and one line of a field holds encoded."""
_MAX_FOREIGN_NAME = MAX_FILE_NAME // 4
"""Characters of a name that would be longer: none takes more than four octets."""

_FIELD_NAME = re.compile(rb"[!-9;-~]{1,77}")
_FIELD_VALUE = re.compile(rb"[ -~]*")
_WORD = re.compile(rb" *[^ ]+")
# What needs no encoding: short lines that nothing on the way takes for something else.
_PLAIN_LINE = re.compile(r"(?!--|From |\.)(?:[ -~\t]{0,75}[!-~])?")
# What means something to file systems, or, quoted or not, to some reader of a field.
_NOT_IN_NAMES = str.maketrans(dict.fromkeys('\\/:*?"<>|%;', "_"))
_NOT_ASCII = re.compile(r"[^ -~]")
_ATTRIBUTE = frozenset(f"{string.ascii_letters}{string.digits}-._".encode())
"""Octets that stand for themselves in ``filename*`` (RFC 2231 7, attribute-char)."""
_FIRST = string.ascii_letters + string.digits
_BOUNDARY_DIGITS = 31


@dataclass(frozen=True, slots=True)
class Entity:
    """A header and a body (RFC 2045 2.4)."""

    header: bytes
    """The fields, each with its line end."""
    body: tuple[bytes, ...]
    """Pieces of at most ``CHUNK_OCTETS``; the last ends in CRLF."""

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """All its octets."""
        return (self.header + CRLF, *self.body)


def notice_entity(text: str) -> Entity:
    """Return a text part; its lines end in LF or CRLF."""
    encoding, body = _encoded(text)
    fields = (
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: " + encoding,
        b"Content-Disposition: inline",
    )
    return Entity(b"".join(field + CRLF for field in fields), (body,))


def locked_entity(name: str, octets: bytes | Iterable[bytes]) -> Entity:
    """Return an attachment of ``LOCKED_TYPE``; ``name`` may be any text."""
    chunks = (octets,) if isinstance(octets, bytes) else octets
    fields = (
        b"Content-Type: " + LOCKED_TYPE.encode(),
        b"Content-Transfer-Encoding: base64",
        b"Content-Disposition: attachment;",
        b";\r\n".join(_file_name(name)),
    )
    header = b"".join(field + CRLF for field in fields)
    return Entity(header, tuple(base64_pieces(chunks)) or (CRLF,))


def mixed_entity(parts: Iterable[Entity], enclosing: Iterable[bytes]) -> Entity:
    """Return a multipart/mixed of ``parts`` for a place inside those boundaries.

    Its own boundary is made of a digest of the parts, none of which has a line that
    begins with ``--``. Raises ValueError where there are so many enclosing ones that
    every boundary begins with one of them (more than sixty).
    """
    pieces = [entity.pieces for entity in parts]
    boundary = _boundary(pieces, tuple(enclosing))
    delimiter = b"--" + boundary + CRLF
    body = [piece for entity in pieces for piece in (delimiter, *entity)]
    header = b'Content-Type: multipart/mixed; boundary="' + boundary + b'"' + CRLF
    return Entity(header, (*body, b"--" + boundary + b"--" + CRLF))


def field_octets(name: bytes, value: bytes) -> bytes:
    """Return a field with its line end, folded at blanks where it grows too long.

    Raises ValueError unless name and value are printable ASCII with words that fit into
    a line.
    """
    if not _FIELD_NAME.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
        msg = f"not a header field: {name!r}: {value!r}"
        raise ValueError(msg)
    lines: list[bytes] = []
    for word in _WORD.findall(name + b": " + value.strip(b" ")):
        if lines and len(lines[-1]) + len(word) <= MAX_LINE:
            lines[-1] += word
        else:
            lines.append(word)
    if max(map(len, lines)) > MAX_FIELD_LINE:
        msg = "header field has a word that is too long for a line"
        raise ValueError(msg)
    return CRLF.join(lines) + CRLF


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


def _file_name(name: str) -> Iterator[bytes]:
    """Yield the parameters that tell a file name, each as a line of its own."""
    shown = harmless(name, MAX_FILE_NAME)
    if len(shown.encode()) > MAX_FILE_NAME:
        shown = harmless(shown, _MAX_FOREIGN_NAME)
    shown = without_ending(shown.translate(_NOT_IN_NAMES)).lstrip(" .") or "locked"
    yield b' filename="' + _NOT_ASCII.sub("_", shown).encode("ascii") + b'"'
    if not shown.isascii():
        escaped = (
            chr(octet) if octet in _ATTRIBUTE else f"%{octet:02X}"
            for octet in shown.encode()
        )
        yield b" filename*=utf-8''" + "".join(escaped).encode("ascii")


def _boundary(
    entities: Iterable[tuple[bytes, ...]], enclosing: tuple[bytes, ...]
) -> bytes:
    digest = hashlib.sha256()
    for pieces in entities:
        for piece in pieces:
            digest.update(piece)
    number = int.from_bytes(digest.digest()[-4:], "big")
    rest = digest.hexdigest()[:_BOUNDARY_DIGITS]
    for turn in range(len(_FIRST)):
        boundary = (_FIRST[(number + turn) % len(_FIRST)] + rest).encode("ascii")
        if not boundary.startswith(enclosing):
            return boundary
    msg = "the boundaries around a part leave none for another multipart"
    raise ValueError(msg)
