"""Alarms: smtpguard cannot do its work, and somebody should look.

An alarm is a line of the log, of each kind one a minute at most, and is told to whoever
listens. For any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Callable


logger = logging.getLogger(__name__)

EVERY: Final = 60.0
"""Seconds between two lines of one kind."""
_LOCK = threading.Lock()
_COUNTS: Counter[str] = Counter()
_QUIET_UNTIL: dict[str, float] = {}
_LISTENERS: list[Callable[[str], None]] = []
"""One at most."""


def raise_alarm(kind: str, text: str) -> None:
    """Tell and count it; it is logged unless that kind was within a minute.

    ``kind`` is a word of ours (``scanners``), ``text`` is for the log.
    """
    now = time.monotonic()
    with _LOCK:
        _COUNTS[kind] += 1
        is_logged = now >= _QUIET_UNTIL.get(kind, now)
        if is_logged:
            _QUIET_UNTIL[kind] = now + EVERY
        told = f"{kind}: {text} ({_COUNTS[kind]} so far)"
        listeners = tuple(_LISTENERS)
    if is_logged:
        logger.error("alarm: %s", told)
    for listener in listeners:
        listener(told)


def listen(listener: Callable[[str], None] | None) -> None:
    """Have alarms told to somebody from now on, instead of whoever was told before."""
    with _LOCK:
        _LISTENERS[:] = [listener] if listener is not None else []


def counts() -> dict[str, int]:
    """Return how many alarms of each kind there were in this process."""
    with _LOCK:
        return dict(_COUNTS)


def forget() -> None:
    """Begin anew, as in a new process."""
    with _LOCK:
        _LISTENERS.clear()
        _COUNTS.clear()
        _QUIET_UNTIL.clear()
