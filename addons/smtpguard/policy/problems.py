"""The faults a rule file can have, and where they are collected.

Every fault has a slug, listed here once and explained in ``rules/README.md``. Loading
goes on after a fault, so that one run tells them all; their number is bounded, so that
a hostile file cannot turn its size into a flood of text.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from smtpguard.model.problem import Problem


if TYPE_CHECKING:
    from collections.abc import Iterable


MAX_PROBLEMS = 100
"""How many are told: more than anybody mends in one go, few enough to print. With one
error more loading ends, so that a hostile file cannot have each of its lines explained.
"""

MAX_SHOWN = 60
"""Characters of a value of the file that a problem repeats."""

SLUGS: dict[str, str] = {
    # the file as text and as YAML
    "cannot-read": "a file that is named cannot be read",
    "not-utf-8": "the file is not UTF-8 text",
    "file-too-large": "the file is beyond a size limit",
    "control-character": "a control character stands in the file",
    "yaml-syntax": "the file is not YAML",
    "yaml-alias": "anchors, aliases and merge keys are not allowed",
    "yaml-tag": "tags such as `!!python/object` are not allowed",
    "yaml-documents": "a second document begins (`---`)",
    "too-deep": "lists and mappings are nested too deeply",
    "empty-file": "there is nothing in the file",
    # shape
    "bad-type": "a list, a mapping or a text stands where another is needed",
    "duplicate-key": "a key stands twice in one mapping",
    "unknown-key": "no such key here",
    "missing-key": "a key that must be there is not",
    "missing-value": "a key has no value, or a list no entry",
    "not-supported-yet": "known to the design, not built yet, therefore refused",
    # values
    "bad-value": "a number, size, duration or word that does not fit",
    "bad-domain": "not a domain name",
    "bad-address": "not an address, or one that cannot stand here",
    "bad-network": "not an IP network in CIDR notation",
    "bad-pattern": "a pattern that cannot be read",
    "bad-regex": "a regular expression that cannot be read",
    "regex-not-linear": "a regular expression that needs backtracking",
    "bad-time": "not weekdays and hours",
    "unknown-variable": "a deny message uses a variable that is not there",
    "bad-reply": "a reply that breaks SMTP or does not fit the action",
    # rules
    "duplicate-name": "two policies have one name",
    "unknown-list": "a pattern names a list that is not there",
    "unknown-scanner": "a table names a scanner that is not there",
    "empty-list": "a list holds no entry",
    "unknown-action": "no such action",
    "action-not-allowed-here": "the action has no meaning in this list",
    "field-not-allowed": "a header field that is not the rules' to add",
    "key-not-allowed-here": "the key has no meaning with this action",
    "unknown-condition": "no such condition",
    "condition-not-allowed-here": "the condition cannot be known in this list",
    "too-many-rules": "one list holds too many rules",
    "no-fallthrough": "a list could end without a decision",
    "last-policy-has-when": "the policies could end without a choice",
    # warnings
    "unused-list": "no rule uses the list",
    "unreachable": "something before it decides everything",
    "postmaster-denied": "RFC 5321 4.5.1: postmaster must be accepted",
    "open-relay": "everybody may send to everybody",
    "verify-not-binding": "verify asked for where clear mail is preferred to none",
    "no-identity": "the upstream takes every client for smtpguard",
    "drop-retries": "a client that gets no reply tries again for days",
    "never-scanned": "no rule says `scan`, so `antivirus` is asked about nothing",
    "milder-above": "more spam is treated more mildly than less",
    "no-domains": "`@own` is used and `domains` is empty",
    "list-shrank": "a list lost so much that the old one stays",
    "too-many-problems": "more problems than are shown",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; line and column counted from 1, in characters."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        """Return ``FILE:LINE``."""
        return f"{self.file}:{self.line}"


class TooManyProblemsError(Exception):
    """Loading makes no sense any more; raised by ``Sink``, handled by ``loading``."""


class Sink:
    """Collects problems, at most ``MAX_PROBLEMS``."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._cut: Mark | None = None
        self.errors = 0
        """How many errors were noted, those left off included."""

    def error(self, mark: Mark, text: str, slug: str) -> None:
        """Note an error; raises ``TooManyProblemsError`` beyond the limit.

        KeyError for a slug that ``SLUGS`` does not have.
        """
        self.errors += 1
        if not self._note(mark, text, slug, is_error=True):
            raise TooManyProblemsError

    def warning(self, mark: Mark, text: str, slug: str) -> None:
        """Note a warning, unless there are too many; KeyError as ``error``."""
        self._note(mark, text, slug, is_error=False)

    def _note(self, mark: Mark, text: str, slug: str, *, is_error: bool) -> bool:
        assert SLUGS[slug]
        if len(self._problems) >= MAX_PROBLEMS:
            self._cut = self._cut or mark
            return False
        self._problems.append(
            Problem(
                mark.file,
                mark.line,
                mark.column,
                text,
                slug,
                "error" if is_error else "warning",
            )
        )
        return True

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything noted, by file, line and column."""
        found = sorted(set(self._problems))
        mark = self._cut
        if mark is None:
            return tuple(found)
        text = f"more than {MAX_PROBLEMS} problems, the others are not told"
        slug = "too-many-problems"
        severity: Literal["error", "warning"] = "error" if self.errors else "warning"
        more = Problem(mark.file, mark.line, mark.column, text, slug, severity)
        return (*found, more)


def shown(text: str) -> str:
    """Return a value of the file in quotes: printable, at most ``MAX_SHOWN`` long."""
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
    if cut.isprintable():
        return f'"{cut}"'
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)
    return f'"{safe}"'


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "x"?`` for the nearest known word, or ""."""
    near = get_close_matches(word[:MAX_SHOWN], list(known), 1, 0.6)
    return f', did you mean "{near[0]}"?' if near else ""


def listed(words: Iterable[str]) -> str:
    """Return words as one text: ``a, b or c``."""
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
