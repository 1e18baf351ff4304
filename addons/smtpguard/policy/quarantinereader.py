"""``quarantine`` of a rule file: where messages are kept, how many, how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.policy.kinds import TEXT, Context, Kind, duration, size
from smtpguard.policy.shapes import Key, Shape
from smtpguard.policy.sources import beside


if TYPE_CHECKING:
    from smtpguard.policy.yamlsource import Node


_DAY = 86400.0
_HOUR = 3600.0
_LONGEST = 3650 * _DAY


@dataclass(frozen=True, slots=True)
class QuarantineSettings:
    """Where the quarantine lies and when something leaves it."""

    folder: str
    """As the rule file names it, from that file's folder."""
    max_size: int = 10 * 1024**3
    """Octets of everything that is kept; beyond them nothing more is taken."""
    keep: float = 30 * _DAY
    """Seconds until an item may be purged for its age."""
    keep_at_least: float = 3 * _DAY
    """Seconds before which nothing is purged, whatever the size."""


_FOLDER = Key("folder", TEXT, "Where messages are kept.", required=True)
_MAX_SIZE = Key(
    "max_size",
    size(1024**2, 1024**5),
    "How much is kept; 10GiB by default.",
)
_KEEP = Key(
    "keep", duration(_HOUR, _LONGEST), "When it is purged for age; 30d by default."
)
_KEEP_AT_LEAST = Key(
    "keep_at_least",
    duration(0, _LONGEST),
    "How long nothing is purged, whatever the size; 3d by default.",
)
_SHAPE = Shape((_FOLDER, _MAX_SIZE, _KEEP, _KEEP_AT_LEAST))


def _read(node: Node, context: Context) -> QuarantineSettings | None:
    fields = _SHAPE.read(node, context)
    folder = fields.get(_FOLDER) if fields else None
    if fields is None or folder is None:
        return None
    default = QuarantineSettings("")
    found = QuarantineSettings(
        beside(fields.mark.file, folder),
        fields.get(_MAX_SIZE, default.max_size),
        fields.get(_KEEP, default.keep),
        fields.get(_KEEP_AT_LEAST, default.keep_at_least),
    )
    if found.keep < found.keep_at_least:
        text = "keep is shorter than keep_at_least"
        if _KEEP_AT_LEAST not in fields:
            text += f", which is {default.keep_at_least / _DAY:g}d by default"
        context.error(fields.mark_of(_KEEP), text, "bad-value")
        return None
    return found


QUARANTINE = Key(
    "quarantine",
    Kind(_read, _SHAPE.schema()),
    "Where messages and parts are kept, and how long.",
)
