from __future__ import annotations

import pytest

from smtpguard.model.decision import Action, Decision
from smtpguard.policy.facts import FieldFacts
from tests.policy.rulefiles import message, policy, problems, rules


ALLOW = '{match: "*", action: allow}'


def judged(rule: str, field: FieldFacts, top: str = "") -> Decision:
    return policy(f"headers: [{rule}, {ALLOW}]", top=top).field(field, message())


def field(name: str, *values: str) -> FieldFacts:
    return FieldFacts(name, values or ("",))


@pytest.mark.parametrize(
    ("pattern", "name", "value", "matches"),
    [
        ("X-Internal-*", "X-Internal-Host", "a", True),
        ("x-internal-*", "X-INTERNAL-Host", "a", True),
        ("X-Internal-*", "Subject", "X-Internal-Host", False),
        ("*-Host", "X-Internal-Host", "a", True),
        # A name has no colon: what stands in a value is not taken for one.
        ("*-Host", "Subject", "my-host: a", False),
        ("Subject: *offer*", "Subject", "An OFFER for you", True),
        ("Subject: *offer*", "Comments", "An offer", False),
        ("Subject:*offer*", "Subject", "offer", True),
        ("Subject: offer", "Subject", "An offer", False),
        ("Subject: offer", "Subject", "offer", True),
        ("*: *offer*", "Comments", "An offer", True),
        ("exact:Subject: what?", "Subject", "what?", True),
        ("exact:Subject: what?", "Subject", "whatx", False),
        ("exact:Subject", "Subject", "what", True),
        ("regex:x-[0-9]+", "X-42", "a", True),
        ("regex:x-[0-9]+", "X-42a", "a", False),
        ("regex:subject: .*[0-9]{4}", "Subject", "call 5555", True),
        ("*", "Anything", "at all", True),
    ],
)
def test_a_pattern_means_the_name_or_name_and_value(
    pattern: str, name: str, value: str, matches: bool
) -> None:
    said = judged(f'{{match: "{pattern}", action: deny}}', field(name, value))
    assert (said.action is Action.DENY) is matches


def test_every_reading_of_a_value_counts() -> None:
    rule = '{match: "Subject: free*", action: deny}'
    assert judged(rule, field("Subject", "=?x?=", "Free")).action is Action.DENY
    assert judged(rule, field("Subject", "=?x?=", "No")).action is Action.ALLOW


def test_a_list_holds_names() -> None:
    top = "lists: {secret: {inline: [X-Route, X-Host]}}\n"
    rule = '{match: "@secret", action: strip}'
    assert judged(rule, field("x-host", "a"), top).action is Action.STRIP
    assert judged(rule, field("X-Other", "X-Host"), top).action is Action.ALLOW


def test_the_first_rule_that_matches_decides_about_each_field() -> None:
    found = policy(
        "headers:",
        "  - {match: X-Keep, action: allow}",
        '  - {match: "X-*", action: strip}',
        f"  - {ALLOW}",
    )
    said = [found.field(field(n), message()).action for n in ("X-Keep", "X-Go", "To")]
    assert said == [Action.ALLOW, Action.STRIP, Action.ALLOW]


def test_a_policy_without_the_list_lets_every_field_pass() -> None:
    assert policy().field(field("X"), message()).action is Action.ALLOW


def test_patterns_that_cannot_be_read_are_told() -> None:
    rule = '{match: ["a{", "regex:(", "@nolist"], action: deny}'
    found = problems(rules(f"headers: [{rule}, {ALLOW}]"))
    assert [one.rpartition(" ")[2] for one in found] == [
        "[bad-pattern]",
        "[bad-regex]",
        "[unknown-list]",
    ]
