from __future__ import annotations

from smtpguard.dkim.result import Result, broken_syntax


def test_every_result_is_a_word_of_the_rfc() -> None:
    """RFC 8601 2.7.1; ``none`` is told of a message, not of a signature."""
    words = {"pass", "fail", "neutral", "policy", "temperror", "permerror"}
    assert {str(result) for result in Result} == words


def test_what_cannot_be_read_is_for_good() -> None:
    error = broken_syntax("a reason")
    assert (error.result, error.reason) == (Result.PERMERROR, "a reason")
