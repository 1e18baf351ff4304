"""Patterns on text: wildcards, ``exact:`` and ``regex:``, without case.

Every test runs in linear time: most wildcards are a comparison, a beginning or an
ending; the others, and ``regex:``, run on RE2, which has no backtracking (attack P2).
A pattern always speaks about the whole text: there is no search inside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import re2


if TYPE_CHECKING:
    from collections.abc import Iterable


MAX_PATTERN = 1000
"""Characters of a wildcard; no address or file name worth naming is longer."""

MAX_REGEX = 4000
"""Characters of a regular expression."""

MAX_ALTERNATIVES = 256
"""Texts that the braces of one pattern may stand for."""

_RE2_OCTETS = 4 * 1024 * 1024
"""Memory of one expression, its automaton included (RE2's own default is 8 MiB)."""

_WILD = re.compile(r"[*?]")
# What Perl and Python know and RE2 leaves out, because it needs backtracking.
_BACKTRACKING = re.compile(r"\(\?(?:[=!>(]|<[=!])|\\[1-9]|[+*?}]\+|\(\?P=|\\[gk]")


class PatternError(Exception):
    """A pattern cannot be used; handled where rule files are read.

    ``slug`` says which problem it is.
    """

    def __init__(self, text: str, slug: str = "bad-pattern") -> None:
        super().__init__(text)
        self.slug = slug


class LinearRegex:
    """A regular expression that RE2 can run, matched against whole texts."""

    __slots__ = ("_compiled",)

    def __init__(self, pattern: str) -> None:
        """Compile; raises ``PatternError`` where RE2 does not take it."""
        if len(pattern) > MAX_REGEX:
            raise PatternError(
                f"the expression is longer than {MAX_REGEX} characters", "bad-regex"
            )
        options = re2.Options()
        options.case_sensitive = False
        options.dot_nl = True
        options.never_capture = True
        options.log_errors = False
        options.max_mem = _RE2_OCTETS
        try:
            self._compiled = re2.compile(pattern.encode(), options)
        except re2.error as error:
            raise _refusal(pattern, error) from None

    def matches(self, text: str) -> bool:
        """Whether the expression matches the whole text, without case."""
        return self._compiled.fullmatch(text.encode("utf-8", "replace")) is not None


def _refusal(pattern: str, error: Exception) -> PatternError:
    said = error.args[0] if error.args else b""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    # RE2 repeats the expression, which the problem has already.
    reason = text.partition(":")[0]
    if _BACKTRACKING.search(pattern):
        message = f"cannot run in linear time (no look-around, no \\1): {reason}"
        return PatternError(message, "regex-not-linear")
    return PatternError(f"not a regular expression: {reason}", "bad-regex")


@dataclass(frozen=True, slots=True)
class TextTest:
    """A test of one folded text; any of its members may hold."""

    everything: bool = False
    exact: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()
    endings: tuple[str, ...] = ()
    regexes: tuple[LinearRegex, ...] = ()

    def matches(self, folded: str) -> bool:
        """Whether a text matches that ``fold`` has been through."""
        return (
            self.everything
            or folded in self.exact
            or folded.endswith(self.endings)
            or folded.startswith(self.beginnings)
            or (
                bool(self.regexes)
                and any(regex.matches(folded) for regex in self.regexes)
            )
        )


def fold(text: str) -> str:
    """Return a text as patterns compare it: without case."""
    return text.lower()


class TextBuilder:
    """Gathers patterns into one ``TextTest``."""

    def __init__(self) -> None:
        self._everything = False
        self._exact: set[str] = set()
        self._beginnings: list[str] = []
        self._endings: list[str] = []
        self._regexes: list[LinearRegex] = []

    def add(self, pattern: str) -> int:
        """Add a pattern with its prefix; raises ``PatternError``.

        Returns how many texts its braces stand for, 0 where none were looked for.
        """
        if pattern.startswith("regex:"):
            self._regexes.append(LinearRegex(pattern.removeprefix("regex:")))
        elif pattern.startswith("exact:"):
            self._exact.add(fold(pattern.removeprefix("exact:")))
        else:
            texts = expand_braces(pattern)
            for text in texts:
                self.add_wildcard(text)
            return len(texts)
        return 0

    def add_literal(self, text: str) -> None:
        """Add a text in which nothing has a special meaning."""
        self._exact.add(fold(text))

    def add_wildcard(self, pattern: str) -> None:
        """Add a pattern of ``*`` and ``?``, without prefix and braces."""
        folded = re.sub(r"\*{2,}", "*", fold(pattern))
        middle = folded[1:-1]
        if folded == "*":
            self._everything = True
        elif not _WILD.search(folded):
            self._exact.add(folded)
        elif folded[0] == "*" and not _WILD.search(folded[1:]):
            self._endings.append(folded[1:])
        elif folded[-1] == "*" and not _WILD.search(folded[0] + middle):
            self._beginnings.append(folded[:-1])
        else:
            self._regexes.append(LinearRegex(_translate(folded)))

    def build(self) -> TextTest:
        """Return the test."""
        return TextTest(
            self._everything,
            frozenset(self._exact),
            tuple(self._beginnings),
            tuple(self._endings),
            tuple(self._regexes),
        )


def text_test(patterns: Iterable[str]) -> TextTest:
    """Return the test of several patterns; raises ``PatternError``."""
    builder = TextBuilder()
    for pattern in patterns:
        builder.add(pattern)
    return builder.build()


def _translate(pattern: str) -> str:
    special = {"*": ".*", "?": "."}
    return "".join(special.get(c) or re2.escape(c) for c in pattern)


def has_wildcard(pattern: str) -> bool:
    """Whether ``*`` or ``?`` stands in the pattern."""
    return _WILD.search(pattern) is not None


def expand_braces(pattern: str) -> list[str]:
    """Return what ``{a,b}`` stands for: ``x.{a,b}`` is ``x.a`` and ``x.b``.

    Braces do not nest. Raises ``PatternError``, also beyond ``MAX_ALTERNATIVES``.
    """
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"the pattern is longer than {MAX_PATTERN} characters")
    texts = [""]
    rest = pattern
    while rest:
        before, brace, behind = rest.partition("{")
        if "}" in before:
            raise PatternError('a "}" without its "{"')
        choices = [""]
        rest = ""
        if brace:
            inside, end, rest = behind.partition("}")
            if not end or "{" in inside:
                raise PatternError('a "{" without its "}", or braces in braces')
            choices = inside.split(",")
        if len(texts) * len(choices) > MAX_ALTERNATIVES:
            raise PatternError(
                f"the braces stand for more than {MAX_ALTERNATIVES} texts"
            )
        texts = [text + before + one for text in texts for one in choices]
    return texts
