"""What finally happens to a transaction (contract 10)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from smtpguard.model.decision import NO_SIDE


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from smtpguard.model.content import Content
    from smtpguard.model.decision import Action, SideActions, TraceStep
    from smtpguard.model.reply import Reply


class Outcome(StrEnum):
    """The end of a transaction, as records and the command line name it."""

    RELAYED = "relayed"
    MODIFIED = "modified"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class HeldContent:
    """A part that is to be kept while the rest of its message goes on."""

    path: str
    names: tuple[str, ...]
    type: str
    chunks: Callable[[], Iterator[bytes]]
    """Gives its octets, the transfer encoding undone."""


@dataclass(frozen=True, slots=True)
class Disposition:
    """What is to be done with a whole message; the answer of ``smtp_message``."""

    outcome: Outcome
    reply: Reply | None = None
    """The answer to the client for rejected, deferred, quarantined and discarded;
    None for relayed and modified (the upstream's answer is passed on) and dropped."""
    content: Content | None = None
    """The edited message, for ``modified`` only."""
    rule: str = ""
    action: Action | None = None
    """The action that won; None where no rule had a say."""
    reason: str = ""
    """For the log, never for the peer."""
    trace: tuple[TraceStep, ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    """``parts``, ``defects``, ``findings`` ... of contract 10, ready for JSON."""
    removed: tuple[str, ...] = ()
    """Names of the header fields that were taken out, each once."""
    held: tuple[HeldContent, ...] = ()
    """Parts to be kept before the message goes on; the whole message is kept for
    ``quarantined``."""
    side: SideActions = NO_SIDE
    """What is still to be done beside it: copies and notices."""
