"""Mails for tests: builders for readable ones, hypothesis strategies for the rest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from hypothesis import strategies as st

from smtpguard.mime import Limits, Message, Part, Span, parse


def mail(*lines: str | bytes, end: bytes = b"\r\n") -> bytes:
    """Return the lines, each ended."""
    octets = (line if isinstance(line, bytes) else line.encode() for line in lines)
    return b"".join(line + end for line in octets)


def read(*lines: str | bytes, limits: Limits | None = None) -> Message:
    """Parse the lines as one message."""
    return parse(mail(*lines), limits)


def kinds(message: Message) -> set[str]:
    """Return the slugs of the defects."""
    return {str(defect.kind) for defect in message.defects}


def shape(part: Part) -> object:
    """Return the nesting and the claimed types, as a mail is meant to be read."""
    decoded = part.decoded_parts if part.is_message else ()
    return (part.content_type, *(shape(child) for child in (*part.children, *decoded)))


def only(message: Message, path: str) -> Part:
    """Return the part of that path, which must be there."""
    part = message.part(path)
    assert part is not None, path
    return part


def leaves(message: Message) -> list[Part]:
    """Return the parts that hold no other part as they stand."""
    return [part for part in message.parts() if part.is_leaf]


def values(message: Message, name: str) -> tuple[str, ...]:
    """Return the values of the message's own fields of that name, in order."""
    return tuple(field.value for field in message.fields if field.is_named(name))


@dataclass(frozen=True)
class Tile:
    """One piece of a message; all of them in order are the message."""

    role: str
    """``header``, ``separator``, ``body``, ``preamble``, ``delimiter`` or
    ``epilogue``."""
    part: str
    """Path of the part it belongs to."""
    span: Span


def tiles(message: Message) -> list[Tile]:
    """Return every octet of a message once, in order, empty pieces left out.

    Only true where the spans of all parts fit together, which is what it is for.
    """
    return [tile for tile in _tiles(message.root) if tile.span]


def _tiles(part: Part) -> Iterator[Tile]:
    yield Tile("header", part.path, part.header)
    yield Tile("separator", part.path, Span(part.header.end, part.body.start))
    children = iter(part.children)
    if part.delimiters:
        preamble = Span(part.body.start, part.delimiters[0].start)
        yield Tile("preamble", part.path, preamble)
    elif not part.children:
        yield Tile("body", part.path, part.body)
    for delimiter in part.delimiters:
        yield Tile("delimiter", part.path, delimiter)
        # The close delimiter comes last and has no part behind it.
        for child in islice(children, 1):
            yield from _tiles(child)
    for child in children:
        yield from _tiles(child)
    if part.epilogue is not None:
        yield Tile("epilogue", part.path, part.epilogue)


def body(part: Part) -> bytes:
    """Return the octets of a part's body as received."""
    return part.body.of(part.buffer)


def content(part: Part) -> bytes:
    """Return the decoded content of a part."""
    return b"".join(part.decoded())


@dataclass(frozen=True)
class Node:
    """A well-formed entity: what it will be parsed into, and its octets."""

    content_type: str
    octets: bytes
    children: tuple[Node, ...] = ()

    def shape(self) -> object:
        """Return what ``shape`` must return for it."""
        return (self.content_type, *(child.shape() for child in self.children))


_LINES = st.lists(
    st.sampled_from([b"", b"text", b"-- ", b"--", b"--other", b"a: b", b" x", b"."]),
    max_size=4,
).map(b"\r\n".join)


def _leaf(text: bytes, content_type: str) -> Node:
    head = b"" if content_type == "text/plain" else b"Content-Type: image/png\r\n"
    return Node(content_type, head + b"\r\n" + text)


def _multipart(children: list[Node], subtype: str, *, closed: bool) -> Node:
    # A boundary made from what it encloses: no multipart has that of one around it.
    inside = b"".join(child.octets for child in children)
    boundary = b"=_" + hashlib.sha1(inside).hexdigest().encode()
    content_type = f"multipart/{subtype}"
    field = f'Content-Type: {content_type}; boundary="'.encode()
    head = field + boundary + b'"\r\n\r\npre'
    parts = b"".join(b"\r\n--%b\r\n%b" % (boundary, c.octets) for c in children)
    close = b"\r\n--" + boundary + b"--\r\nepilogue" if closed else b""
    return Node(content_type, head + parts + close, tuple(children))


def _message(inner: Node) -> Node:
    octets = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n" + inner.octets
    return Node("message/rfc822", octets, (inner,))


_LEAVES = st.builds(_leaf, _LINES, st.sampled_from(["text/plain", "image/png"]))
TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(
            _multipart,
            st.lists(inner, min_size=1, max_size=4),
            st.sampled_from(["mixed", "mixed", "alternative", "signed"]),
            closed=st.booleans(),
        ),
        st.builds(_message, inner),
    ),
    max_leaves=12,
)
"""Well-formed messages with at most a missing close delimiter."""

_FRAGMENTS = [
    b"--b",
    b"--b--",
    b"--c",
    b"--c--",
    b"--b ",
    b"--bc",
    b"--",
    b"",
    b"text",
    b" folded",
    b"\t",
    b"From x",
    b"no colon",
    b"Subject: =?utf-8?b?w7w=?= =?utf-8?q?x?=",
    b"Content-Type: multipart/mixed; boundary=b",
    b"Content-Type: multipart/mixed; boundary=c",
    b'Content-Type: multipart/digest; boundary="b"',
    b"Content-Type: multipart/mixed",
    b"Content-Type: message/rfc822",
    b"Content-Type: text/plain; name*0=a; name*1*=%62",
    b'Content-Type: "(',
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Disposition: attachment; filename=a.exe",
    b"MIME-Version: 1.0",
    b"Q29udGVudC1UeXBlOiB0ZXh0L2h0bWwNCg0KeA==",
    b"=3D=\t",
    b"\x00\xff\x0b",
]
_MIXED_B = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
_STARTS = [
    b"",
    _MIXED_B,
    _MIXED_B.replace(b"mixed", b"digest"),
    _MIXED_B + b"Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n",
    b"Content-Type: message/rfc822\r\n\r\n" + _MIXED_B,
]
"""Without one of these, soup hardly ever has a part."""

_LINE_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
SOUP = st.builds(
    lambda start, pairs: start + b"".join(text + end for text, end in pairs),
    st.sampled_from(_STARTS),
    st.lists(st.tuples(st.sampled_from(_FRAGMENTS), _LINE_ENDS), max_size=40),
)
"""Whatever may confuse a parser, in any order, with any line end."""

CRLF_SOUP = st.builds(
    lambda start, lines: start + b"".join(line + b"\r\n" for line in lines),
    st.sampled_from(_STARTS),
    st.lists(st.sampled_from(_FRAGMENTS), max_size=40),
)
"""The same as the gateway may see it: every line ends in CRLF."""


def mutate(text: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Return ``text`` with some octets replaced, wherever it has them."""
    mutated = bytearray(text)
    for at, length, replacement in changes:
        start = at % (len(mutated) + 1)
        mutated[start : start + length] = replacement
    return bytes(mutated)


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.integers(0, 3),
        st.sampled_from(
            [b"", b"\r\n", b"\n", b"-", b'"', b"\0", b"--", b":", b";", b"\xff"]
        ),
    ),
    min_size=1,
    max_size=8,
)
MUTATED = st.builds(mutate, TREES.map(lambda tree: tree.octets), CHANGES)
"""Messages that were well-formed once."""
