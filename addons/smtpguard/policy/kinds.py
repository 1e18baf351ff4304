"""Kinds of values: how one is read from a node, and what editors are told of it.

A ``Kind`` holds both, so that the JSON Schema cannot drift from the reader. Reading
never raises: it notes a problem at the value's place and returns None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from smtpguard.policy.problems import did_you_mean, listed, shown
from smtpguard.policy.yamlsource import Mapping, Scalar, Sequence
from smtpguard.wire.domain import normalise_domain
from smtpguard.wire.path import MAX_PATH, parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.policy.lists import Lists
    from smtpguard.policy.problems import Mark, Sink
    from smtpguard.policy.yamlsource import Node


MAX_TEXT = 4096
"""Characters of one value; the longest legal one is a regular expression."""

_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)?")
_OCTETS = {None: 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Context:
    """Where reading stands: who is told of problems, and what names mean."""

    sink: Sink
    lists: Lists
    where: str = ""
    """How the place is named in front of a problem: ``rcpt_to:3``."""
    scanners: dict[str, ScannerSpec] = field(default_factory=dict)
    """By name; filled before the policies are read."""

    def at(self, where: str) -> Context:
        """Return the same context one place further."""
        return replace(self, where=where)

    def error(self, mark: Mark, text: str, slug: str) -> None:
        """Note an error of this place."""
        self.sink.error(mark, f"{self.where}: {text}" if self.where else text, slug)


@dataclass(frozen=True, slots=True)
class Kind[T]:
    """A kind of value."""

    read: Callable[[Node, Context], T | None]
    """Returns None after it has noted a problem."""
    schema: dict[str, Any]
    """JSON Schema (2020-12) of the value."""


def scalar(node: Node, context: Context, wanted: str = "a text") -> Scalar | None:
    """Return the node if it is a text with something in it."""
    if not isinstance(node, Scalar):
        kind = "a list" if isinstance(node, Sequence) else "a mapping"
        context.error(node.mark, f"{wanted} is needed, not {kind}", "bad-type")
    elif node.refused:
        return None
    elif node.is_null or not node.text:
        context.error(node.mark, f"{wanted} is needed here", "missing-value")
    elif len(node.text) > MAX_TEXT:
        text = f"{shown(node.text)} is longer than {MAX_TEXT} characters"
        context.error(node.mark, text, "bad-value")
    else:
        return node
    return None


def mapping(node: Node, context: Context) -> Mapping | None:
    """Return the node if it is a mapping."""
    if isinstance(node, Mapping):
        return node
    if isinstance(node, Scalar) and node.is_null:
        if not node.refused:
            context.error(node.mark, "a mapping is needed here", "missing-value")
        return None
    kind = "a list" if isinstance(node, Sequence) else shown(node.text)
    context.error(node.mark, f"a mapping is needed, not {kind}", "bad-type")
    return None


def sequence(node: Node, context: Context) -> Sequence | None:
    """Return the node if it is a list with something in it."""
    if isinstance(node, Sequence):
        if not node.items:
            context.error(node.mark, "the list is empty", "missing-value")
            return None
        return node
    if isinstance(node, Scalar) and node.is_null:
        if not node.refused:
            context.error(node.mark, "a list is needed here", "missing-value")
        return None
    kind = "a mapping" if isinstance(node, Mapping) else shown(node.text)
    context.error(node.mark, f"a list is needed, not {kind}", "bad-type")
    return None


def _read_bool(node: Node, context: Context) -> bool | None:
    found = scalar(node, context, "true or false")
    if found is None:
        return None
    if not found.plain or found.text.lower() not in ("true", "false"):
        text = f"write true or false, not {shown(found.text)}"
        context.error(found.mark, text, "bad-value")
        return None
    return found.text.lower() == "true"


BOOL = Kind(_read_bool, {"type": "boolean"})


def _read_text(node: Node, context: Context) -> str | None:
    found = scalar(node, context)
    if found is None:
        return None
    if not found.text.isprintable():
        text = f"{shown(found.text)} holds characters that cannot be printed"
        context.error(found.mark, text, "bad-value")
        return None
    return found.text


TEXT = Kind(_read_text, {"type": "string", "minLength": 1, "maxLength": MAX_TEXT})


def _read_domain(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "a domain name")
    if found is None:
        return None
    try:
        return normalise_domain(found.text)
    except ValueError as error:
        context.error(found.mark, f"{shown(found.text)}: {error}", "bad-domain")
        return None


DOMAIN: Kind[str] = Kind(
    _read_domain, {"type": "string", "minLength": 1, "maxLength": 255}
)


def _read_mailbox(node: Node, context: Context) -> Mailbox | None:
    found = scalar(node, context, "an address")
    if found is None:
        return None
    try:
        mailbox = parse_mailbox(found.text)
    except ValueError as error:
        context.error(found.mark, f"{shown(found.text)}: {error}", "bad-address")
        return None
    if mailbox.domain == "own":
        text = f'{shown(found.text)}: "@own" is several domains, name one of them'
        context.error(found.mark, text, "bad-address")
        return None
    if mailbox.octets.isascii() and len(mailbox.octets) <= MAX_PATH - len("<>"):
        return mailbox
    text = f"{shown(found.text)} is not ASCII, or longer than {MAX_PATH} octets"
    context.error(found.mark, text, "bad-address")
    return None


MAILBOX: Kind[Mailbox] = Kind(
    _read_mailbox, {"type": "string", "minLength": 3, "maxLength": MAX_PATH}
)
"""An address that smtpguard itself writes to, or from."""


def integer(low: int, high: int) -> Kind[int]:
    """Return the kind of whole numbers from ``low`` to ``high``."""

    def read(node: Node, context: Context) -> int | None:
        found = scalar(node, context, "a whole number")
        if found is None:
            return None
        if re.fullmatch("[0-9]{1,15}", found.text) and low <= int(found.text) <= high:
            return int(found.text)
        text = f"{shown(found.text)} is not a whole number from {low} to {high}"
        context.error(found.mark, text, "bad-value")
        return None

    return Kind(read, {"type": "integer", "minimum": low, "maximum": high})


def number(low: float, high: float) -> Kind[float]:
    """Return the kind of numbers from ``low`` to ``high``: ``5``, ``-0.5``."""

    def read(node: Node, context: Context) -> float | None:
        found = scalar(node, context, "a number")
        if found is None:
            return None
        if re.fullmatch(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?", found.text):
            value = float(found.text)
            if low <= value <= high:
                return value
        text = f"{shown(found.text)} is not a number from {low:g} to {high:g}"
        context.error(found.mark, text, "bad-value")
        return None

    return Kind(read, {"type": "number", "minimum": low, "maximum": high})


def size(low: int, high: int) -> Kind[int]:
    """Return the kind of sizes in octets: ``50MiB``; a bare number is octets."""

    def read(node: Node, context: Context) -> int | None:
        found = scalar(node, context, "a size such as 50MiB")
        if found is None:
            return None
        parsed = _SIZE.fullmatch(found.text)
        if not parsed:
            text = f"{shown(found.text)} is not a size such as 256KiB, 50MiB or 1GiB"
            context.error(found.mark, text, "bad-value")
            return None
        octets = int(parsed[1]) * _OCTETS[parsed[2]]
        if low <= octets <= high:
            return octets
        text = f"{shown(found.text)} is not between {low} and {high} octets"
        context.error(found.mark, text, "bad-value")
        return None

    texts = {"type": "string", "pattern": f"^{_SIZE.pattern}$"}
    number = {"type": "integer", "minimum": low, "maximum": high}
    return Kind(read, {"anyOf": [texts, number]})


def duration(low: float, high: float) -> Kind[float]:
    """Return the kind of durations in seconds: ``300ms``, ``30s``, ``5m``, ``1h``."""

    def read(node: Node, context: Context) -> float | None:
        found = scalar(node, context, "a duration such as 30s")
        if found is None:
            return None
        parsed = _DURATION.fullmatch(found.text)
        if not parsed:
            text = f"{shown(found.text)} is not a duration such as 300ms, 30s or 5m"
            context.error(found.mark, text, "bad-value")
            return None
        seconds = float(parsed[1]) * _SECONDS[parsed[2]]
        if low <= seconds <= high:
            return seconds
        text = f"{shown(found.text)} is not between {low:g}s and {high:g}s"
        context.error(found.mark, text, "bad-value")
        return None

    return Kind(read, {"type": "string", "pattern": f"^{_DURATION.pattern}$"})


def choice(*words: str, later: tuple[str, ...] = ()) -> Kind[str]:
    """Return the kind of values that are one of some words.

    ``later`` are words that the design has and this build has not.
    """

    def read(node: Node, context: Context) -> str | None:
        found = scalar(node, context, listed(words))
        if found is None:
            return None
        if found.text in words:
            return found.text
        if found.text in later:
            text = f"{shown(found.text)} is not supported yet"
            context.error(found.mark, text, "not-supported-yet")
            return None
        hint = did_you_mean(found.text, words) or f", use {listed(words)}"
        context.error(
            found.mark, f"unknown value {shown(found.text)}{hint}", "bad-value"
        )
        return None

    return Kind(read, {"enum": _as_yaml(words)})


def _as_yaml(words: tuple[str, ...]) -> list[str | int | float | bool]:
    """Return words as editors may type them: 465 and "465", true and "true"."""
    typed: list[str | int | float | bool] = []
    for word in words:
        if word in ("true", "false"):
            typed.append(word == "true")
        elif re.fullmatch(r"[0-9]+", word):
            typed.append(int(word))
        elif re.fullmatch(r"[0-9]+\.[0-9]+", word):
            typed.append(float(word))
        typed.append(word)
    return typed


def list_of[T](kind: Kind[T], *, single: bool = False) -> Kind[tuple[T, ...]]:
    """Return the kind of lists; with ``single`` one value may stand alone."""

    def read(node: Node, context: Context) -> tuple[T, ...] | None:
        if single and isinstance(node, Scalar):
            items: tuple[Node, ...] = (node,)
        elif (found := sequence(node, context)) is not None:
            items = found.items
        else:
            return None
        values = [kind.read(item, context) for item in items]
        good = tuple(value for value in values if value is not None)
        return good if len(good) == len(values) else None

    several = {"type": "array", "items": kind.schema, "minItems": 1}
    return Kind(read, {"anyOf": [kind.schema, several]} if single else several)
