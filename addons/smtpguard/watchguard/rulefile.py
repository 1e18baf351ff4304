"""Text of a rule file: values in flow style, comments behind them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


type Value = str | int | bool | Sequence[Value] | Mapping[str, Value]
"""A ``Plain`` stands without quotes, every other text with them."""


class Plain(str):
    """A text that stands without quotes: an action, a duration."""

    __slots__ = ()


def flow(value: Value) -> str:
    """Return a value on one line; whatever stands in a text, it is one text."""
    if isinstance(value, Plain):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if hasattr(value, "items"):
        pairs = ", ".join(f"{key}: {flow(one)}" for key, one in value.items())
        return f"{{{pairs}}}"
    return f"[{', '.join(map(flow, value))}]"


def comment(text: str) -> str:
    """Return a comment of any text, on one line; "" of nothing."""
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f"# {words}" if words else ""


def line(indent: int, text: str, behind: str = "") -> str:
    """Return a line with a comment behind it."""
    told = comment(behind)
    return " " * indent + text + (f"  {told}" if told else "")
