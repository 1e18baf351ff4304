from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.model.verdict import VerdictKind
from smtpguard.policy.spam import Spam
from tests.policy.rulefiles import (
    envelope,
    message,
    path,
    policy,
    rules,
    session,
    slugs,
)


TOP = 'scanners: {r: {type: rspamd, url: "http://a:1"}}\n'
BULK = "bulk: {at: 8, action: tag}"


def table(text: str) -> Spam:
    found = policy(f"spam: {text}", top=TOP).spam
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("score", "name"),
    [
        (-3.0, None),
        (4.99, None),
        (5.0, "suspect"),
        (8.0, "bulk"),
        (15.0, "confirmed"),
        (1e9, "confirmed"),
    ],
)
def test_the_highest_score_that_is_reached_counts(
    score: float, name: str | None
) -> None:
    found = table(
        "{scanner: r, suspect: {at: 5, action: allow}, "
        f"{BULK}, confirmed: {{at: 15, action: deny}}}}"
    ).category(score)
    assert (found.name if found else None) == name


def test_of_two_that_begin_at_the_same_score_the_worse_counts() -> None:
    found = table(
        "{scanner: r, suspect: {at: 5, action: allow}, "
        "confirmed: {at: 5, action: deny}}"
    ).category(5)
    assert found is not None
    assert found.name == "confirmed"


def test_subjects_have_defaults() -> None:
    found = table(
        "{scanner: r, bulk: {at: 8, action: tag}, suspect: {at: 5, action: tag}, "
        'confirmed: {at: 9, action: tag, subject: "[spam]"}}'
    )
    assert {one.name: one.subject for one in found.categories} == {
        "confirmed": "[spam]",
        "bulk": "***BULK***",
        "suspect": "***SPAM***",
    }
    assert found.in_subject


def test_what_was_not_scored_has_its_action() -> None:
    found = table(f"{{scanner: r, {BULK}}}")
    kinds = (VerdictKind.FAILED, VerdictKind.UNAVAILABLE, VerdictKind.OVERSIZE)
    actions = [found.ending(one).action for one in kinds]
    assert actions == [Action.TEMPFAIL, Action.TEMPFAIL, Action.ALLOW]
    found = table(
        f"{{scanner: r, {BULK}, error: allow, unavailable: discard, oversize: deny, "
        "tag: header}"
    )
    actions = [found.ending(one).action for one in kinds]
    assert actions == [Action.ALLOW, Action.DISCARD, Action.DENY]
    assert not found.in_subject


def test_the_most_severe_is_that_of_any_answer() -> None:
    assert table(f"{{scanner: r, {BULK}}}").worst is Action.TEMPFAIL
    quiet = "error: allow"
    assert table(f"{{scanner: r, {BULK}, {quiet}}}").worst is Action.TAG
    deny = "confirmed: {at: 9, action: deny}"
    assert table(f"{{scanner: r, {deny}, {quiet}}}").worst is Action.DENY


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("{}", "missing-key"),
        ("{scanner: r}", "missing-key"),
        ("{scanner: r, bulk: tag}", "bad-type"),
        ("{scanner: r, bulk: {action: tag}}", "missing-key"),
        ("{scanner: r, bulk: {at: much, action: tag}}", "bad-value"),
        ("{scanner: r, bulk: {at: 1, action: strip}}", "bad-value"),
        (
            '{scanner: r, bulk: {at: 1, action: deny, subject: "x"}}',
            "key-not-allowed-here",
        ),
        ('{scanner: r, bulk: {at: 1, action: tag, subject: "\u00fc"}}', "bad-value"),
        (
            '{scanner: r, bulk: {at: 1, action: tag, reply: "550 5.7.1 x"}}',
            "key-not-allowed-here",
        ),
        (f"{{scanner: r, {BULK}, error: tag}}", "bad-value"),
        (f"{{scanner: r, {BULK}, tag: both}}", "bad-value"),
        (
            f'{{scanner: r, {BULK}, exceptions: [{{match: "*@b.c", action: allow}}]}}',
            "no-fallthrough",
        ),
    ],
)
def test_a_bad_table_is_one_problem(text: str, slug: str) -> None:
    found = slugs(rules(f"spam: {text}", top=TOP))
    assert slug in found
    assert len(set(found)) <= 2


EXCEPTIONS = (
    '[{match: "*@partner.test", action: allow}, '
    '{match: "*", when: {to: "abuse@own.test"}, action: allow}, '
    '{match: "*@bulk.test", action: tag}, {match: "*", action: scan}]'
)


@pytest.mark.parametrize(
    ("sender", "recipients", "action"),
    [
        ("a@partner.test", ["u@own.test"], Action.ALLOW),
        ("a@x.test", ["abuse@own.test"], Action.ALLOW),
        ("a@x.test", ["u@own.test"], Action.SCAN),
        ("a@x.test", ["abuse@own.test", "u@own.test"], Action.SCAN),
        ("a@bulk.test", ["u@own.test"], Action.TAG),
        ("", ["u@own.test"], Action.SCAN),
    ],
)
def test_exceptions_are_asked_in_order_for_all_recipients(
    sender: str, recipients: list[str], action: Action
) -> None:
    found = policy(f"spam: {{scanner: r, {BULK}, exceptions: {EXCEPTIONS}}}", top=TOP)
    asked = message(envelope=envelope(sender, *recipients))
    assert found.unscored(asked).action is action


def test_without_exceptions_everything_is_scored() -> None:
    found = policy(f"spam: {{scanner: r, {BULK}}}", top=TOP)
    assert found.unscored(message()).action is Action.SCAN


def test_recipients_who_differ_by_an_exception_are_of_two_classes() -> None:
    found = policy(f"spam: {{scanner: r, {BULK}, exceptions: {EXCEPTIONS}}}", top=TOP)
    asked = [path("abuse@own.test"), path("u@own.test")]
    classes = {found.recipient_class(session(), one) for one in asked}
    assert len(classes) == 2
