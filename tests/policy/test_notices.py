from __future__ import annotations

import pytest

from smtpguard.policy import PartFacts
from smtpguard.policy.notices import MAX_MESSAGE
from tests.policy.rulefiles import message, policy, problems, rules


ALLOW = '{match: "*", action: allow}'


def test_a_rule_has_its_own_deny_message() -> None:
    rule = '{match: "*.exe", action: strip, message: "No %(type)s\\nhere"}'
    said = policy(f"filenames: [{rule}, {ALLOW}]").part(
        PartFacts("a/b", ("a.exe",)), message()
    )
    assert said.message == "No %(type)s\nhere"


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        ('{text: "%(filname)s"}', "unknown-variable"),
        ('{text: "100%% sure"}', ""),
        ('{text: "%(action_fr)s"}', ""),
        ('{text: "a\\tb"}', "bad-value"),
        (f'{{text: "{"x" * (MAX_MESSAGE + 1)}"}}', "bad-value"),
        (f'{{text: "{"x" * MAX_MESSAGE}"}}', ""),
        ("{languages: [en, de, fr, es, it, nl, pl, pt]}", ""),
        ("{languages: de}", ""),
        ("{languages: [klingon]}", "bad-value"),
        ("{languages: []}", "missing-value"),
        ("{texts: a}", "unknown-key"),
        ("just words", "bad-type"),
    ],
)
def test_a_policy_s_deny_message_is_checked(value: str, slug: str) -> None:
    told = problems(rules(f"deny_message: {value}"))
    assert [one.rpartition("[")[2].rstrip("]") for one in told] == (
        [slug] if slug else []
    )
