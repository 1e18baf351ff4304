"""Whom to ask, and whom not for now: pure, the time is given.

A scanner that is gone must not cost every mail its timeout: the breaker opens, and
nobody is sent there until somebody has seen it answer. A file that ends a scanner must
not end it again and again: what was in flight then is remembered.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum


MAX_FAILURES = 3
"""Failures in a row that open the breaker; one does after it was open."""
POISON_SECONDS = 3600.0
"""For which a file is not handed to the scanner again that it ended."""
MAX_POISON = 10_000
"""Digests that are remembered; the oldest are forgotten first."""


class State(StrEnum):
    """Whether a scanner is asked."""

    CLOSED = "closed"
    """It is, and answers."""
    TRIAL = "trial"
    """It is; it was away, and must show that it answers."""
    OPEN = "open"
    """It is not."""


class Breaker:
    """One scanner at one address."""

    def __init__(self) -> None:
        self.state = State.CLOSED
        self.reason = ""
        """Of the last failure; "" once it has answered."""
        self._failures = 0

    @property
    def is_open(self) -> bool:
        """Whether nobody is to be sent there."""
        return self.state is State.OPEN

    def answered(self) -> None:
        """Note that a scan ended with a verdict on its content."""
        self.state, self.reason, self._failures = State.CLOSED, "", 0

    def seen(self) -> None:
        """Note that somebody is there again."""
        if self.is_open:
            self.state = State.TRIAL

    def failed(self, reason: str, *, is_gone: bool) -> None:
        """Note that a scan had no verdict; ``is_gone``: since nobody is there."""
        self._failures += 1
        is_trial = self.state is State.TRIAL
        if is_gone or is_trial or self._failures >= MAX_FAILURES:
            self.state = State.OPEN
        self.reason = reason


class Poison:
    """Files that were in flight when a scanner died; at any of its addresses.

    One that was alone is guilty. Of several nobody knows which: each may be scanned
    once more, and is guilty if the scanner dies again.
    """

    def __init__(self) -> None:
        self._flying: Counter[tuple[str, str]] = Counter()
        """Address and digest."""
        self._fallen: Counter[tuple[str, str]] = Counter()
        """Those that a death has been told of already, and will tell of it as well."""
        self._suspects: dict[str, float] = {}
        self._guilty: dict[str, float] = {}

    def is_guilty(self, digest: str, now: float) -> bool:
        """Whether a file is not to be handed over."""
        return self._guilty.get(digest, now) > now

    def begin(self, address: str, digest: str) -> None:
        """Note that a file is handed over."""
        self._flying[address, digest] += 1

    def end(self, address: str, digest: str, *, cleared: bool) -> None:
        """Note that a scan is over; ``cleared``: the scanner survived it."""
        for counted in (self._flying, self._fallen):
            counted[address, digest] -= 1
            if counted[address, digest] <= 0:
                del counted[address, digest]
        if cleared:
            self._suspects.pop(digest, None)

    def died(self, address: str, digest: str, now: float) -> None:
        """Note that the scanner ended while it had this file; before its ``end``."""
        if self._fallen[address, digest] > 0:
            return
        there = Counter({k: n for k, n in self._flying.items() if k[0] == address})
        struck = there - self._fallen
        self._fallen |= there
        for _, one in struck:
            if len(struck) == 1 or self._suspects.get(one, now) > now:
                _remember(self._guilty, one, now)
            else:
                _remember(self._suspects, one, now)


def _remember(known: dict[str, float], digest: str, now: float) -> None:
    known.pop(digest, None)
    if len(known) >= MAX_POISON:
        del known[next(iter(known))]
    known[digest] = now + POISON_SECONDS
