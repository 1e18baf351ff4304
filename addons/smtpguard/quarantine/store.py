"""The folder: an item is there whole, on the disk, or it is not there.

Owns the names of its files and the order in which they come into being. Both files of
an item are written beside their places and synced, then the octets are renamed, then
the record, then the folder is synced; only then may anybody say 250. An item is there
for a reader once its record is. What a crash leaves behind is no item: a file beside
its place, or octets without a record; ``sweep`` removes it.

A record is replaced in the same way, by whoever holds the item (``locked``).
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from smtpguard.errors import QuarantineError, os_text
from smtpguard.quarantine import locks, recordfile
from smtpguard.quarantine.ids import checked, is_id


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from smtpguard.quarantine.record import Record


OCTETS, RECORD = ".octets", ".json"
BESIDE: Final = ".new-"
LEFT_BEHIND: Final = 3600.0
"""Seconds after which a file that belongs to no item was left behind by a crash: a
message is kept within minutes."""
MEASURED: Final = 10.0
"""Seconds for which the size of everything is believed; other processes add to it."""

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Store:
    """A folder of items; several processes and threads may have it open at once."""

    def __init__(self, folder: Path, max_size: int | None = None) -> None:
        self.folder = folder
        self._max_size = max_size
        self._used = 0
        self._measured = -MEASURED
        self._owner: locks.Owner | None = None
        self._guard = threading.Lock()

    # -- keeping ---------------------------------------------------------------------

    def keep(self, record: Record, chunks: Iterable[bytes]) -> Record:
        """Keep an item; it is on the disk when this returns its record, which has the
        size and digest of its octets.

        Raises QuarantineError, or what ``chunks`` raises; then nothing of it is there.
        """
        try:
            self._make_folder()
            return self._keep(record, chunks)
        except OSError as error:
            full = error.errno in _FULL
            text = f"cannot keep {record.id}: {os_text(error)}"
            raise QuarantineError(text, full=full) from error

    def _keep(self, record: Record, chunks: Iterable[bytes]) -> Record:
        places = (self._path(record.id, OCTETS), self._path(record.id, RECORD))
        beside = [self._beside(place) for place in places]
        if places[1].exists():
            raise QuarantineError(f"{record.id}: is kept already")
        made = list(beside)
        try:
            with _new_file(beside[0]) as descriptor:
                kept = self._fill(record, descriptor, chunks)
            told = recordfile.to_octets(kept)
            with _new_file(beside[1]) as descriptor:
                _write(descriptor, told)
            for source, place in zip(beside, places, strict=True):
                os.rename(source, place)  # noqa: PTH104 - tests stop the process here
                made.append(place)
            self._sync()
        except BaseException:  # also what the chunks raise, and a second Ctrl-C
            for path in reversed(made):
                with suppress(OSError):
                    path.unlink()
            raise
        self._used += kept.size + len(told)
        return kept

    def _fill(self, record: Record, descriptor: int, chunks: Iterable[bytes]) -> Record:
        digest, size = hashlib.sha256(), 0
        for chunk in chunks:
            size += len(chunk)
            self._make_sure_of_room(size)
            digest.update(chunk)
            _write(descriptor, chunk)
        return replace(record, size=size, sha256=digest.hexdigest())

    def _make_sure_of_room(self, more: int) -> None:
        if self._max_size is None:
            return
        now = time.monotonic()
        if now - self._measured >= MEASURED:
            self._used, self._measured = self.used(), now
        if self._used + more > self._max_size:
            # Something may have been deleted since; the next one looks for itself.
            self._measured = -MEASURED
            text = f"the quarantine is full: {self._max_size} octets (max_size)"
            raise QuarantineError(text, full=True)

    def size_of(self, item: str) -> int:
        """Return how many octets an item takes, with its record; 0 where it is gone."""
        found = 0
        for suffix in (OCTETS, RECORD):
            with suppress(OSError):
                found += self._path(item, suffix).stat().st_size
        return found

    def used(self) -> int:
        """Return how many octets lie in the folder. Raises OSError."""
        sizes = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                # A file may be gone again.
                with suppress(FileNotFoundError):
                    sizes.append(entry.stat(follow_symlinks=False).st_size)
        return sum(sizes)

    def _make_folder(self) -> None:
        with suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
            _sync(self.folder.parent)

    # -- reading ---------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Return the ids of all items, the oldest first. Raises QuarantineError."""
        return sorted(self.stamps())

    def stamps(self) -> dict[str, str]:
        """Return what differs for each item whenever its record was written."""
        try:
            with os.scandir(self.folder) as entries:
                return dict(filter(None, map(_stamp, entries)))
        except OSError as error:
            raise QuarantineError(os_text(error)) from error

    def read(self, item: str) -> Record:
        """Return an item's record. Raises QuarantineError, also where it is damaged."""
        path = self._path(item, RECORD)
        try:
            with open(path, "rb", opener=_at_once) as file:
                octets = file.read(recordfile.MAX_OCTETS + 1)
            if not self._path(item, OCTETS).exists():
                raise QuarantineError(f"{path.name}: its octets are missing")
        except FileNotFoundError:
            raise _no_such(item) from None
        except OSError as error:
            raise QuarantineError(os_text(error)) from error
        record = recordfile.from_octets(octets, path.name)
        if record.id != item:
            raise QuarantineError(f"{path.name}: is the record of {record.id}")
        return record

    def octets(self, item: str) -> Path:
        """Return the file of an item's octets, which nothing changes once it is there.

        Raises QuarantineError for what is no id.
        """
        return self._path(item, OCTETS)

    # -- changing --------------------------------------------------------------------

    @contextmanager
    def locked(self, item: str, wait: float = locks.WAIT) -> Iterator[None]:
        """Hold an item: nobody else changes it meanwhile.

        Raises QuarantineError where it is not there, or another one does not let go.
        """
        with ExitStack() as held:
            try:
                held.enter_context(locks.locked(self._path(item, OCTETS), wait))
            except FileNotFoundError:
                raise _no_such(item) from None
            except OSError as error:
                raise QuarantineError(os_text(error)) from error
            yield

    def is_locked(self, item: str) -> bool:
        """Whether somebody holds an item, as a release does until it has ended."""
        return locks.is_locked(self._path(item, OCTETS))

    def write(self, record: Record) -> None:
        """Replace the record of an item that is held; on the disk when it returns.

        Raises QuarantineError; then a reader finds the one or the other.
        """
        place = self._path(record.id, RECORD)
        beside = self._beside(place)
        try:
            try:
                beside.unlink(missing_ok=True)  # left behind by a crash
                with _new_file(beside) as descriptor:
                    _write(descriptor, recordfile.to_octets(record))
                beside.replace(place)
            except BaseException:
                beside.unlink(missing_ok=True)
                raise
            self._sync()
        except OSError as error:
            text = f"cannot write the record of {record.id}: {os_text(error)}"
            raise QuarantineError(text, full=error.errno in _FULL) from error

    def delete(self, item: str) -> None:
        """Delete an item, damaged ones too. Raises QuarantineError."""
        has_octets, has_record = (
            self._path(item, suffix).exists() for suffix in (OCTETS, RECORD)
        )
        if has_record and not has_octets:
            self.remove(item)  # damaged: there is nothing to lock, or to be at work on
            return
        with self.locked(item):
            self.remove(item)

    def remove(self, item: str) -> None:
        """Delete an item that is held. Raises QuarantineError."""
        size = self.size_of(item)
        try:
            # Without its record it is no item any more, whatever happens then.
            self._path(item, RECORD).unlink(missing_ok=True)
            self._path(item, OCTETS).unlink(missing_ok=True)
            self._sync()
        except OSError as error:
            text = f"cannot delete {item}: {os_text(error)}"
            raise QuarantineError(text) from error
        self._used -= size

    def sweep(self, now: float, keep: float = 0.0) -> list[str]:
        """Remove what crashes have left behind; return the names of those files.

        ``now`` is in seconds since 1970, as files have their times. Octets without a
        record stay for ``keep`` seconds: somebody may have moved it. Raises OSError.
        """
        locks.remove_dead(self.folder)
        found = []
        for path in self.folder.iterdir():
            least = LEFT_BEHIND
            if not path.name.startswith(BESIDE):
                if path.suffix != OCTETS or path.with_suffix(RECORD).exists():
                    continue
                least = max(least, keep)
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime >= least:
                    path.unlink()
                    found.append(path.name)
        return found

    # -- owning ----------------------------------------------------------------------

    def owner(self) -> str:
        """Return the name by which this process owns what is pending.

        Raises QuarantineError.
        """
        with self._guard:
            if self._owner is None:
                try:
                    self._make_folder()
                    self._owner = locks.Owner(self.folder)
                except OSError as error:
                    full = error.errno in _FULL
                    raise QuarantineError(os_text(error), full=full) from error
            return self._owner.name

    def close(self) -> None:
        """Own nothing any more; what is pending still is in doubt for others."""
        with self._guard:
            if self._owner is not None:
                self._owner.close()
            self._owner = None

    # -- files -----------------------------------------------------------------------

    def _path(self, item: str, suffix: str) -> Path:
        return self.folder / f"{checked(item)}{suffix}"

    def _beside(self, place: Path) -> Path:
        return place.with_name(f"{BESIDE}{place.name}")

    def _sync(self) -> None:
        _sync(self.folder)


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer: what is no file holds no record."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _no_such(item: str) -> QuarantineError:
    return QuarantineError(f"{item}: is not in the quarantine")


def _stamp(entry: os.DirEntry[str]) -> tuple[str, str] | None:
    item = entry.name.removesuffix(RECORD)
    if item == entry.name or not is_id(item):
        return None
    try:
        found = entry.stat()
    except FileNotFoundError:
        return None
    return item, f"{found.st_ino}.{found.st_mtime_ns}.{found.st_size}"


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """Open a new file; it is on the disk once this is left without an error."""
    descriptor = os.open(path, _NEW, 0o600)
    try:
        yield descriptor
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
