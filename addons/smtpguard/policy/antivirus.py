"""``antivirus`` of a policy: who scans, and what becomes of each verdict.

Every kind of verdict but ``clean`` has an action of its own; what the table leaves out
has a safe one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.model.decision import Action
from smtpguard.model.verdict import VerdictKind
from smtpguard.policy.actions import PARTS
from smtpguard.policy.endings import Ending, ending_kind
from smtpguard.policy.kinds import BOOL
from smtpguard.policy.scannersreader import VIRUS_TYPES, scanner_kind
from smtpguard.policy.shapes import Key, Shape, shaped


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.shapes import Fields


_ACTIONS = tuple(one for one in PARTS if one is not Action.SCAN)
SAFE: dict[VerdictKind, Ending] = {
    VerdictKind.INFECTED: Ending(Action.DENY),
    VerdictKind.ENCRYPTED: Ending(Action.LOCK),
    VerdictKind.OVERSIZE: Ending(Action.LOCK),
    VerdictKind.FAILED: Ending(Action.TEMPFAIL),
}
"""What is done where the table says nothing; ``unavailable`` is as ``error``."""
_WORDS = {VerdictKind.FAILED: "error"}
"""Keys that are called otherwise than the verdict."""


@dataclass(frozen=True, slots=True)
class Antivirus:
    """Who scans the parts that a rule with ``scan`` names, and what follows."""

    scanners: tuple[ScannerSpec, ...]
    """Asked in order, until one says something of the content."""
    endings: Mapping[VerdictKind, Ending] = field(default_factory=dict)
    raw: bool = False
    """Whether the message as it came is scanned as well."""
    mark: Mark | None = None
    """Where it stands."""

    def ending(self, kind: VerdictKind) -> Ending:
        """Return what becomes of a part with such a verdict."""
        if kind is VerdictKind.UNAVAILABLE and kind not in self.endings:
            kind = VerdictKind.FAILED
        if kind is VerdictKind.CLEAN:
            return _ALLOWED
        # What no virus scanner says is no answer.
        return (
            self.endings.get(kind) or SAFE.get(kind) or self.ending(VerdictKind.FAILED)
        )

    @property
    def all_endings(self) -> list[Ending]:
        """All that a scan can lead to."""
        return [self.ending(kind) for kind in (*SAFE, VerdictKind.UNAVAILABLE)]

    @property
    def actions(self) -> frozenset[Action]:
        """The actions of these."""
        return frozenset(one.action for one in self.all_endings)

    @property
    def worst(self) -> Action:
        """The most severe that a scan can lead to."""
        return min(self.actions, key=lambda action: action.severity)


_ALLOWED = Ending(Action.ALLOW)


def word(kind: VerdictKind) -> str:
    """Return what a kind of verdict is called in the rules."""
    return _WORDS.get(kind, str(kind))


_ENDING_KIND = ending_kind(_ACTIONS, of_parts=True)
_DOCS = {
    VerdictKind.INFECTED: "Of a part with a virus; deny by default.",
    VerdictKind.ENCRYPTED: "Of one behind a password; lock by default.",
    VerdictKind.OVERSIZE: "Of one larger than the scanner takes; lock by default.",
    VerdictKind.FAILED: "Where the scan ends without an answer; tempfail by default.",
    VerdictKind.UNAVAILABLE: "Where no scanner can be asked; as error by default.",
}
_ENDINGS = {kind: Key(word(kind), _ENDING_KIND, doc) for kind, doc in _DOCS.items()}
_SCANNER = Key(
    "scanner",
    scanner_kind(VIRUS_TYPES),
    "Scanners, asked in order until one answers.",
    required=True,
)
_RAW = Key("raw", BOOL, "Whether the message as it came is scanned as well.")
ANTIVIRUS = Key(
    "antivirus",
    shaped(Shape((_SCANNER, *_ENDINGS.values(), _RAW))),
    "Who scans for viruses, and what follows.",
)


def read_antivirus(fields: Fields | None) -> Antivirus | None:
    """Return the table from the values that could be read; None without one."""
    if fields is None:
        return None
    endings = {
        kind: ending
        for kind, key in _ENDINGS.items()
        if (ending := fields.get(key)) is not None
    }
    scanners = fields.get(_SCANNER, ())
    return Antivirus(scanners, endings, fields.get(_RAW, False), fields.mark)
