"""Patterns on header fields: on names, or on whole lines (contract 5).

``X-Internal-*`` means the name, ``Subject: *offer*`` the name and the value, unfolded
and decoded. Which one it is tells the colon, also in ``exact:`` and ``regex:``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.policy.kinds import Context, Kind
from smtpguard.policy.matching import (
    ADDRESSES,
    add_text,
    read_scalars,
    shorten,
)
from smtpguard.policy.patterns import PatternError, TextBuilder, TextTest, fold
from smtpguard.policy.problems import shown
from smtpguard.policy.truth import Truth


if TYPE_CHECKING:
    from smtpguard.policy.facts import FieldFacts
    from smtpguard.policy.yamlsource import Node


_PREFIX = re.compile("(?:exact|regex):")
_BEHIND_NAME = re.compile(r"\A([^:]*):[ \t]*")


@dataclass(frozen=True, slots=True)
class Line:
    """One header field as patterns compare it; folded."""

    name: str
    lines: tuple[str, ...]
    """``name: value`` in every reading."""

    @classmethod
    def of(cls, field: FieldFacts) -> Line:
        """Return a field as patterns compare it."""
        name = fold(field.name)
        return cls(name, tuple(f"{name}: {fold(value)}" for value in field.values))


@dataclass(frozen=True, slots=True)
class FieldPatterns:
    """Patterns of one rule on header fields."""

    text: str
    """As they stand in the file, shortened, for traces."""
    names: TextTest
    lines: TextTest
    shared: tuple[TextTest, ...] = ()
    """Lists: their entries are names."""

    def test(self, subject: Line) -> Truth:
        """Say whether one of the patterns matches the name, or a reading of it all."""
        return Truth.of(
            self.names.matches(subject.name)
            or any(self.lines.matches(line) for line in subject.lines)
            or any(test.matches(subject.name) for test in self.shared)
        )

    def told(self, _subject: Line, shown_as: str) -> str:
        """Return what matched, for the trace."""
        return shown_as

    @property
    def is_everything(self) -> bool:
        """Whether ``*`` is among the patterns."""
        return self.names.everything


def _read(node: Node, context: Context) -> FieldPatterns | None:
    found = read_scalars(node, context)
    if found is None:
        return None
    names, lines = TextBuilder(), TextBuilder()
    shared: list[TextTest] = []
    before = context.sink.errors
    for one in found:
        prefix = _PREFIX.match(one.text)
        bare = one.text[prefix.end() :] if prefix else one.text
        builder = lines if ":" in bare else names
        if prefix is None:
            # As in the message, where blanks behind the colon say nothing.
            bare = _BEHIND_NAME.sub(r"\1: ", bare)
        text = f"{prefix[0] if prefix else ''}{bare}"
        try:
            add_text(text, "text", context.lists, builder, shared)
        except PatternError as error:
            context.error(one.mark, f"{shown(one.text)}: {error}", error.slug)
    if context.sink.errors > before:
        return None
    written = tuple(one.text for one in found)
    return FieldPatterns(shorten(written), names.build(), lines.build(), tuple(shared))


FIELDS: Kind[FieldPatterns] = Kind(_read, ADDRESSES.schema)
"""Patterns on header fields."""
