from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.model import characters
from smtpguard.model.characters import (
    MAX_MARKS,
    compatible,
    is_invisible,
    seen_through,
    without_ending,
)


ACUTE, CEDILLA = "\u0301", "\u0327"
# Two marks, of which the second comes first in order: out of order as they stand.
PAIR = ACUTE + CEDILLA


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


@given(
    st.text(
        st.characters()
        | st.sampled_from("a\u0301\u0327\u0344\uff9e\u212b\u1e69\uac00"),
        max_size=MAX_MARKS,
    )
)
def test_the_compatible_form_is_NFKC(text: str) -> None:
    """Within ``MAX_MARKS`` characters no run can be cut: not one character of these
    begins with more than one mark."""
    assert compatible(text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize("count", [1, 15, 16, 1000])
def test_marks_in_a_row_are_put_into_order_in_pieces(count: int) -> None:
    found = compatible("a" + PAIR * count + ".\uff45xe")
    assert found[-4:] == ".exe"
    whole = unicodedata.normalize("NFKC", "a" + PAIR * count + ".exe")
    assert sorted(unicodedata.normalize("NFKD", found)) == sorted(
        unicodedata.normalize("NFKD", whole)
    )
    assert (found == whole) == (2 * count <= MAX_MARKS)


@pytest.mark.parametrize(
    "unit",
    [PAIR, "\u0344", "\uff9e", "e\u0301", "\u1e69\u0327", "\u0f73", "\ufdfa", "\xe9"],
    ids=ascii,
)
def test_no_piece_has_a_long_run_of_marks(
    monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    """Python's own normalising sorts a run of marks in quadratic time: what is counted
    is the work it is given, which no machine makes faster or slower."""
    pieces: list[str] = []

    def normalize(form: str, text: str) -> str:
        if form == "NFKC":
            pieces.append(text)
        return unicodedata.normalize(form, text)  # type: ignore[arg-type]

    class Watched:
        category = staticmethod(unicodedata.category)
        combining = staticmethod(unicodedata.combining)

    watched = Watched()
    watched.normalize = normalize  # type: ignore[attr-defined]
    monkeypatch.setattr(characters, "unicodedata", watched)
    text = "x" + unit * 5000
    compatible(text)
    assert "".join(pieces) == text
    assert max(longest_run(piece) for piece in pieces) <= MAX_MARKS


def longest_run(text: str) -> int:
    longest = run = 0
    for character in unicodedata.normalize("NFKD", text):
        run = run + 1 if unicodedata.combining(character) else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize(
    ("name", "among"),
    [
        ("a.exe", ["a.exe"]),
        ("a.exe\0.txt", ["a.exe\0.txt", "a.exe", "a.exe.txt"]),
        ("a\u202efdp.exe", ["afdp.exe"]),
        ("\uff41\uff0eexe\0.txt", ["a.exe"]),
        ("e\u0301.\uff45xe", ["\xe9.exe", "e\u0301.exe"]),
    ],
    ids=ascii,
)
def test_a_name_is_seen_through(name: str, among: list[str]) -> None:
    found = tuple(seen_through(name))
    assert set(among) <= set(found)
    assert found[0] == name


@pytest.mark.parametrize("name", ["", "a.exe", " a. ", "~!", "a\\b:c"])
def test_a_plain_name_is_seen_as_it_is(name: str) -> None:
    assert tuple(seen_through(name)) == (name,)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("", ""),
        (". .", ""),
        ("a", "a"),
        ("a.b", "a.b"),
        ("a. .\u3000\uff0e\u3002\uff61\xa0", "a"),
        (" a", " a"),
    ],
    ids=ascii,
)
def test_dots_and_blanks_fall_off_the_end(name: str, left: str) -> None:
    assert without_ending(name) == left
