"""The one timer of a session, over wakeups that cannot be taken back (traps 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmproxy.proxy import commands


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitmproxy.proxy import events


_SHORTEST = 0.01
"""Seconds; a deadline that stays in the past must not keep the process busy."""
_SLACK = 0.001
"""Seconds by which a wakeup may be early or late without a new one being worth it."""


class Alarm:
    """Wakes a layer at a deadline; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wakeup: commands.RequestWakeup | None = None
        self._at = 0.0

    def set(self, due: float | None) -> Iterator[commands.RequestWakeup]:
        """Yield a wakeup if one is needed for that deadline.

        A later deadline keeps the one that is set, which then sets the next, so that
        there is about one at any time.
        """
        if due is None:
            return
        if self._wakeup is not None and self._at <= due + _SLACK:
            return
        self._wakeup = commands.RequestWakeup(max(_SHORTEST, due - self._clock()))
        self._at = due
        yield self._wakeup

    def is_due(self, event: events.Wakeup, due: float | None) -> bool:
        """Take a wakeup; tell whether the deadline has come."""
        if event.command is self._wakeup:
            self._wakeup = None
        return due is not None and self._clock() >= due - _SLACK
