from __future__ import annotations

import pytest

from smtpguard.model.characters import is_invisible


@pytest.mark.parametrize(
    "character",
    ["\0", "\t", "\u00ad", "\u200b", "\u202e", "\u2028", "\u3164", "\ufe0f", "\ufeff"],
    ids=ascii,
)
def test_what_no_eye_sees_is_invisible(character: str) -> None:
    assert is_invisible(character)


@pytest.mark.parametrize("character", ["a", " ", ".", "ü", "\uff0e", "中"], ids=ascii)
def test_what_is_seen_is_not(character: str) -> None:
    assert not is_invisible(character)
