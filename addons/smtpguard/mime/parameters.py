"""Structured field values: a token and its parameters (RFC 2045 5.1, RFC 2231).

Tolerant: a broken value is cut at the ``;`` that a strict reader would cut at, and what
was wrong is reported as defects. Keeps the raw octets of each value beside the one
reading that counts, since file names are judged by every reading (see ``names``).
Linear time: each octet is looked at a constant number of times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from smtpguard.mime.defects import Kind
from smtpguard.mime.limits import MAX_PARAMETERS


_SPECIAL = re.compile(rb'["(;]')
_QUOTED = re.compile(rb'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT_MARK = re.compile(rb"\\.|[()]", re.DOTALL)
_NEEDS_QUOTES = re.compile(rb'[\s()<>@,;:\\"/\[\]?=]')
_FIRST_WORD = re.compile(rb'[^\s,;"]+')
_BLANKS = b" \t\r\n"
_CONTINUED = re.compile(r"([^*]+)(?:\*([0-9]++))?(\*)?")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")

type _Index = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``name=value``; a continuation keeps its ``*0*`` in the name."""

    name: str
    """Lower case."""
    value: bytes
    """Quotes, escapes and comments taken away."""
    raw: bytes
    """Everything from ``=`` to the next ``;``, blanks around it taken away."""


