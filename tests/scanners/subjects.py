"""What is scanned in these tests."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from smtpguard.model.scan import Subject


if TYPE_CHECKING:
    from collections.abc import Iterator


# As base64, so that no scanner takes these files for it.
EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5EQVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)


def subject(octets: bytes, piece: int = 16 * 1024) -> Subject:
    """Return octets to be scanned, read in pieces of one size."""

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(octets), piece):
            yield octets[start : start + piece]

    return Subject(chunks, len(octets), hashlib.sha256(octets).hexdigest())


def unreadable(before: bytes = b"") -> Subject:
    """Return a subject whose disk fails after some octets."""

    def chunks() -> Iterator[bytes]:
        yield before
        raise OSError(5, "Input/output error")

    return Subject(chunks, len(before) + 1, "0" * 64)
