"""What matches: patterns of Fireware in the words of our rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smtpguard.policy.addresses import AddressBuilder
from smtpguard.policy.patterns import LinearRegex, PatternError, TextBuilder


if TYPE_CHECKING:
    from smtpguard.watchguard.fireware import FireRule


_MEANING: Final = re.compile(r"[*?{}]|^(?:@|regex:|exact:)")
"""What has a meaning in our patterns, or at their beginning."""
_BRACES: Final = re.compile(r"[{}]|^(?:@|regex:|exact:)")
"""Likewise, but for what Fireware's patterns share with ours."""


class NoEquivalentError(ValueError):
    """There is no pattern that matches the same; the text says why."""


def address_pattern(rule: FireRule) -> str:
    """Return a pattern on addresses. Raises NoEquivalentError."""
    text = rule.text
    if rule.matcher == "string" and not text:
        return "<>"
    if rule.matcher == "regexp":
        return _checked_address(_unanchored(text))
    is_literal = rule.matcher == "string"
    written = _literal(text) if is_literal else _wildcard(text)
    try:
        return _checked_address(written)
    except NoEquivalentError:
        # Without "@", or with wildcards where an address takes none.
        return _checked_address(_as_regex(text, literal=is_literal))


def text_pattern(rule: FireRule) -> str:
    """Return a pattern on names, types, header fields or HELO names.

    Raises NoEquivalentError.
    """
    if rule.matcher == "string":
        if not rule.text:
            raise NoEquivalentError("nothing there is no text that a pattern matches")
        return _checked_text(_literal(rule.text))
    if rule.matcher == "regexp":
        return _checked_text(_unanchored(rule.text))
    return _checked_text(_wildcard(rule.text))


def _literal(text: str) -> str:
    return f"exact:{text}" if _MEANING.search(text) else text


def _wildcard(text: str) -> str:
    return _as_regex(text, literal=False) if _BRACES.search(text) else text


def _as_regex(text: str, *, literal: bool) -> str:
    quoted = re.escape(text)
    if not literal:
        quoted = quoted.replace(r"\*", ".*").replace(r"\?", ".")
    return f"regex:(?s){quoted}"


def _unanchored(text: str) -> str:
    """Return an expression of PCRE that may match anywhere, as one of the whole.

    Raises NoEquivalentError for one that is none by itself, or not in linear time.
    """
    try:
        LinearRegex(text)
    except PatternError as error:
        raise NoEquivalentError(str(error)) from None
    return f"regex:(?s).*(?:{text}).*"


def _checked_address(pattern: str) -> str:
    _make_sure_it_prints(pattern)
    try:
        AddressBuilder(()).add(pattern)
    except PatternError as error:
        raise NoEquivalentError(str(error)) from None
    return pattern


def _checked_text(pattern: str) -> str:
    _make_sure_it_prints(pattern)
    try:
        TextBuilder().add(pattern)
    except PatternError as error:
        raise NoEquivalentError(str(error)) from None
    return pattern


def _make_sure_it_prints(pattern: str) -> None:
    if not pattern.isprintable():
        raise NoEquivalentError("it holds characters that cannot be printed")
