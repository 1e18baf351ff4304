from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime.encodedwords import (
    decode_as_one_word,
    decode_words,
    has_encoded_word,
)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"),
        ("=?utf-8?q?=C3=BC?=", "ü"),
        ("=?UTF-8?Q?a_b?=", "a b"),
        ("=?utf-8?B?w7w=?=", "ü"),
        ("=?utf-8?b?w7w?=", "ü"),
        ("=?utf-8*de?q?=C3=BC?=", "ü"),
        ("=?iso-8859-1?q?=FC?= =?utf-8?q?=C3=BC?=", "üü"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?=\t\r\n =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        ("x=?utf-8?q?a?=y", "xay"),
        ('"=?utf-8?q?a?="', '"a"'),
        (" =?utf-8?q?a?=", " a"),
        ("=?utf-8?q?two words?=", "two words"),
        ("=?utf-8?q?a?.exe?=", "a?.exe"),
        ("=?utf-8?q?a? =?utf-8?q?b?=", "=?utf-8?q?a? b"),
        ("=?utf-8?q?a?b?c?d?e?f?g?h?i?j?k=2Eexe?=", "a?b?c?d?e?f?g?h?i?j?k.exe"),
        ("=?" + "x" * 99 + "?q?a=2E?=", "a."),
        ("=?utf-8?b?YQ==?==?utf-8?b?Lg==?=", "a."),
        ("=?utf-8?q??=", ""),
        ("=?utf-8?x?a?=", "=?utf-8?x?a?="),
        ("=?utf-8?q?open", "=?utf-8?q?open"),
        ("=??q?a?=", "=??q?a?="),
        ("=?utf-16be?q?=00a=00.?=", "a."),
    ],
)
def test_encoded_words_are_decoded(text: str, decoded: str) -> None:
    """RFC 2047 2 to 6.2; RFC 2231 5."""
    assert decode_words(text) == decoded


def test_some_end_a_word_at_the_last_end_of_one() -> None:
    assert decode_as_one_word("=?utf-8?q?a???=2Eexe?=") == "a???.exe"
    assert decode_as_one_word("x =?utf-8?q?a?=") == "x =?utf-8?q?a?="


def test_a_character_split_over_two_words_is_put_together() -> None:
    assert decode_words("=?utf-8?q?=C3?= =?UTF-8?b?vA==?=") == "ü"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("=?utf-8?q?a?=", True), ("a =?x?b?", False), ("", False), ("=?a", False)],
)
def test_an_encoded_word_is_seen(text: str, *, expected: bool) -> None:
    assert has_encoded_word(text) == expected


@given(st.lists(st.sampled_from(["=?", "?=", "?", "q", "b", "utf-8", " ", "=C3", "x"])))
def test_decoding_never_raises(pieces: list[str]) -> None:
    assert isinstance(decode_words("".join(pieces)), str)
