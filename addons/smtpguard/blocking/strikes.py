"""How often clients have broken SMTP of late: pure, the time is given."""

from __future__ import annotations

from collections import deque
from typing import Final


MAX_NETWORKS: Final = 10_000
"""That are remembered; of more those go whose last one is the longest ago."""


class Strikes:
    """Counts per network, of one process."""

    def __init__(self, limit: int, within: float, most: int = MAX_NETWORKS) -> None:
        """Tell of ``limit`` strikes within so many seconds."""
        self._limit = limit
        self._within = within
        self._most = most
        self._known: dict[str, deque[float]] = {}

    def add(self, network: str, now: float) -> bool:
        """Count one; return whether the limit is reached, and then begin anew."""
        times = self._known.pop(network, None) or deque(maxlen=self._limit)
        times.append(now)
        if len(times) == self._limit and now - times[0] <= self._within:
            return True
        # Behind all others: they are in the order of their last one.
        self._known[network] = times
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return False
