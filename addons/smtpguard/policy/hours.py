"""``time``: weekdays and hours, as ``mon-fri 08:00-18:00``.

Hours that end before they begin go over midnight and belong to the day they began on:
``fri 22:00-06:00`` ends on Saturday morning. The end itself is outside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from datetime import datetime


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = f"(?:{'|'.join(DAYS)})"
_DAYS = rf"{_DAY}(?:-{_DAY})?(?:,{_DAY}(?:-{_DAY})?)*"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = re.compile(rf"({_DAYS})?( )?(?:({_CLOCK})-({_CLOCK}|24:00))?")


@dataclass(frozen=True, slots=True)
class Hours:
    """A time of the week."""

    days: frozenset[int]
    """As ``datetime.weekday()`` counts them: 0 is Monday."""
    start: int
    """Minutes after midnight."""
    end: int
    """Minutes after midnight, 1,440 for its end; before ``start``: on the next day."""

    def holds(self, now: datetime) -> bool:
        """Whether a local time lies in it."""
        day, minute = now.weekday(), now.hour * 60 + now.minute
        if self.start < self.end:
            return day in self.days and self.start <= minute < self.end
        if minute >= self.start:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days


def parse_hours(text: str) -> Hours:
    """Return weekdays, hours or both; raises ValueError with an example."""
    found = _HOURS.fullmatch(text.lower())
    if not found or bool(found[2]) != bool(found[1] and found[3]) or not text:
        raise ValueError(
            'not a time such as "mon-fri 08:00-18:00", "sat,sun" or "22:00-06:00"'
        )
    days = _parse_days(found[1]) if found[1] else frozenset(range(7))
    start, end = _minutes(found[3] or "00:00"), _minutes(found[4] or "24:00")
    if start == end:
        raise ValueError("the hours end where they begin")
    return Hours(days, start, end)


def _parse_days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for one in text.split(","):
        first, _, last = one.partition("-")
        start = DAYS.index(first)
        length = (DAYS.index(last or first) - start) % 7
        days |= {(start + step) % 7 for step in range(length + 1)}
    return frozenset(days)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
