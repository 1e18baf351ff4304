"""Who a message says it is from: the addresses of its From fields (RFC 5322 3.6.2).

Senders who want to look like somebody else write a From that readers take apart
differently, so every reading counts, as with file names: each bracket, an address that
stands unquoted before one, each of several fields. What every reader takes for a name
(quoted strings, comments) is left out. What looks like an address and cannot be parsed
is returned all the same: the condition that asks for it then does not know.

Pure and linear in the length of the fields.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from smtpguard.mime import Kind
from smtpguard.wire import parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.mime import Field, Message


MAX_AUTHORS = 50
"""Each is compared with each rule for each part; real mail has one, rarely three."""

type _Place = Literal["phrase", "bare", "angle"]
"""Before or behind a bracket, without one, or inside."""

_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_TOKEN = re.compile(rf'{_QUOTED}|\\.|[(),;:<>]|[^"\\(),;:<>]++|["\\]', re.DOTALL)
_IN_COMMENT = re.compile(r"[^()\\]++|\\.|[()\\]", re.DOTALL)
_WORD = re.compile(rf'(?:{_QUOTED}|\\.|[^\s"\\]++|["\\])++', re.DOTALL)
# Pairs too: else each quote behind a backslash would be tried as the first of two.
_QUOTED_STRING = re.compile(rf"{_QUOTED}|\\.", re.DOTALL)
# Tried at the first of several blanks only, so that they are walked over once.
_LOOSE = re.compile(r"(?<!\s)\s*+([@.])\s*+")
_ROUTE = re.compile(r"\A\s*+@[^:]*+:")
# What nearly every mail has, and every reader takes for the same.
_ADDRESS = r"([A-Za-z0-9._+-]++@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]++)++)"
_NAME = r'(?:"[^"\\]*+"|[^"(),:;<>@\\]*+)'
_PLAIN = re.compile(rf"(?:{_NAME}\s*+<{_ADDRESS}>|{_ADDRESS})\Z")
_UNREAD = frozenset({Kind.LIMIT_HEADER, Kind.LIMIT_FIELDS})


def authors(message: Message) -> tuple[str, ...] | None:
    """Return the distinct addresses of the From fields, as written there.

    None where they cannot be told: the header was not read to its end, or there are
    more than ``MAX_AUTHORS``. () where no From field has an address.
    """
    root = message.root.path
    if any(one.part == root and one.kind in _UNREAD for one in message.defects):
        return None
    found: dict[str, None] = {}
    for field in message.fields:
        if field.is_named("from"):
            for address in _addresses(field):
                found.setdefault(address)
                if len(found) > MAX_AUTHORS:
                    return None
    return tuple(found)


def _addresses(field: Field) -> Iterator[str]:
    """Yield the addresses of one field; encoded words are names, unless all is one."""
    text = field.raw_value.decode("utf-8", "replace")
    if plain := _PLAIN.match(text):
        yield plain[1] or plain[2]
        return
    is_empty = True
    for address in _read(text):
        is_empty = False
        yield address
    if is_empty and "=?" in text:
        yield from _read(field.value)


def _read(text: str) -> Iterator[str]:
    for place, entry in _entries(_tokens(text)):
        for word in _words(place, entry):
            if "@" not in _QUOTED_STRING.sub("", word):
                continue
            address = word.strip("'").rstrip(".")
            if place != "phrase" or _is_address(address):
                yield address


def _words(place: _Place, entry: str) -> list[str]:
    if place != "phrase":
        entry = _ROUTE.sub("", entry, count=1) if place == "angle" else entry
        # RFC 5322 4.4: blanks around the dots and the @ of an address.
        entry = "".join(
            token if token.startswith('"') else _LOOSE.sub(r"\1", token)
            for token in _TOKEN.findall(entry.replace(",", " "))
        )
    return _WORD.findall(entry)


def _is_address(text: str) -> bool:
    try:
        parse_mailbox(text)
    except ValueError:
        return False
    return True


def _entries(tokens: Iterator[str]) -> Iterator[tuple[_Place, str]]:
    """Yield what stands in brackets, beside them, and without any."""
    outside: list[str] = []
    angle: list[str] | None = None
    had_angle = False
    for token in tokens:
        if token == "<":  # noqa: S105 - no secret
            yield (
                ("angle", "".join(angle))
                if angle is not None
                else (
                    "phrase",
                    "".join(outside),
                )
            )
            outside, angle, had_angle = [], [], True
        elif angle is not None:
            if token == ">":  # noqa: S105 - no secret
                yield "angle", "".join(angle)
                angle = None
            else:
                angle.append(token)
        elif token in {",", ";", ":"}:
            is_name = had_angle or token == ":"  # noqa: S105 - no secret
            yield "phrase" if is_name else "bare", "".join(outside)
            outside, had_angle = [], False
        else:
            outside.append(token)
    if angle is not None:
        yield "angle", "".join(angle)
    yield "phrase" if had_angle else "bare", "".join(outside)


def _tokens(text: str) -> Iterator[str]:
    """Yield quoted strings, specials and what is between; each comment is a blank."""
    position = 0
    comments = True
    while found := _TOKEN.match(text, position):
        position = found.end()
        if found[0] != "(":
            yield found[0]
            continue
        end = _comment_end(text, position) if comments else None
        # One comment that never ends: no later one does, so none is looked for.
        comments = end is not None
        position = position if end is None else end
        yield " "


def _comment_end(text: str, start: int) -> int | None:
    """Return where the comment ends that began before ``start``; None: nowhere."""
    depth = 1
    for piece in _IN_COMMENT.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if not depth:
            return piece.end()
    return None
