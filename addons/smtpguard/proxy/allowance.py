"""What the recordings of a process may hold together, and each flow's share of it.

A flow is in memory as long as anybody holds it: until it is saved, or in mitmweb until
the view is cleared. So its share is given back when it is gone, not when it has ended.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Final

from smtpguard.proxy.spool import Budget


if TYPE_CHECKING:
    from mitmproxy import flow


RECORDINGS_OCTETS: Final = 256 * 1024 * 1024
"""Memory of all flows of the process, dialogue, mails and reports."""


class Allowance:
    """One flow's share of a budget."""

    def __init__(self, flow: flow.Flow, budget: Budget) -> None:
        self._budget = budget
        self._held = Budget(0)
        gone = weakref.finalize(flow, _give_back, budget, self._held)
        gone.atexit = False

    @property
    def left(self) -> int:
        """Octets that can be taken."""
        return max(0, self._budget.left)

    def take(self, octets: int) -> bool:
        """Take octets for as long as the flow is there; False where they are not."""
        if octets > self._budget.left:
            return False
        self._budget.left -= octets
        self._held.left += octets
        return True


def _give_back(budget: Budget, held: Budget) -> None:
    budget.left += held.left
