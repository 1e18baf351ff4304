"""What was released within the last day, so that it is not held a second time.

A released message may come back through the gateway, octet for octet, with no field
that would tell. So its digest and recipient are remembered: an empty file for each,
named by a digest of both, its time the release's. Found by one look at the disk, by any
process; the records hold the same, so that ``remember`` can be done again from them.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from smtpguard.errors import QuarantineError, os_text
from smtpguard.quarantine.record import Kind, address


if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.quarantine.record import Record


REMEMBERED: Final = 24 * 60 * 60.0
"""Seconds."""


def is_remembered(record: Record) -> bool:
    """Whether a release of an item is remembered: nobody has held a copy, and nobody
    let one go."""
    return record.kind is Kind.MESSAGE


class Released:
    """The memory of a quarantine's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "released"

    def remember(self, sha256: str, mailbox: Mailbox, when: datetime) -> None:
        """Remember a release; on the disk when it returns. Raises QuarantineError."""
        path, seconds = self._path(sha256, mailbox), when.timestamp()
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            new = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.utime(new, (seconds, seconds))
                os.fsync(new)
            finally:
                os.close(new)
            folder = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise QuarantineError(f"cannot remember: {os_text(error)}") from error

    def forget(self, sha256: str, mailbox: Mailbox) -> None:
        """Forget a release that has failed."""
        with suppress(OSError):
            self._path(sha256, mailbox).unlink()

    def was_released(self, sha256: str, mailbox: Mailbox, now: datetime) -> bool:
        """Whether a message of this digest was released to a recipient of late.

        False where it cannot be known: then the message is held again, not lost.
        """
        try:
            when = self._path(sha256, mailbox).stat().st_mtime
        except OSError:
            return False
        return now.timestamp() - when < REMEMBERED

    def sweep(self, now: datetime) -> None:
        """Forget what is older than a day. Raises OSError."""
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                with suppress(FileNotFoundError):
                    if now.timestamp() - path.stat().st_mtime >= REMEMBERED:
                        path.unlink()

    def _path(self, sha256: str, mailbox: Mailbox) -> Path:
        told = f"{sha256}\0{address(mailbox)}"
        return self._folder / hashlib.sha256(told.encode()).hexdigest()
