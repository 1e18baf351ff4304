"""``lists:`` of a rule file: inline entries, or a file with one a line.

A file list that lost much since it was last read is not believed: the export that
wrote it has probably failed half-way, and a recipient list that came back empty must
not turn every mail into a 550. The old entries stay and a warning tells it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.policy.addresses import OWN
from smtpguard.policy.kinds import (
    TEXT,
    Context,
    Kind,
    list_of,
    mapping,
    scalar,
)
from smtpguard.policy.lists import NAME, Entry, ListSource, parse_list
from smtpguard.policy.matching import PATTERN_SCHEMA
from smtpguard.policy.problems import Mark, shown
from smtpguard.policy.shapes import Key, Shape, later
from smtpguard.policy.sources import Sources, beside
from smtpguard.policy.yamlsource import Scalar, Sequence


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.policy.yamlsource import Node


DEFAULT_MAX_SHRINK = 20
"""Percent a file list may lose from one load to the next."""

_PERCENT = re.compile("([0-9]{1,2}|100)%")


def _read_entry(node: Node, context: Context) -> Scalar | None:
    return scalar(node, context, "an address or pattern")


def _read_percent(node: Node, context: Context) -> int | None:
    found = scalar(node, context, "a share such as 20%")
    if found is None:
        return None
    if parsed := _PERCENT.fullmatch(found.text):
        return int(parsed[1])
    text = f"{shown(found.text)} is not a share from 0% to 100%"
    context.error(found.mark, text, "bad-value")
    return None


_ENTRIES = list_of(Kind(_read_entry, PATTERN_SCHEMA))
_FILE = Key("file", TEXT, "A file with one address or pattern a line.")
_INLINE = Key("inline", _ENTRIES, "The addresses or patterns themselves.")
_MAX_SHRINK = Key(
    "max_shrink",
    Kind(_read_percent, {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}),
    "Share a file may lose on reload and still be taken; 20% by default.",
)
_SHAPE = Shape((_FILE, _INLINE, _MAX_SHRINK), later("ldap", "refresh"))

SCHEMA = {
    "type": "object",
    "propertyNames": {
        "pattern": f"^{NAME.pattern}$",
        "not": {"const": OWN},
    },
    "additionalProperties": {"anyOf": [_ENTRIES.schema, _SHAPE.schema()]},
}
"""JSON Schema of ``lists``."""


@dataclass(frozen=True, slots=True)
class ListReader:
    """Reads the lists of one file."""

    sources: Sources
    previous: Mapping[str, ListSource] = field(default_factory=dict)
    """File lists as they were last loaded."""

    def read(self, node: Node, file: str, context: Context) -> None:
        """Define every list of a ``lists`` mapping in ``context.lists``."""
        found = mapping(node, context)
        for name, value in found.pairs if found else ():
            inside = context.at(f"list {shown(name.text)}")
            if not NAME.fullmatch(name.text) or name.text.lower() == OWN:
                text = "a list's name is letters, digits, - and _, and not own"
                inside.error(name.mark, text, "bad-value")
                continue
            if name.text in context.lists.sources:
                first = context.lists.sources[name.text].mark
                text = f"defined twice, first at {first}"
                inside.error(name.mark, text, "duplicate-key")
                continue
            source = self._read_list(name, value, file, inside)
            # An empty one stands in for what could not be read, so that its users
            # are not told that it does not exist.
            context.lists.sources[name.text] = source or ListSource(
                name.text, name.mark, file, ()
            )

    def _read_list(
        self, name: Scalar, node: Node, file: str, context: Context
    ) -> ListSource | None:
        if isinstance(node, Sequence):
            return _inline(name, _ENTRIES.read(node, context), file)
        fields = _SHAPE.read(node, context)
        if fields is None:
            return None
        if (_FILE in fields) == (_INLINE in fields):
            if _FILE in fields:
                text = '"file" and "inline" cannot both be there'
                context.error(fields.mark, text, "key-not-allowed-here")
            else:
                text = 'either "file" or "inline" is needed'
                context.error(fields.mark, text, "missing-key")
            return None
        if _INLINE in fields:
            return _inline(name, fields.get(_INLINE), file)
        path = fields.get(_FILE)
        if path is None:
            return None
        share = fields.get(_MAX_SHRINK, DEFAULT_MAX_SHRINK)
        mark = fields.mark_of(_FILE)
        return self._read_file(name, beside(file, path), mark, share, context)

    def _read_file(
        self, name: Scalar, path: str, mark: Mark, share: int, context: Context
    ) -> ListSource | None:
        text = self.sources.text(path, mark)
        if text is None:
            return None
        entries = parse_list(text, path, context.sink)
        if entries is None:
            return None
        old = self.previous.get(name.text)
        if old is not None and old.file != path:
            old = None
        if old is not None and _shrank(len(old.entries), len(entries), share):
            words = f"{shown(path)} fell from {len(old.entries)} entries to "
            words += f"{len(entries)}, more than {share}%; the old list stays"
            warning = f"{context.where}: {words}"
            context.sink.warning(mark, warning, "list-shrank")
            return ListSource(name.text, name.mark, path, old.entries, from_file=True)
        if not entries:
            context.error(Mark(path), f"{shown(path)} holds no entry", "empty-list")
            return None
        return ListSource(name.text, name.mark, path, entries, from_file=True)


def _inline(
    name: Scalar, entries: tuple[Scalar, ...] | None, file: str
) -> ListSource | None:
    if entries is None:
        return None
    found = tuple(Entry(one.text, one.mark.line, one.mark.column) for one in entries)
    return ListSource(name.text, name.mark, file, found)


def _shrank(old: int, new: int, share: int) -> bool:
    return (old - new) * 100 > old * share
