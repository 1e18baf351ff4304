"""Lists: named sets of addresses or patterns, inline or one a line in a file.

A list is text until a rule uses it; the rule says whether its entries are addresses or
other texts. Addresses and whole domains are found by hash, so that tens of thousands
cost what one does; only entries with wildcards elsewhere are tried one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import StringIO

from smtpguard.policy.addresses import OWN, AddressBuilder, AddressTest
from smtpguard.policy.patterns import MAX_REGEX, PatternError, TextBuilder, TextTest
from smtpguard.policy.problems import Mark, Sink, did_you_mean, shown


MAX_ALTERNATIVES = 250_000
"""Texts that the braces of one load may stand for: what ``MAX_NODES`` is for YAML."""

MAX_ENTRIES = 1_000_000
"""Of one list: about 300 MB of memory."""

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""Names of lists; no dot, so ``@name`` is never a domain."""

# A comment begins at the line's start or after a blank, for "#" may stand in addresses.
_COMMENT = re.compile(r"(?:^|[ \t])#")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list and its place."""

    text: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class ListSource:
    """A list as it was read."""

    name: str
    mark: Mark
    """Where it is defined."""
    file: str
    """Where its entries stand."""
    entries: tuple[Entry, ...]
    from_file: bool = False


def parse_list(text: str, file: str, sink: Sink) -> tuple[Entry, ...] | None:
    """Return the entries of a list file: one a line, ``#`` begins a comment.

    None, and an error told, where they are too many. Whoever read the text has bounded
    its length.
    """
    entries: list[Entry] = []
    for number, line in enumerate(StringIO(text.removeprefix("\ufeff")), 1):
        comment = _COMMENT.search(line) if "#" in line else None
        bare = line[: comment.start()] if comment else line
        entry = bare.strip(" \t\r\n")
        if not entry:
            continue
        if len(entries) >= MAX_ENTRIES:
            words = f"{shown(file)} holds more than {MAX_ENTRIES} entries"
            sink.error(Mark(file, number), words, "file-too-large")
            return None
        entries.append(Entry(entry, number, bare.index(entry) + 1))
    return tuple(entries)


class Lists:
    """The lists of one load; tests are built when a rule first asks for them."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._addresses: dict[str, AddressTest] = {}
        self._texts: dict[str, TextTest] = {}
        self._alternatives = 0
        self.sources: dict[str, ListSource] = {}
        self.domains: tuple[str, ...] = ()
        """What ``@own`` stands for."""

    @property
    def unused(self) -> list[ListSource]:
        """Lists that no rule has asked for."""
        used = self._addresses.keys() | self._texts.keys()
        return [one for name, one in self.sources.items() if name not in used]

    def find(self, name: str) -> ListSource:
        """Return a list; raises ``PatternError`` for an unknown name."""
        found = self.sources.get(name)
        if found is None:
            hint = did_you_mean(name, [OWN, *self.sources])
            if not hint and "." in name:
                hint = f', did you mean "*@{name}"?'
            raise PatternError(
                f"there is no list {shown('@' + name)}{hint}", "unknown-list"
            )
        return found

    def addresses(self, name: str) -> AddressTest:
        """Return the list as addresses; raises ``PatternError`` for its name only."""
        source = self.find(name)
        if name not in self._addresses:
            builder = AddressBuilder(self.domains)
            self._gather(source, builder)
            self._addresses[name] = builder.build()
        return self._addresses[name]

    def texts(self, name: str) -> TextTest:
        """Return the list as other texts; raises ``PatternError`` for its name only."""
        source = self.find(name)
        if name not in self._texts:
            builder = TextBuilder()
            self._gather(source, builder)
            self._texts[name] = builder.build()
        return self._texts[name]

    def charge(self, alternatives: int) -> None:
        """Count what braces stood for; raises ``PatternError`` beyond the limit."""
        self._alternatives += alternatives
        if self._alternatives > MAX_ALTERNATIVES:
            text = f"all braces stand for more than {MAX_ALTERNATIVES} texts"
            raise PatternError(text)

    def _gather(
        self, source: ListSource, builder: AddressBuilder | TextBuilder
    ) -> None:
        for entry in source.entries:
            try:
                self._check(entry.text)
                self.charge(builder.add(entry.text))
            except PatternError as error:
                mark = Mark(source.file, entry.line, entry.column)
                text = f"list {shown(source.name)}: {shown(entry.text)}: {error}"
                self._sink.error(mark, text, error.slug)

    def _check(self, text: str) -> None:
        if not text.isprintable():
            raise PatternError("characters that cannot be printed")
        if len(text) > MAX_REGEX:
            raise PatternError(f"longer than {MAX_REGEX} characters")
        if text[0] == "@" and text[1:] in self.sources:
            raise PatternError("lists do not refer to lists")
