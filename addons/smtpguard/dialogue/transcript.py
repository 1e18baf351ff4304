"""The ordered octets of both legs, as they were understood (glossary: transcript).

The letters are those of ``.smtp`` scripts: capitals for what came in, small letters for
what went out; C and c on the client's leg, S and s on the upstream's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple


type Direction = Literal["C", "c", "S", "s"]


class Entry(NamedTuple):
    """A command, a reply or a message.

    A tuple: many are made a mail, and a frozen dataclass takes three times as long.
    """

    direction: Direction
    octets: bytes
    """In clear, secrets of AUTH masked unless they are to be recorded."""
    kind: Literal["line", "message", "mark"] = "line"
    """``mark``: no octets of the peer but an event: ``tls``, ``open``, ``closed``."""
    time: float = 0.0
    size: int = 0
    """Messages: the whole size in octets; ``octets`` may be cut or empty."""
    same: bool = False
    """A message that went up as it came: its octets are not repeated."""


@dataclass(slots=True)
class Transcript:
    """Entries in the order in which they happened."""

    entries: list[Entry] = field(default_factory=list)
