"""Shapes: which keys a mapping may have, and of which kind their values are.

The tables built from these are the whole grammar of a rule file. Whatever is not in a
table is refused; what the design names and this build lacks is refused by that name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from smtpguard.policy.kinds import Context, Kind, mapping
from smtpguard.policy.problems import did_you_mean, shown


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.policy.problems import Mark
    from smtpguard.policy.yamlsource import Node


@dataclass(frozen=True, slots=True)
class Key[T]:
    """One key of a mapping."""

    name: str
    kind: Kind[T]
    doc: str
    """One sentence for editors."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of one mapping that could be read."""

    mark: Mark
    values: dict[str, object]
    marks: dict[str, Mark]
    """Place of each key that was there, also of those with a bad value."""

    @overload
    def get[T](self, key: Key[T]) -> T | None: ...
    @overload
    def get[T, D](self, key: Key[T], default: D) -> T | D: ...
    def get[T, D](self, key: Key[T], default: D | None = None) -> T | D | None:
        """Return the value of a key, or the default if it is missing or bad."""
        if key.name not in self.values:
            return default
        return cast("T", self.values[key.name])

    def __contains__(self, key: Key[Any]) -> bool:
        """Whether the key stands there, even with a bad value."""
        return key.name in self.marks

    def mark_of(self, key: Key[Any]) -> Mark:
        """Return where the key stands, or the mapping if it does not."""
        return self.marks.get(key.name, self.mark)


@dataclass(frozen=True, slots=True)
class Shape:
    """The keys of one mapping."""

    keys: tuple[Key[Any], ...]
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Keys that are known and cannot stand here: why not, and the slug."""
    slug: str = "unknown-key"
    noun: str = "key"
    nested: Literal["path", "fresh", "same"] = "path"
    """How problems of values are introduced: with the path to them, with the key
    alone, or as those of the mapping itself."""

    def read(self, node: Node, context: Context) -> Fields | None:
        """Read a mapping; None if it is none. Problems of its values are noted."""
        found = mapping(node, context)
        if found is None:
            return None
        known = {key.name: key for key in self.keys}
        fields = Fields(found.mark, {}, {})
        for name, value in found.pairs:
            key = known.get(name.text)
            if key is None:
                self._refuse(name.text, name.mark, context)
                continue
            fields.marks[key.name] = name.mark
            read = key.kind.read(value, self._inside(context, key.name))
            if read is not None:
                fields.values[key.name] = read
        self._require(fields, context)
        return fields

    def _inside(self, context: Context, name: str) -> Context:
        if self.nested == "same":
            return context
        where = context.where if self.nested == "path" else ""
        return context.at(f"{where}.{name}" if where else name)

    def _refuse(self, name: str, mark: Mark, context: Context) -> None:
        if name in self.refused:
            reason, slug = self.refused[name]
            context.error(mark, f"{self.noun} {shown(name)} {reason}", slug)
            return
        hint = did_you_mean(name, [key.name for key in self.keys])
        context.error(mark, f"unknown {self.noun} {shown(name)}{hint}", self.slug)

    def _require(self, fields: Fields, context: Context) -> None:
        for key in self.keys:
            if key.required and key not in fields:
                text = f"key {shown(key.name)} is missing"
                context.error(fields.mark, text, "missing-key")

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the mapping."""
        properties = {
            key.name: {"description": key.doc, **key.kind.schema} for key in self.keys
        }
        required = [key.name for key in self.keys if key.required]
        return {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **({"required": required} if required else {}),
        }


def later(*names: str) -> dict[str, tuple[str, str]]:
    """Return keys that the design has and this build has not, for ``refused``."""
    return dict.fromkeys(names, ("is not supported yet", "not-supported-yet"))


def shaped(shape: Shape) -> Kind[Fields]:
    """Return the kind of mappings of that shape."""
    return Kind(shape.read, shape.schema())
