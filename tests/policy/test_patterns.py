from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.policy.patterns import (
    MAX_ALTERNATIVES,
    MAX_PATTERN,
    MAX_REGEX,
    LinearRegex,
    PatternError,
    expand_braces,
    fold,
    has_wildcard,
    text_test,
)


def matches(pattern: str, text: str) -> bool:
    return text_test([pattern]).matches(fold(text))


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("***", "anything", True),
        ("a", "a", True),
        ("a", "A", True),
        ("A", "a", True),
        ("a", "ab", False),
        ("*.exe", "x.EXE", True),
        ("*.exe", ".exe", True),
        ("*.exe", "x.exe.txt", False),
        ("*.exe", "xexe", False),
        ("x*", "x", True),
        ("x*", "ax", False),
        ("?", "a", True),
        ("?", "", False),
        ("?", "ü", True),
        ("a?c", "a.c", True),
        ("a?c", "ac", False),
        ("a*c", "abbbc", True),
        ("a*c", "a\nc", True),
        ("*a*", "bab", True),
        ("*a*", "bbb", False),
        ("*.{exe,scr,js}", "x.scr", True),
        ("*.{exe,scr,js}", "x.jsx", False),
        ("{a,b}{c,d}", "bd", True),
        ("{a,}b", "b", True),
        ("a.b", "axb", False),
        ("a+[b]", "a+[b]", True),
        ("a+[b]", "aab", False),
        ("(x)*$", "(x)y$", True),
        ("exact:*.exe", "*.exe", True),
        ("exact:*.exe", "a.exe", False),
        ("exact:{a}", "{A}", True),
        ("regex:a|b", "b", True),
        ("regex:a|b", "ab", False),
        ("regex:b", "abc", False),
        ("regex:.*B", "a\nb", True),
        ("regex:(?-i)b", "B", True),
    ],
)
def test_a_pattern_matches_whole_texts_without_case(
    pattern: str, text: str, wanted: bool
) -> None:
    assert matches(pattern, text) == wanted


def test_one_of_several_patterns_is_enough() -> None:
    test = text_test(["a*", "*z", "m", "regex:q+"])
    found = [text for text in ("abc", "xyz", "m", "qqq", "b") if test.matches(text)]
    assert found == ["abc", "xyz", "m", "qqq"]


def reference(pattern: str) -> re.Pattern[str]:
    special = {"*": ".*", "?": "."}
    text = "".join(special.get(c) or re.escape(c) for c in pattern.lower())
    return re.compile(text, re.DOTALL)


@given(
    st.text(st.sampled_from("aB.*?ü[("), max_size=8),
    st.text(st.sampled_from("aAbB.üÜ[(\n"), max_size=8),
)
def test_a_wildcard_is_the_regular_expression_it_reads_as(
    pattern: str, text: str
) -> None:
    wanted = reference(pattern).fullmatch(text.lower()) is not None
    assert matches(pattern, text) == wanted


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 200 + "b", "regex:(a*)*b", "regex:(a|aa)+b", "regex:(.*.*.*)*b"],
    ids=["stars", "nested", "alternation", "dots"],
)
def test_P2_no_pattern_runs_longer_than_in_linear_time(pattern: str) -> None:
    """Backtracking would need more steps than there are atoms in the universe."""
    test = text_test([pattern])
    text = "a" * 100_000 + "c"
    started = time.perf_counter()
    assert not test.matches(text)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("pattern", "slug"),
    [
        ("(?=a)b", "regex-not-linear"),
        ("(?<!a)b", "regex-not-linear"),
        (r"(a)\1", "regex-not-linear"),
        ("a++", "regex-not-linear"),
        ("(?P<x>a)(?P=x)", "regex-not-linear"),
        ("(a", "bad-regex"),
        ("a{2,1}", "bad-regex"),
        ("a{1001}", "bad-regex"),
        ("a" * (MAX_REGEX + 1), "bad-regex"),
    ],
    ids=str,
)
def test_what_re2_does_not_take_is_refused(pattern: str, slug: str) -> None:
    with pytest.raises(PatternError) as raised:
        LinearRegex(pattern)
    assert raised.value.slug == slug


def test_a_refused_expression_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PatternError):
        LinearRegex("(a")
    assert capfd.readouterr() == ("", "")


def test_an_expression_too_large_for_its_memory_is_refused() -> None:
    with pytest.raises(PatternError, match="pattern too large"):
        LinearRegex(r"(\pL{30}){30}")


def test_a_text_that_is_no_unicode_is_compared_too() -> None:
    assert not matches("regex:a", "\udcff")
    assert matches("regex:.", "\udcff")


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("", [""]),
        ("ab", ["ab"]),
        ("{a}", ["a"]),
        ("x{a,b}y{c,}", ["xayc", "xay", "xbyc", "xby"]),
        ("{,}", ["", ""]),
    ],
)
def test_braces_stand_for_each_of_their_texts(pattern: str, texts: list[str]) -> None:
    assert expand_braces(pattern) == texts


@pytest.mark.parametrize("pattern", ["{a", "a}", "{a,{b}}", "}{", "{a}}", "x{"])
def test_braces_that_do_not_pair_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        expand_braces(pattern)


def test_braces_do_not_explode() -> None:
    assert len(expand_braces("{a,b}" * 8)) == MAX_ALTERNATIVES
    with pytest.raises(PatternError, match="256 texts"):
        expand_braces("{a,b}" * 9)


def test_a_pattern_has_a_longest_length() -> None:
    assert expand_braces("a" * MAX_PATTERN) == ["a" * MAX_PATTERN]
    with pytest.raises(PatternError, match="1000 characters"):
        expand_braces("a" * (MAX_PATTERN + 1))


def test_what_a_wildcard_is() -> None:
    assert has_wildcard("a*")
    assert has_wildcard("a?")
    assert not has_wildcard("a{b,c}")
