from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import LANGUAGES, Variables, deny_message, unknown_variables
from smtpguard.mime.notice import MAX_VALUE, harmless


FULL = Variables(
    reason="the rule filenames:3",
    type="application/x-msdownload",
    filename="setup.exe",
    virus="Eicar-Test",
    action="strip",
    recovery=True,
    id="5f3a.2",
)


def text(template: str | None, variables: Variables, *languages: str) -> str:
    return deny_message(template, variables, languages or ("en", "de")).text


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


def test_the_default_text_as_recipients_see_it() -> None:
    variables = Variables("filenames:3", "a/b", "a.exe", action="lock", id="5f3a.2")
    assert text(None, variables).split("\n") == [
        "A part of this message was locked by the mail gateway.",
        "",
        "  Reason:        filenames:3",
        "  File name:     a.exe",
        "  Content type:  a/b",
        "  Virus scan:    nothing found or not scanned",
        "  Recovery:      not possible; ask the sender to send it another way",
        "  Reference:     5f3a.2",
        "",
        "The rest of the message is as it was sent.",
        "",
        "--------------------------------------------------------------",
        "",
        "Ein Teil dieser Nachricht wurde vom Mail-Gateway gesperrt.",
        "",
        "  Grund:         filenames:3",
        "  Dateiname:     a.exe",
        "  Inhaltstyp:    a/b",
        "  Virenprüfung:  nichts gefunden oder nicht geprüft",
        "  Rückgabe:      nicht möglich; bitten Sie den Absender um einen anderen Weg",
        "  Kennung:       5f3a.2",
        "",
        "Der Rest der Nachricht ist so, wie er gesendet wurde.",
        "",
    ]


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


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("%(action)s", "supprimée"),
        ("%(action_de)s %(action_fr)s", "entfernt supprimée"),
        ("%(action_xx)s", "%(action_xx)s"),
        (
            "%(virus)s|%(virus_nl)s",
            "rien trouvé ou pas d'analyse|niets gevonden of niet gecontroleerd",
        ),
        ("%(reason_fr)s", "%(reason_fr)s"),
    ],
)
def test_an_own_text_speaks_the_first_language_and_those_it_names(
    template: str, filled: str
) -> None:
    assert text(template, Variables(reason="r", type="t"), "fr", "it") == filled


def test_the_default_texts_stand_one_after_the_other() -> None:
    alone = [text(None, FULL, language) for language in ("pl", "en")]
    together = text(None, FULL, "pl", "en")
    assert together == f"{alone[0]}\n{'-' * 62}\n\n{alone[1]}"
    assert text(None, FULL, "en") + f"\n{'-' * 62}\n\n" + text(None, FULL, "de") == (
        text(None, FULL)
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("action", ["strip", "lock", "quarantine"])
@pytest.mark.parametrize("recovery", [True, False])
def test_every_language_tells_everything(
    language: str, action: str, recovery: bool
) -> None:
    variables = Variables(
        "because", "a/b", "a.exe", action=action, recovery=recovery, id="5f3a.2"
    )
    words = LANGUAGES[language]
    told = [
        "because",
        "a/b",
        "a.exe",
        "5f3a.2",
        getattr(words, action),
        words.recoverable if recovery else words.lost,
        words.no_virus,
    ]
    shown = text(None, variables, language)
    assert [shown.count(one) for one in told] == [1] * len(told)
    assert "%" not in shown
    # Nothing that a value may be is cut.
    assert " ... " not in shown
    assert max(map(len, shown.split("\n"))) <= 100


@pytest.mark.parametrize("languages", [("xx",), ("en", "xx"), ("EN",), ()])
def test_a_language_that_is_not_built_in_is_an_error(languages: list[str]) -> None:
    for template in (None, "own"):
        with pytest.raises(ValueError, match="not languages"):
            deny_message(template, FULL, languages)


@pytest.mark.parametrize(
    ("template", "unknown"),
    [
        ("%(reason)s %(type)s %(filename)s %(virus)s %(action)s %(recovery)s", ()),
        ("%(id)s %(action_de)s %(virus_pt)s %(recovery_en)s", ()),
        ("100 %, 100 %% %s", ()),
        ("%%(acton)s", ()),
        ("%(acton)s %(acton)s %(type)s", ("%(acton)s",)),
        ("%(type) %(id", ("%(type)", "%(id")),
        ("%(action_xx)s %(reason_de)s", ("%(action_xx)s", "%(reason_de)s")),
        ("%(TYPE)s %()s %( type)s", ("%(TYPE)s", "%()s", "%( type)s")),
        ("%%%(x)s", ("%(x)s",)),
    ],
)
def test_what_is_no_variable_is_told(template: str, unknown: tuple[str, ...]) -> None:
    assert unknown_variables(template) == unknown


@given(st.text(st.sampled_from("%()s\nactionde_ ")))
def test_what_is_not_told_is_filled(template: str) -> None:
    if not unknown_variables(template):
        assert "%(" not in text(template.replace("%%", ""), FULL)


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
