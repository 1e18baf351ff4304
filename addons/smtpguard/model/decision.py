"""Actions, decisions and their traces (contract 5)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.reply import Reply


class Action(StrEnum):
    """What a rule asks for; most severe first, as findings that disagree are ranked.

    ``rewrite`` (addresses only) never competes with another action.
    """

    BLOCK = "block"
    DROP = "drop"
    DENY = "deny"
    TEMPFAIL = "tempfail"
    QUARANTINE = "quarantine"
    DISCARD = "discard"
    STRIP = "strip"
    LOCK = "lock"
    TAG = "tag"
    SCAN = "scan"
    REWRITE = "rewrite"
    ALLOW = "allow"

    @property
    def severity(self) -> int:
        """0 is the most severe."""
        return _SEVERITY[self]


CLOSING = frozenset({Action.BLOCK, Action.DROP})
"""Actions that close the session without a reply."""
_SEVERITY = {action: rank for rank, action in enumerate(Action)}


class TraceStep(NamedTuple):
    """One rule that was tried; a tuple, since a mail makes many."""

    rule: str
    """``LIST:NUMBER``, counted from 1, e.g. ``rcpt_to:3``."""
    matched: bool | None
    """None: it could not be known."""
    reason: str
    """Which value matched, or which condition did not hold."""
    place: str = ""
    """``FILE:LINE`` of the rule."""
    part: str = ""
    """Path of the part it was tried on, "" for an address."""

    def to_json(self) -> dict[str, Any]:
        """Return the step as records and the command line show it."""
        return {
            "rule": self.rule,
            "part": self.part,
            "matched": self.matched,
            "reason": self.reason,
            "place": self.place,
        }


@dataclass(frozen=True, slots=True)
class SideActions:
    """What is done beside an action; that of several rules is all done."""

    add_header: tuple[tuple[str, str], ...] = ()
    """Names and values of header fields to be added, printable ASCII."""
    bcc: tuple[Mailbox, ...] = ()
    """Who gets a copy of what goes on."""
    notify: tuple[Mailbox, ...] = ()
    """Who is told what became of the message."""

    def __bool__(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.add_header or self.bcc or self.notify)


NO_SIDE = SideActions()


@dataclass(frozen=True, slots=True)
class Decision:
    """The action that was chosen, by which rule, and why."""

    action: Action
    rule: str = ""
    """``LIST:NUMBER`` of the rule that won; "" where no rule was asked."""
    reply: Reply | None = None
    """What to answer for deny and tempfail; None for the others."""
    rewrite_to: Mailbox | None = None
    """The new mailbox, for ``rewrite`` only."""
    reason: str = ""
    """For the log, never for the peer."""
    trace: tuple[TraceStep, ...] = ()
    own_reply: bool = False
    """``reply`` is the rule's own, to be sent as it is written; else it is the default
    of its list, also where the two read the same."""
    rewrite_headers: bool = False
    """Whether header fields that hold the old address are to change as well."""
    message: str = ""
    """The rule's own deny message for strip and lock; "" for the policy's."""
    name: str = ""
    """What the administrator calls the rule; "" where it has no name."""
    scans: bool = False
    """Of a part: whether some rule has it scanned, whatever else is done to it."""
    virus: str = ""
    """What the scanner found, or how its scan ended; "" where none was asked."""
    side: SideActions = NO_SIDE
    """Of the rule that decided, and of those that it was more severe than."""


def most_severe(decisions: Iterable[Decision]) -> Decision:
    """Return the decision that counts where several must agree, the first of equals."""
    return min(decisions, key=lambda decision: decision.action.severity)


def all_sides(sides: Iterable[SideActions]) -> SideActions:
    """Return all that is to be done beside several decisions, each thing once."""
    found = [one for one in sides if one]
    if len(found) < 2:
        return found[0] if found else NO_SIDE
    return SideActions(
        tuple(dict.fromkeys(field for one in found for field in one.add_header)),
        tuple(dict.fromkeys(mailbox for one in found for mailbox in one.bcc)),
        tuple(dict.fromkeys(mailbox for one in found for mailbox in one.notify)),
    )
