"""The memory of the process: what the garbage collector and glibc are told."""

from __future__ import annotations

import contextlib
import ctypes
import gc


MAPPED_OCTETS = 4 * 1024 * 1024
"""Pieces of memory from here on go back to the system as soon as they are free."""
KEPT_OCTETS = 16 * 1024 * 1024
"""Free memory in a row that is kept for the next message, by the event loop and by each
judge: asking for it anew is a tenth of what a message of 1 MiB costs."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def settle_memory() -> None:
    """Take what is there at the start out of the garbage collector's sight, and have
    large messages leave little behind.

    Modules, rules and addons live as long as the process; to look through their half a
    million objects again and again was 5 % of the time of a busy gateway. glibc would
    keep pieces of up to 32 MiB for the next time, among others that live on: up to
    70 MiB were never given back.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, MAPPED_OCTETS)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_OCTETS)
    gc.collect()
    gc.freeze()
