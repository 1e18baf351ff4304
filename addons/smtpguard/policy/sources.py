"""Reads the texts a rule file is made of, through whatever the caller reads with.

Names are as a user would write them; a name inside a file counts from that file's
folder. What was read is remembered, for the digest and for who watches the files.
"""

from __future__ import annotations

import errno
import hashlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from smtpguard.policy.problems import Mark, shown


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.policy.problems import Sink


class Sources:
    """The files of one load."""

    def __init__(self, read: Callable[[str], str], sink: Sink) -> None:
        self._read = read
        self._sink = sink
        self._digest = hashlib.sha256()
        self.files: list[str] = []
        """Every name that was asked for, in order, also of files that are missing."""

    def text(self, name: str, mark: Mark) -> str | None:
        """Return the text of a file; None after a problem, told at ``mark``."""
        self.files.append(name)
        try:
            text = self._read(name)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            place = Mark(name, line)
            self._sink.error(place, "the file is not UTF-8 text", "not-utf-8")
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            is_large = isinstance(error, OSError) and error.errno == errno.EFBIG
            slug = "file-too-large" if is_large else "cannot-read"
            self._sink.error(mark, f"cannot read {shown(name)}: {reason}", slug)
            return None
        octets = text.encode("utf-8", "surrogatepass")
        self._digest.update(
            b"%s\0%d\0" % (name.encode("utf-8", "replace"), len(octets))
        )
        self._digest.update(octets)
        return text

    @property
    def digest(self) -> str:
        """SHA-256 over names and texts, in hexadecimal."""
        return self._digest.hexdigest()


def beside(file: str, name: str) -> str:
    """Return ``name`` as written in ``file``: relative to the folder of that file."""
    return str(PurePosixPath(file).parent / name)