@dataclass(frozen=True, slots=True)
class Structured:
    """A field value taken apart."""

    token: bytes
    """What stands before the first ``;``: comments, quotes, blanks taken away."""
    parameters: tuple[Parameter, ...]
    defects: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reader makes of a parameter that RFC 2231 may have spread out."""

    octets: bytes
    charset: str = ""
    """As the sender names it; "" where it does not."""
    plain: bool = True
    """False where RFC 2231 was needed to get here."""


def parse_structured(value: bytes) -> Structured:
    """Take a field value (folded or not) apart; never raises."""
    defects: dict[Kind, None] = {}
    head, *rest = _segments(value, defects)
    token, leftover = _head(head, defects)
    if len(rest) > MAX_PARAMETERS:
        defects[Kind.LIMIT_PARAMETERS] = None
        rest = rest[:MAX_PARAMETERS]
    segments = [segment for segment in (leftover, *rest) if segment.strip(_BLANKS)]
    read = (_parameter(segment, defects) for segment in segments)
    parameters = tuple(item for item in read if item is not None)
    names = [item.name for item in parameters]
    if len(set(names)) < len(names):
        defects[Kind.DUPLICATE_PARAMETER] = None
    return Structured(token, parameters, tuple(defects))


def readings(parameters: tuple[Parameter, ...], base: str) -> tuple[Reading, ...]:
    """Return every reading of ``base``: plain ones, ``base*``, continuations.

    Continuations are joined by number and, where that differs, as they stand.
    """
    plain: list[Reading] = []
    extended: list[Reading] = []
    pieces: list[tuple[_Index, bool, bytes]] = []
    for item in parameters:
        match = _CONTINUED.fullmatch(item.name)
        if match is None or match[1].strip() != base:
            continue
        if match[2] is not None:
            pieces.append((_index(match[2]), match[3] is not None, item.value))
        elif match[3] is not None:
            extended.extend(_extended(item.value))
        else:
            plain.append(Reading(item.value))
    found = plain + extended
    if pieces:
        found.append(_joined(sorted(pieces, key=lambda piece: piece[0])))
        found.append(_joined(pieces))
    return tuple(dict.fromkeys(found))


def _index(digits: str) -> _Index:
    """Return what sorts like the number; one of many digits is not worth its value."""
    digits = digits.lstrip("0")
    return len(digits), digits


def without_comments(text: bytes, instead: bytes = b" ") -> bytes:
    """Return ``text`` with ``instead`` for each comment that stands outside quotes."""
    if b"(" not in text:
        return text
    kept: list[bytes] = []
    position = start = 0
    while (mark := _SPECIAL.search(text, position)) is not None:
        position = mark.end()
        if mark[0] == b'"':
            quoted = _QUOTED.match(text, mark.start())
            if quoted is None:
                break
            position = quoted.end()
        elif mark[0] == b"(":
            end = _comment_end(text, mark.start())
            if end < 0:
                break
            kept.append(text[start : mark.start()])
            start = position = end
    kept.append(text[start:])
    return instead.join(kept)


def unquoted(text: bytes) -> bytes:
    """Return ``text`` without its quotes and escapes, if it begins with a quote."""
    quoted = _QUOTED.match(text)
    if quoted is not None:
        return _ESCAPED.sub(rb"\1", quoted[1])
    return text.removeprefix(b'"')


def variants(raw: bytes) -> tuple[bytes, ...]:
    """Return what readers make of a raw value that is not quite by the grammar.

    One of a quoted value without escapes, or of a plain token.
    """
    quoted = _QUOTED.match(raw)
    if quoted is None:
        # To the next ";", comments included, as most readers do; without them; and to
        # the first blank.
        bare = without_comments(raw, b"").strip(b'" \t')
        first, *_ = without_comments(raw).split(maxsplit=1) or [b""]
        return raw.strip(b'"'), bare, first.strip(b'"')
    found = [quoted[1], unquoted(raw)]
    if raw[quoted.end() : quoted.end() + 1].strip(b" \t("):
        # "a".exe
        found.append(quoted[1] + raw[quoted.end() :])
    # Backslashes kept: Windows programs write paths without escaping them.
    return tuple(found)


def _segments(value: bytes, defects: dict[Kind, None]) -> list[bytes]:
    """Cut ``value`` at each ``;`` outside quotes and comments.

    A quote or comment that never ends is ordinary text; so is any later one: a quote
    cannot end either, and a comment is not looked for again. That keeps the time
    linear.
    """
    segments: list[bytes] = []
    quotes = comments = True
    start = position = 0
    while (mark := _SPECIAL.search(value, position)) is not None:
        position = mark.end()
        if mark[0] == b";":
            segments.append(value[start : mark.start()])
            start = position
        elif mark[0] == b'"' and quotes:
            quoted = _QUOTED.match(value, mark.start())
            quotes = quoted is not None
            position = quoted.end() if quoted else position
        elif mark[0] == b"(" and comments:
            end = _comment_end(value, mark.start())
            comments = end >= 0
            position = end if comments else position
    segments.append(value[start:])
    if not quotes:
        defects[Kind.UNTERMINATED_QUOTE] = None
    if not comments:
        defects[Kind.UNTERMINATED_COMMENT] = None
    return segments


def _comment_end(text: bytes, start: int) -> int:
    """Return where the comment that begins at ``start`` ends, -1 if it does not."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        if mark[0] == b"(":
            depth += 1
        elif mark[0] == b")":
            depth -= 1
            if depth == 0:
                return mark.end()
    return -1


def _head(segment: bytes, defects: dict[Kind, None]) -> tuple[bytes, bytes]:
    """Return the token and what follows it although no ``;`` stands between."""
    text = without_comments(segment).strip(_BLANKS)
    if text.startswith(b'"'):
        defects[Kind.MALFORMED_PARAMETER] = None
        return unquoted(text).strip(_BLANKS), b""
    word = _FIRST_WORD.match(text)
    if word is None:
        return b"", b""
    rest = text[word.end() :].strip(_BLANKS)
    if b"=" in word[0] or rest.startswith(b"="):
        # No token at all: "Content-Disposition: filename=x".
        defects[Kind.MALFORMED_PARAMETER] = None
        return b"", text
    if rest.startswith(b"/") or word[0].endswith(b"/"):
        # "multipart / mixed": obsolete blanks around the slash.
        return bytes(text.translate(None, _BLANKS)), b""
    if rest:
        defects[Kind.MALFORMED_PARAMETER] = None
    return word[0], rest.lstrip(b",")


def _parameter(segment: bytes, defects: dict[Kind, None]) -> Parameter | None:
    name, equals, raw = segment.partition(b"=")
    label = without_comments(name).strip(_BLANKS).lower().decode("latin-1")
    if not equals or not label:
        defects[Kind.MALFORMED_PARAMETER] = None
        return None
    raw = raw.strip(_BLANKS)
    text = without_comments(raw).strip(_BLANKS)
    if text != raw or b"(" in name:
        defects[Kind.COMMENT_IN_PARAMETER] = None
    quoted = _QUOTED.match(text)
    if quoted is None and _NEEDS_QUOTES.search(text):
        defects[Kind.UNQUOTED_SPECIALS] = None
    if quoted is not None and text[quoted.end() :].strip(_BLANKS):
        defects[Kind.MALFORMED_PARAMETER] = None
    return Parameter(label, unquoted(text), raw)


def _extended(value: bytes) -> list[Reading]:
    """Read ``charset'language'text`` (RFC 2231 4); without quotes as UTF-8."""
    charset, _, rest = value.partition(b"'")
    _, second, text = rest.partition(b"'")
    if not second:
        return [Reading(_percent_decoded(value), plain=False), Reading(value)]
    name = charset.decode("latin-1")
    return [Reading(_percent_decoded(text), name, plain=False)]


def _joined(pieces: list[tuple[_Index, bool, bytes]]) -> Reading:
    """Join continuations; the first one that is extended names the charset."""
    charset = ""
    named = False
    octets: list[bytes] = []
    for _, is_extended, value in pieces:
        if is_extended and not named:
            named = True
            name, _, rest = value.partition(b"'")
            _, second, text = rest.partition(b"'")
            if second:
                charset, value = name.decode("latin-1"), text  # noqa: PLW2901
        octets.append(_percent_decoded(value) if is_extended else value)
    return Reading(b"".join(octets), charset, plain=False)


def _percent_decoded(value: bytes) -> bytes:
    return _PERCENT.sub(lambda pair: bytes.fromhex(pair[1].decode()), value)
