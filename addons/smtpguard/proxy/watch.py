"""Watching files by their size and times; cheap enough for once a second.

A change is told one look late: an editor or a deployment that is still writing would
otherwise be read in the middle of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterable


type State = tuple[int, int, int]
"""Modification time, size and inode; a missing file is a state as well."""

MISSING: State = (-1, -1, -1)


class FileWatch:
    """Tells once for each change of any of some files."""

    def __init__(self) -> None:
        self._known: dict[str, State] = {}
        self._last: dict[str, State] = {}

    def watch(self, files: Iterable[str]) -> None:
        """Watch these files from now on, and no others.

        A file that was watched before keeps the state it was known in: what changed
        while it was being read is told.
        """
        now = {file: self._known.get(file) or state_of(file) for file in files}
        self._known = now
        self._last = dict(now)

    def look(self) -> bool:
        """Whether the files have changed, and are the same as at the last look."""
        now = {file: state_of(file) for file in self._known}
        settled = now == self._last
        self._last = now
        if not settled or now == self._known:
            return False
        self._known = now
        return True


def state_of(file: str) -> State:
    """Return what tells whether a file has changed."""
    try:
        found = os.stat(file)  # noqa: PTH116 - tens of files, once a second
    except (OSError, ValueError):
        return MISSING
    return (found.st_mtime_ns, found.st_size, found.st_ino)
