"""What leaves the quarantine by itself: the decision alone, without files or clock.

What is older than ``keep`` goes. So does the oldest where all together is more than
nine tenths of ``max_size``, so that there is room before the last octet is taken, for
at that point new mail is refused. Nothing younger than ``keep_at_least`` goes, whatever
the size, and nothing that somebody is at work on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from smtpguard.policy.quarantinereader import QuarantineSettings


ROOM: Final = 0.1
"""Share of ``max_size`` that purging leaves free."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the decision needs to know of an item."""

    id: str
    kept_at: datetime
    size: int
    at_work: bool
    """It is being released, or waits for what becomes of the rest of its message."""


def to_purge(
    items: Iterable[Held], settings: QuarantineSettings, now: datetime
) -> list[str]:
    """Return the ids of what goes, the oldest first."""
    oldest_first = sorted(items, key=lambda item: (item.kept_at, item.id))
    size = sum(item.size for item in oldest_first)
    most = settings.max_size * (1 - ROOM)
    found = []
    for item in oldest_first:
        age = (now - item.kept_at).total_seconds()
        if age < settings.keep_at_least or item.at_work:
            continue
        if age >= settings.keep or size > most:
            found.append(item.id)
            size -= item.size
    return found
