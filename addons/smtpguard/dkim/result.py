"""What can be said of a signature (RFC 8601 2.7.1)."""

from __future__ import annotations

from enum import StrEnum


class Result(StrEnum):
    """The results of ``dkim`` in an Authentication-Results field that we tell."""

    PASS = "pass"  # noqa: S105 - the word of RFC 8601
    FAIL = "fail"
    """Body or header are not what was signed, or the signature has expired."""
    NEUTRAL = "neutral"
    """Fails, under a key its owner only tests with (RFC 6376 3.6.1): as if unsigned."""
    POLICY = "policy"
    """May hold, but is of a kind that proves too little."""
    TEMPERROR = "temperror"
    """The DNS did not answer in time."""
    PERMERROR = "permerror"
    """Signature or key are broken or missing; asking again will not help."""


class NotVerifiedError(Exception):
    """A signature that does not hold; handled in ``verify``, never told to anybody."""

    def __init__(self, result: Result, reason: str) -> None:
        """``reason`` is for people: printable ASCII, and no word of the sender's."""
        super().__init__(reason)
        self.result = result
        self.reason = reason


def broken_syntax(reason: str) -> NotVerifiedError:
    """Return what is raised for a signature or key that cannot be read."""
    return NotVerifiedError(Result.PERMERROR, reason)
