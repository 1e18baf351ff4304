"""YAML text to nodes that know their line and column.

Built from PyYAML's event stream (the C parser, as ``compose()`` uses it) rather than by
``compose()`` itself: that one recurses in C for every level and expands aliases before
anybody can look. Here nesting is counted and nothing is ever expanded. Plain scalars
stay text: what is a number or a truth is for the schema to say, so no ``no`` becomes
False and no ``1.2`` a float.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml

from smtpguard.policy.problems import Mark, shown


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.policy.problems import Sink


MAX_CHARACTERS = 4 * 1024 * 1024
"""Of one rule file; long lists belong into list files."""

MAX_NODES = 250_000
"""Keys, values, lists of one file: about a second of work."""

MAX_DEPTH = 20
"""The deepest legal place (a server name below ``certificate``) has 7."""

# Besides the C0 and C1 controls also NEL, LS and PS: YAML 1.1 ends lines at them and
# editors do not, so every line number behind one would be wrong.
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]"
)

type Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, as it reads once quotes and escapes are undone."""

    text: str
    plain: bool
    """It stood there without quotes."""
    mark: Mark
    refused: bool = False
    """An alias stood there; that was told already, so nobody need complain again."""

    @property
    def is_null(self) -> bool:
        """Whether nothing, ``~`` or ``null`` stands there."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping; each key once, in the order of the file."""

    pairs: tuple[tuple[Scalar, Node], ...]
    mark: Mark


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not come yet."""

    mark: Mark
    is_mapping: bool
    nodes: list[Node] = field(default_factory=list)


def compose(text: str, file: str, sink: Sink) -> Node | None:
    """Read one YAML document; None where its problems leave nothing to go on with.

    Linear in the length of ``text``, which may be hostile.
    """
    start = Mark(file)
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_CHARACTERS:
        sink.error(start, f"more than {MAX_CHARACTERS} characters", "file-too-large")
        return None
    if found := _CONTROL.search(text):
        mark = _mark_at(text, found.start(), file)
        name = f"U+{ord(found.group()):04X}"
        sink.error(mark, f"control character {name}", "control-character")
        return None
    composer = _Composer(file, sink)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if not composer.take(event):
                return None
    except yaml.MarkedYAMLError as error:
        _report(error, text, file, sink)
        return None
    if composer.root is None:
        sink.error(start, "the file is empty", "empty-file")
    return composer.root


def _mark_at(text: str, index: int, file: str) -> Mark:
    before = text[:index]
    return Mark(file, before.count("\n") + 1, index - before.rfind("\n"))


def _report(error: yaml.MarkedYAMLError, text: str, file: str, sink: Sink) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    said = str(error.problem or error)
    if error.context:
        said = f"{error.context}: {said}"
    lines = text.split("\n")
    rest = lines[line][max(column - 1, 0) :] if line < len(lines) else ""
    if rest.lstrip(" ").startswith(("*", "@")):
        said += '; a pattern that begins with "*" or "@" needs quotes'
    elif "\t" in rest[:2]:
        said += "; indent with spaces, not with tabs"
    sink.error(Mark(file, line + 1, column + 1), said, "yaml-syntax")


class _Composer:
    """Builds nodes from events; a stack instead of recursion."""

    def __init__(self, file: str, sink: Sink) -> None:
        self._file = file
        self._sink = sink
        self._stack: list[_Open] = []
        self._nodes = 0
        self._documents = 0
        self.root: Node | None = None

    def take(self, event: yaml.Event) -> bool:
        """Take the next event; False once it makes no sense to go on."""
        start = event.start_mark
        assert start is not None
        mark = Mark(self._file, start.line + 1, start.column + 1)
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    text = "a second document begins; a rule file holds one"
                    self._sink.error(mark, text, "yaml-documents")
                    return False
            case yaml.NodeEvent():
                return self._take_node(event, mark)
            case yaml.CollectionEndEvent():
                self._close(self._stack.pop())
        return True

    def _take_node(self, event: yaml.NodeEvent, mark: Mark) -> bool:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            text = f"more than {MAX_NODES} keys and values; use list files"
            self._sink.error(mark, text, "file-too-large")
            return False
        self._refuse_tricks(event, mark)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._stack) >= MAX_DEPTH:
                text = f"nested more than {MAX_DEPTH} levels deep"
                self._sink.error(mark, text, "too-deep")
                return False
            is_mapping = isinstance(event, yaml.MappingStartEvent)
            self._stack.append(_Open(mark, is_mapping))
        elif isinstance(event, yaml.ScalarEvent):
            self._add(Scalar(event.value, not event.style, mark))
        else:
            self._add(Scalar("", plain=True, mark=mark, refused=True))
        return True

    def _refuse_tricks(self, event: yaml.NodeEvent, mark: Mark) -> None:
        if isinstance(event, yaml.AliasEvent):
            text = (
                f"alias {shown('*' + str(event.anchor))}: aliases are not allowed; "
                'a pattern that begins with "*" needs quotes'
            )
            self._sink.error(mark, text, "yaml-alias")
        elif event.anchor is not None:
            text = f"anchor {shown('&' + event.anchor)}: anchors are not allowed"
            self._sink.error(mark, text, "yaml-alias")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self._sink.error(
                mark, f"tag {shown(tag)}: tags are not allowed", "yaml-tag"
            )

    def _add(self, node: Node) -> None:
        if self._stack:
            self._stack[-1].nodes.append(node)
        else:
            self.root = node

    def _close(self, done: _Open) -> None:
        if done.is_mapping:
            self._add(Mapping(tuple(self._pairs(done.nodes)), done.mark))
        else:
            self._add(Sequence(tuple(done.nodes), done.mark))

    def _pairs(self, nodes: list[Node]) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, int] = {}
        for key, value in zip(nodes[::2], nodes[1::2], strict=True):
            if not isinstance(key, Scalar):
                self._sink.error(key.mark, "a key must be a word", "bad-type")
            elif key.text == "<<" and key.plain:
                text = 'merge key "<<": merge keys are not allowed'
                self._sink.error(key.mark, text, "yaml-alias")
            elif key.text in seen:
                text = f"{shown(key.text)} stands twice, first in line {seen[key.text]}"
                self._sink.error(key.mark, text, "duplicate-key")
            else:
                seen[key.text] = key.mark.line
                yield key, value
