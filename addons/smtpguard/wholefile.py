"""Files that appear whole or not at all.

Owns writing beside the place and moving there. Errors name the file that was wanted.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


TEMPORARY = ".smtpguard-"
"""How the name of a file begins that is being written."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def appear(
    path: Path,
    octets: bytes,
    publish: Callable[[Path, Path], None] = os.replace,
    mode: int | None = None,
) -> bool:
    """Have a file appear with these octets; return whether it is this one.

    ``publish`` is ``os.replace``, or ``os.link``, which does not replace a file that
    came first. A file with a ``mode`` is on the disk before it appears; one without
    has that of any new file. Raises OSError.
    """
    # Without the file's own name, which may be as long as a name can be.
    beside = path.with_name(f"{TEMPORARY}{secrets.token_hex(16)}")
    try:
        descriptor = os.open(beside, _NEW, 0o666 if mode is None else 0o600)
        try:
            _fill(descriptor, octets, mode)
            return _is_published(beside, path, publish)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _fill(descriptor: int, octets: bytes, mode: int | None) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(octets)
        if mode is not None:
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)


def _is_published(
    beside: Path, path: Path, publish: Callable[[Path, Path], None]
) -> bool:
    try:
        publish(beside, path)
    except FileExistsError:
        return False
    return True
