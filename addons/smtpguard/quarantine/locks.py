"""Who is at work on an item: locks of the system, which end with their process.

``flock`` on a file that is there anyway, so that no lock outlives a crash, and none
is left behind. On one machine alone: on a network's file system it may hold nobody off.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from smtpguard.errors import QuarantineError


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


WAIT: Final = 10.0
"""Seconds for who else is at work: a record is written within milliseconds."""
PREFIX: Final = ".owner-"
_PAUSE: Final = 0.02


@contextmanager
def locked(path: Path, wait: float = WAIT) -> Iterator[None]:
    """Hold a file for one thread of one process alone.

    Raises QuarantineError where another one holds it for longer than ``wait``,
    FileNotFoundError where it is not there, or is gone once it could be held.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + wait
        while not _is_taken(descriptor):
            if time.monotonic() >= until:
                raise QuarantineError(f"{path.stem}: another process is at work on it")
            time.sleep(_PAUSE)
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(path)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether anybody holds a file; False where it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _is_taken(descriptor)
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Owner:
    """A process that has something pending: a file in the folder that it holds locked
    as long as it lives, whose name is in the records."""

    def __init__(self, folder: Path) -> None:
        """Make the file and hold it. Raises OSError."""
        while True:
            self.name = secrets.token_hex(8)
            self._path = folder / f"{PREFIX}{self.name}"
            new = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._path, new, 0o600)
            # Between the two calls it looks like one that was left behind.
            if _is_taken(self._descriptor) and os.fstat(self._descriptor).st_nlink:
                return
            os.close(self._descriptor)

    def close(self) -> None:
        """Own nothing any more."""
        with suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)


def is_alive(folder: Path, name: str) -> bool:
    """Whether the owner of that name still runs."""
    return "/" not in name and is_locked(folder / f"{PREFIX}{name}")


def remove_dead(folder: Path) -> None:
    """Remove the files of owners that are gone."""
    for path in folder.glob(f"{PREFIX}*"):
        if not is_locked(path):
            path.unlink(missing_ok=True)
