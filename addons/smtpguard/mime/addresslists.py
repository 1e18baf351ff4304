"""Lists of addresses in header fields, taken apart as they stand (RFC 5322 3.4).

Owns what is a quoted string, a comment or a bracket, and where an entry ends; what
stands there is judged elsewhere. Tolerant, since senders who want to be taken for
somebody else write fields that readers take apart differently: brackets need no end,
and quotes and comments that never end are ordinary text. Linear in the text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Iterator


type Place = Literal["phrase", "bare", "angle"]
"""Before or behind a bracket (and the name of a group), without one, or inside."""

QUOTED = r'"(?:[^"\\]++|\\.)*+"'
"""Expression for a quoted string."""
TOKEN = re.compile(rf'{QUOTED}|\\.|[(),;:<>]|[^"\\(),;:<>]++|["\\]', re.DOTALL)
ROUTE = re.compile(r"\A\s*+@[^:]*+:")
"""A source route at the beginning of a bracket's content (RFC 5322 4.4)."""
_IN_COMMENT = re.compile(r"[^()\\]++|\\.|[()\\]", re.DOTALL)


class Token(NamedTuple):
    """A quoted string, what is between, or a comment."""

    start: int
    """Offset in the text."""
    text: str
    """One blank for a comment, however long."""


def entries(text: str) -> Iterator[tuple[Place, list[Token]]]:
    """Yield what stands in brackets, beside them, and without any; may be empty."""
    outside: list[Token] = []
    angle: list[Token] | None = None
    had_angle = False
    for token in _tokens(text):
        if token.text == "<":
            yield ("phrase", outside) if angle is None else ("angle", angle)
            outside, angle, had_angle = [], [], True
        elif angle is not None:
            if token.text == ">":
                yield "angle", angle
                angle = None
            else:
                angle.append(token)
        elif token.text in {",", ";", ":"}:
            yield "phrase" if had_angle or token.text == ":" else "bare", outside
            outside, had_angle = [], False
        else:
            outside.append(token)
    if angle is not None:
        yield "angle", angle
    yield "phrase" if had_angle else "bare", outside


def _tokens(text: str) -> Iterator[Token]:
    position = 0
    comments = True
    while found := TOKEN.match(text, position):
        position = found.end()
        if found[0] != "(":
            yield Token(found.start(), found[0])
            continue
        end = _comment_end(text, position) if comments else None
        # One comment that never ends: no later one does, so none is looked for.
        comments = end is not None
        position = position if end is None else end
        yield Token(found.start(), " ")


def _comment_end(text: str, start: int) -> int | None:
    """Return where the comment ends that began before ``start``; None: nowhere."""
    depth = 1
    for piece in _IN_COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if not depth:
            return piece.end()
    return None
