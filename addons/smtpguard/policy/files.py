"""Reads rule files from disk: the one module of the package that is not pure.

Everything else takes a ``read`` function, and this is the one for real files.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path


MAX_OCTETS = 64 * 1024 * 1024
"""Of one file, lists included."""


def read_file(name: str) -> str:
    """Return the text of a UTF-8 file; line ends stay as they are.

    Raises OSError, with ``errno.EFBIG`` for a file beyond ``MAX_OCTETS``, and
    ValueError: UnicodeDecodeError, or for a name that no file can have.
    """
    must_be_file(name)
    with Path(name).open("rb") as file:
        octets = file.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise OSError(errno.EFBIG, f"larger than {MAX_OCTETS} octets", name)
    return octets.decode("utf-8")


def must_be_file(name: str | Path) -> None:
    """Raise OSError for a pipe, which would be waited for, and for a device, which may
    have no end. A folder says itself what it is when it is opened."""
    mode = Path(name).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(name))
