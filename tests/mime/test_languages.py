from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from smtpguard.mime.languages import LANGUAGES, Language


WORDS = [field.name for field in dataclasses.fields(Language)]


def texts(language: Language) -> list[str]:
    words = (getattr(language, name) for name in WORDS)
    return [
        text for word in words for text in ([word] if isinstance(word, str) else word)
    ]


def test_eight_languages_are_built_in() -> None:
    assert list(LANGUAGES) == ["en", "de", "fr", "es", "it", "nl", "pl", "pt"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_language_is_whole_and_can_be_shown(code: str) -> None:
    language = LANGUAGES[code]
    assert language.lead.count("%(action)s") == 1
    assert "%" not in "".join(texts(language)).replace("%(action)s", "")
    for text in texts(language):
        assert text == text.strip()
        assert text == unicodedata.normalize("NFC", text)
        assert text.isprintable()
        assert text
    assert all(label.endswith(":") for label in language.labels)
    assert len(set(language.labels)) == 6
    assert language.lead.endswith(".")
    assert language.close.endswith(".")


@pytest.mark.parametrize("name", WORDS)
def test_no_language_was_left_in_the_words_of_another(name: str) -> None:
    words = [getattr(language, name) for language in LANGUAGES.values()]
    # Spanish and Portuguese lock alike.
    assert len(set(words)) >= len(words) - (name == "lock")
