"""How time grows with size, on a machine that does other things too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable


REPEATS = 5
FLOOR = 0.0005
"""Seconds below which the clock says more of itself than of the work."""
LINEAR = 24
"""Times longer at most for eight times the size: 8 if linear, 64 if quadratic."""


def slowdown(work: Callable[[int], object], size: int) -> float:
    """Return how many times longer eight times the size takes.

    The least of several times counts: whatever else the machine did is in the others.
    """
    small = least(work, size)
    return least(work, 8 * size) / max(small, FLOOR)


def least(work: Callable[[int], object], size: int) -> float:
    taken = []
    for _ in range(REPEATS):
        began = time.process_time()
        work(size)
        taken.append(time.process_time() - began)
    return min(taken)
