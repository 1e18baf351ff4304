"""``spam`` of a policy: who scores messages, and what becomes of each category.

``confirmed``, ``bulk`` and ``suspect`` begin at a score each, of which the highest that
is reached counts. ``exceptions`` are asked before: an ordered list on the reverse-path,
``scan`` of which has the message scored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.model.decision import Action
from smtpguard.model.verdict import VerdictKind
from smtpguard.policy.actions import MESSAGE_CONDITIONS, ListSpec
from smtpguard.policy.endings import (
    REPLY_KEY,
    Ending,
    action_key,
    ending_kind,
    read_ending,
)
from smtpguard.policy.kinds import Context, Kind, choice, number, scalar
from smtpguard.policy.problems import shown
from smtpguard.policy.rulereader import RuleReader
from smtpguard.policy.scannersreader import SPAM_TYPES, scanner_kind
from smtpguard.policy.shapes import Key, Shape, shaped
from smtpguard.policy.sideactions import SIDE


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.rules import AddressRule
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


MAX_SCORE = 1_000_000
MAX_SUBJECT = 40
"""Characters put in front of a subject."""
NAMES = ("confirmed", "bulk", "suspect")
"""Categories; of two that begin at the same score the first counts."""
CLEAN = "clean"
_SUBJECTS = {"bulk": "***BULK***"}
_SUBJECT = "***SPAM***"
_SAFE = {
    VerdictKind.FAILED: Ending(Action.TEMPFAIL),
    VerdictKind.OVERSIZE: Ending(Action.ALLOW),
}
_ACTIONS = (
    Action.ALLOW,
    Action.TAG,
    Action.DENY,
    Action.TEMPFAIL,
    Action.QUARANTINE,
    Action.DISCARD,
    Action.DROP,
    Action.BLOCK,
)
_UNSCORED_ACTIONS = tuple(one for one in _ACTIONS if one is not Action.TAG)
EXCEPTIONS = ListSpec(
    "spam.exceptions",
    "Rules on the reverse-path of messages, asked before any engine.",
    "address",
    (*_ACTIONS, Action.SCAN),
    MESSAGE_CONDITIONS,
)


@dataclass(frozen=True, slots=True)
class Category:
    """One category of spam."""

    name: str
    at: float
    """The least score."""
    ending: Ending
    subject: str = _SUBJECT
    """What ``tag`` puts in front of the subject; ASCII."""


@dataclass(frozen=True, slots=True)
class Spam:
    """Who scores messages, and what follows."""

    scanners: tuple[ScannerSpec, ...]
    """Asked in order, until one answers."""
    categories: tuple[Category, ...] = ()
    """The highest first."""
    endings: Mapping[VerdictKind, Ending] = field(default_factory=dict)
    """Of messages that were not scored."""
    exceptions: tuple[AddressRule, ...] = ()
    in_subject: bool = True
    """Whether ``tag`` changes the subject; else it only adds a field."""
    mark: Mark | None = None
    """Where it stands."""

    def category(self, score: float) -> Category | None:
        """Return the category of a score; None for a clean message."""
        return next((one for one in self.categories if score >= one.at), None)

    def ending(self, kind: VerdictKind) -> Ending:
        """Return what becomes of a message that was not scored for such a reason.

        Larger ones than the engine takes pass by default: no spam is as large.
        """
        if kind is VerdictKind.UNAVAILABLE and kind not in self.endings:
            kind = VerdictKind.FAILED
        # What no spam engine says is no answer.
        return (
            self.endings.get(kind) or _SAFE.get(kind) or self.ending(VerdictKind.FAILED)
        )

    @property
    def all_endings(self) -> list[Ending]:
        """All that a score, or none, can lead to."""
        kinds = (*_SAFE, VerdictKind.UNAVAILABLE)
        return [*(one.ending for one in self.categories), *map(self.ending, kinds)]

    @property
    def actions(self) -> frozenset[Action]:
        """The actions of these."""
        return frozenset(one.action for one in self.all_endings)

    @property
    def worst(self) -> Action:
        """The most severe of these."""
        return min(self.actions, key=lambda action: action.severity)


def _read_subject(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "a text")
    if found is None:
        return None
    text = found.text
    if text.isascii() and text.isprintable() and len(text) <= MAX_SUBJECT:
        return text
    words = f"{shown(text)} is not at most {MAX_SUBJECT} printable ASCII characters"
    context.error(found.mark, words, "bad-value")
    return None


_AT = Key("at", number(-MAX_SCORE, MAX_SCORE), "The least score.", required=True)
_ACTION = action_key(_ACTIONS)
_TAG_TEXT = Key(
    "subject",
    Kind(_read_subject, {"type": "string", "minLength": 1, "maxLength": MAX_SUBJECT}),
    "What tag puts in front of the subject.",
)
_CATEGORY = Shape((_AT, _ACTION, REPLY_KEY, _TAG_TEXT, *SIDE))


def _category_kind(name: str) -> Kind[Category]:
    def read(node: Node, context: Context) -> Category | None:
        fields = _CATEGORY.read(node, context)
        if fields is None:
            return None
        ending = read_ending(fields, _ACTION, context)
        at = fields.get(_AT)
        if ending is None or at is None:
            return None
        if _TAG_TEXT in fields and ending.action is not Action.TAG:
            words = f'"subject" belongs to tag, not to {ending.action}'
            mark = fields.mark_of(_TAG_TEXT)
            context.error(mark, words, "key-not-allowed-here")
            return None
        subject = fields.get(_TAG_TEXT, _SUBJECTS.get(name, _SUBJECT))
        return Category(name, at, ending, subject)

    return Kind(read, _CATEGORY.schema())


_CATEGORIES = {
    name: Key(name, _category_kind(name), f"Messages that are {name} spam.")
    for name in NAMES
}
_UNSCORED = {
    VerdictKind.FAILED: Key(
        "error",
        ending_kind(_UNSCORED_ACTIONS),
        "Where the engine gives no score; tempfail by default.",
    ),
    VerdictKind.OVERSIZE: Key(
        "oversize",
        ending_kind(_UNSCORED_ACTIONS),
        "Of messages larger than the engine takes; allow by default.",
    ),
    VerdictKind.UNAVAILABLE: Key(
        "unavailable",
        ending_kind(_UNSCORED_ACTIONS),
        "Where no engine can be asked; as error by default.",
    ),
}
_SCANNER = Key(
    "scanner",
    scanner_kind(SPAM_TYPES),
    "Engines, asked in order until one answers.",
    required=True,
)
_TAG = Key(
    "tag", choice("subject", "header"), "Where a tag stands: subject by default."
)
_EXCEPTIONS = Key("exceptions", RuleReader.of(EXCEPTIONS).kind(), EXCEPTIONS.doc)
SPAM = Key(
    "spam",
    shaped(
        Shape((_SCANNER, *_CATEGORIES.values(), *_UNSCORED.values(), _TAG, _EXCEPTIONS))
    ),
    "Who scores messages, and what follows.",
)


def read_spam(fields: Fields | None, context: Context) -> Spam | None:
    """Return the table from the values that could be read; None without one."""
    if fields is None:
        return None
    found = [fields.get(key) for key in _CATEGORIES.values()]
    categories = [one for one in found if one is not None]
    if not any(key in fields for key in _CATEGORIES.values()):
        words = f"one of {', '.join(NAMES)} is needed"
        context.at("spam").error(fields.mark, words, "missing-key")
    endings = {
        kind: ending
        for kind, key in _UNSCORED.items()
        if (ending := fields.get(key)) is not None
    }
    return Spam(
        fields.get(_SCANNER, ()),
        tuple(sorted(categories, key=lambda one: -one.at)),
        endings,
        fields.get(_EXCEPTIONS, ()),
        fields.get(_TAG, "subject") == "subject",
        fields.mark,
    )
