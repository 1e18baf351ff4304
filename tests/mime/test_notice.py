from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import Variables, deny_message
from smtpguard.mime.notice import MAX_VALUE, harmless, text


FULL = Variables(
    reason="the rule filenames:3",
    type="application/x-msdownload",
    filename="setup.exe",
    virus="Eicar-Test",
    action="strip",
    recovery=True,
    id="5f3a.2",
)


def test_the_default_text_tells_everything_in_two_languages() -> None:
    """contract 6: cause, type, name, virus status, action, restorable or not."""
    english, german = text(None, FULL).split("-" * 62)
    for half in (english, german):
        for value in (
            "the rule filenames:3",
            "application/x-msdownload",
            "setup.exe",
            "Eicar-Test",
            "5f3a.2",
        ):
            assert value in half
    assert "was removed" in english
    assert "can restore it" in english
    assert "entfernt" in german
    assert "wiederherstellen" in german


def test_the_default_text_leaves_no_variable_unfilled() -> None:
    assert "%" not in text(None, FULL)
    assert "%" not in text(None, Variables(reason="r", type="t"))


def test_an_own_text_is_filled() -> None:
    template = (
        "%(reason)s|%(type)s|%(filename)s|%(virus)s|%(action)s|%(recovery)s|%(id)s"
    )
    assert text(template, FULL) == (
        "the rule filenames:3|application/x-msdownload|setup.exe|Eicar-Test|removed|"
        "your administrator can restore it|5f3a.2"
    )


@pytest.mark.parametrize(
    ("action", "word"),
    [
        ("strip", "removed"),
        ("lock", "locked"),
        ("quarantine", "put into quarantine"),
        ("own", "own"),
    ],
)
def test_actions_are_told_in_words(action: str, word: str) -> None:
    assert text("%(action)s", Variables("r", "t", action=action)) == word


def test_what_is_missing_is_said() -> None:
    bare = Variables(reason="r", type="t")
    assert text("%(filename)s %(id)s", bare) == "- -"
    assert text("%(virus)s", bare) == "nothing found or not scanned"
    assert text("%(recovery)s", bare).startswith("not possible")


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("100%", "100%"),
        ("100%%", "100%"),
        ("%s %d", "%s %d"),
        ("%(unknown)s", "%(unknown)s"),
        ("%(reason", "%(reason"),
        ("%(type)s%(type)s", "tt"),
        ("%%(type)s", "%(type)s"),
        ("", ""),
    ],
)
def test_what_is_no_variable_stays(template: str, filled: str) -> None:
    assert text(template, Variables(reason="r", type="t")) == filled


def test_a_value_is_not_filled_again() -> None:
    assert text("%(filename)s", Variables("r", "t", "%(id)s", id="x")) == "%(id)s"


def test_a_notice_has_the_filled_text() -> None:
    assert deny_message("%(filename)s", FULL).text == "setup.exe"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a.exe", "a.exe"),
        ("ü 日本.exe", "ü 日本.exe"),
        ("a\r\n.\r\nb", "a??.??b"),
        ("a\u202etxt.exe", "a?txt.exe"),
        ("a\u2028b\u0085c", "a?b?c"),
        ("a\0b\x1b[31m", "a?b?[31m"),
        ("a\u200bb", "a?b"),
        ("a\ud800b", "a?b"),
    ],
)
def test_hostile_characters_are_replaced(value: str, shown: str) -> None:
    assert harmless(value) == shown


def test_an_overlong_value_keeps_beginning_and_ending() -> None:
    shown = harmless("a" * 5000 + ".pdf.exe")
    assert len(shown) == MAX_VALUE
    assert shown.startswith("aaaa")
    assert " ... " in shown
    assert shown.endswith(".pdf.exe")
    assert harmless("a" * MAX_VALUE) == "a" * MAX_VALUE


@given(st.text(st.characters(codec=None), max_size=300))
def test_no_value_breaks_the_line_or_turns_the_writing(value: str) -> None:
    filled = text("<%(filename)s>", Variables("r", "t", filename=value))
    assert len(filled.splitlines()) == 1
    assert len(filled) <= MAX_VALUE + 2
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in filled)
    assert re.fullmatch(r"<.+>", filled)
