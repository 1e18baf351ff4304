"""What scanners say of some octets or of a message (contract 7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class VerdictKind(StrEnum):
    """The answers of a scanner, each with an action of its own in the rules."""

    CLEAN = "clean"
    INFECTED = "infected"
    ENCRYPTED = "encrypted"
    """Not looked into: it is behind a password."""
    OVERSIZE = "oversize"
    """Not looked through: larger than the scanner, or its rule, allows."""
    FAILED = "failed"
    """The scan ended without an answer that counts; the content may be why."""
    UNAVAILABLE = "unavailable"
    """Nobody was there to ask, whatever the content."""
    SKIPPED = "skipped"
    """Nobody was asked: it could have changed nothing."""
    SCORED = "scored"
    """By a spam engine: ``Verdict.score`` is set."""


UNDECIDED = frozenset(
    {VerdictKind.OVERSIZE, VerdictKind.FAILED, VerdictKind.UNAVAILABLE}
)
"""Kinds that say nothing of the content: another scanner may know more."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """One test of a spam engine that was met."""

    name: str
    score: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer."""

    scanner: str
    """Its name in the rules."""
    kind: VerdictKind
    name: str = ""
    """Of the virus, as the scanner calls it; printable ASCII."""
    reason: str = ""
    """For logs and records, never for a peer; printable ASCII."""
    score: float | None = None
    """Of a spam engine; more is worse."""
    symbols: tuple[Symbol, ...] = ()
    """Of a spam engine, in its order."""
    said: str = ""
    """The spam engine's own word (``reject``, ``add header``)."""
    seconds: float = field(default=0.0, compare=False)
    """That it took."""
