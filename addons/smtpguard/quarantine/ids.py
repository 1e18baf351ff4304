"""Names of items: ULIDs, 26 characters that sort by time and cannot be guessed.

48 bits are milliseconds since 1970, 80 are random, in Crockford's base 32. Owns what is
an id: whatever a user types becomes part of a file name only after ``checked``.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Final

from smtpguard.errors import QuarantineError


if TYPE_CHECKING:
    from datetime import datetime


LENGTH: Final = 26
RANDOM_BITS: Final = 80
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ID: Final = re.compile(rf"[0-7][{_DIGITS}]{{{LENGTH - 1}}}")


def new_id(now: datetime) -> str:
    """Return a new id."""
    number = int(now.timestamp() * 1000) << RANDOM_BITS | secrets.randbits(RANDOM_BITS)
    return "".join(_DIGITS[number >> 5 * at & 31] for at in reversed(range(LENGTH)))


def is_id(text: str) -> bool:
    """Whether this is an id, in capital letters, and nothing else."""
    return _ID.fullmatch(text) is not None


def checked(text: str) -> str:
    """Return what a user gave as an id. Raises QuarantineError where it is none."""
    if not is_id(text):
        raise QuarantineError(f"no id of the quarantine: {text!a}")
    return text
