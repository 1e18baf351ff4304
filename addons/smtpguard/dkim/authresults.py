"""Authentication-Results: what was found is told, who tells it is read (RFC 8601)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpguard.wire.domain import normalise_domain


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpguard.dkim.verify import Verified
    from smtpguard.mime import Field, Message


NAME = "Authentication-Results"
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+")
_NOT_QUOTABLE = re.compile(r'[^ -~]|["\\]')
# Of a value: blanks, one octet of a comment, a quoted text, or a word.
_BLANKS = re.compile(r"[ \t\r\n]+")
_IN_COMMENT = re.compile(r"\\.|[^()\\]+|[()\\]", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_WORD = re.compile(r"[^ \t\r\n;()\"]+")
_PAIR = re.compile(r"\\(.)", re.DOTALL)


def results_value(own_name: str, verified: Sequence[Verified]) -> bytes:
    """Return the value of an Authentication-Results field, printable ASCII."""
    told = [" ".join(_told(one)) for one in verified] or ["none"]
    return "; ".join((_word(own_name), *told)).encode("ascii")


def forged_results(message: Message, own_name: str) -> Iterator[Field]:
    """Yield the Authentication-Results fields of a message that some reader would take
    for fields of ``own_name`` (RFC 8601 5)."""
    for field in message.fields:
        if field.is_named(NAME):
            joined = field.joined_value or b""
            raw = (one.decode("utf-8", "replace") for one in (field.raw_value, joined))
            if any(_claims_name(one, own_name) for one in (*raw, field.value)):
                yield field


def _claims_name(value: str, own_name: str) -> bool:
    """Say who tells; where nobody can be read, it is us if our name is in it at all."""
    name = _authserv_id(value)
    if name is None:
        return own_name.lower() in value.lower()
    return _normal(name) == _normal(own_name)


def _told(one: Verified) -> Iterator[str]:
    yield f"dkim={one.result}"
    if one.reason:
        yield f"reason={_quoted(one.reason)}"
    properties = {
        "d": one.domain,
        "s": one.selector,
        "a": one.algorithm,
        "b": one.beginning,
    }
    for name, value in properties.items():
        if value:
            yield f"header.{name}={_word(value)}"


def _word(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return f'"{_NOT_QUOTABLE.sub("?", text)}"'


def _authserv_id(value: str) -> str | None:
    """Return who tells, None where that cannot be read."""
    at = _after_blanks(value, 0)
    quoted = _QUOTED.match(value, at)
    if quoted is not None:
        return _PAIR.sub(r"\1", quoted[1])
    word = _WORD.match(value, at)
    if word is None:
        return None
    # A version may follow, or the results; a second word makes a riddle of it.
    at = _after_blanks(value, word.end())
    rest = value[at : at + 1]
    return word[0] if not rest or rest in ";0123456789" else None


def _after_blanks(value: str, at: int) -> int:
    """Return where blanks and comments (RFC 5322 3.2.2) end; they may be nested."""
    while True:
        if blanks := _BLANKS.match(value, at):
            at = blanks.end()
        if value[at : at + 1] != "(":
            return at
        at = _after_comment(value, at)


def _after_comment(value: str, at: int) -> int:
    depth = 0
    while found := _IN_COMMENT.match(value, at):
        at = found.end()
        depth += (found[0] == "(") - (found[0] == ")")
        if depth == 0:
            break
    return at


def _normal(name: str) -> str:
    try:
        return normalise_domain(name)
    except ValueError:
        return name.lower()
