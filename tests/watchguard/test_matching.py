from __future__ import annotations

import pytest

from smtpguard.watchguard.fireware import FireAction, FireRule, Matcher
from smtpguard.watchguard.matching import (
    NoEquivalentError,
    address_pattern,
    text_pattern,
)
from tests.policy.rulefiles import address_test


def rule(matcher: Matcher, text: str) -> FireRule:
    return FireRule("r", FireAction("deny"), matcher, text)


@pytest.mark.parametrize(
    ("matcher", "text", "pattern"),
    [
        ("string", "", "<>"),
        ("string", "anna@own.example", "anna@own.example"),
        ("string", "a*b@own.example", "exact:a*b@own.example"),
        ("pattern", "*@own.example", "*@own.example"),
        ("pattern", "a?@*.example", "a?@*.example"),
        ("pattern", "*", "*"),
        ("pattern", "*casino*", "regex:(?s).*casino.*"),
        ("pattern", "@own.example", r"regex:(?s)@own\.example"),
        ("pattern", "{a}*@own.example", r"regex:(?s)\{a\}.*@own\.example"),
        ("string", "anna", "regex:(?s)anna"),
        ("regexp", "^info@", "regex:(?s).*(?:^info@).*"),
    ],
)
def test_patterns_on_addresses(matcher: Matcher, text: str, pattern: str) -> None:
    assert address_pattern(rule(matcher, text)) == pattern
    address_test([pattern])


@pytest.mark.parametrize(
    ("matcher", "text", "pattern"),
    [
        ("string", "PLAIN", "PLAIN"),
        ("string", "a*b.txt", "exact:a*b.txt"),
        ("string", "@home", "exact:@home"),
        ("string", "exact:x", "exact:exact:x"),
        ("pattern", "*.exe", "*.exe"),
        ("pattern", "X-Mailer:*", "X-Mailer:*"),
        ("pattern", "*.{0*}", r"regex:(?s).*\.\{0.*\}"),
        ("pattern", "@*", "regex:(?s)@.*"),
        ("regexp", "exe|scr", "regex:(?s).*(?:exe|scr).*"),
    ],
)
def test_patterns_on_texts(matcher: Matcher, text: str, pattern: str) -> None:
    assert text_pattern(rule(matcher, text)) == pattern


@pytest.mark.parametrize(
    ("matcher", "text", "why"),
    [
        ("regexp", r"(a)\1", "linear time"),
        ("regexp", "(?=x)y", "linear time"),
        ("regexp", "a)(b", "unexpected \\)"),
        ("regexp", "(", "missing \\)"),
        ("pattern", "a\u202eb", "printed"),
        ("string", "", "nothing there"),
    ],
)
def test_what_has_no_equivalent_is_told(matcher: Matcher, text: str, why: str) -> None:
    with pytest.raises(NoEquivalentError, match=why):
        text_pattern(rule(matcher, text))
    if text:
        with pytest.raises(NoEquivalentError, match=why):
            address_pattern(rule(matcher, text))
