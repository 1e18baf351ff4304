from __future__ import annotations

import pytest

from smtpguard.model.contents import Fact
from smtpguard.model.decision import Action
from smtpguard.policy import Handling, PartFacts
from tests.policy.rulefiles import message, policy


ALLOW = '{match: "*", action: allow}'
STRIPS_EXE = f'filenames: [{{match: "*.exe", action: strip}}, {ALLOW}]'
DOUBTS = {"limit": "limit-parts", "ambiguous": "hidden", "malformed": "broken"}


def test_without_settings_nothing_is_edited_that_is_signed() -> None:
    assert policy().handling == Handling()
    assert (Handling().on_signed, Handling().on_dkim) == ("deny", "edit")
    assert Handling().own_fields is False


def test_every_setting_is_read() -> None:
    found = policy(
        "ambiguous: discard",
        'malformed: {action: tempfail, reply: "450 4.7.1 Later"}',
        "limit: allow",
        "on_signed: edit",
        "on_dkim: header_only",
        'deny_message: {text: "Gone: %(filename)s", languages: [de]}',
        "own_fields: add",
    ).handling
    ends = {name: ending.action for name, ending in found.endings.items()}
    assert ends == {
        "ambiguous": Action.DISCARD,
        "malformed": Action.TEMPFAIL,
        "limit": Action.ALLOW,
    }
    assert str(found.endings["malformed"].reply) == "450 4.7.1 Later"
    assert (found.on_signed, found.on_dkim) == ("edit", "header_only")
    assert (found.deny_message, found.languages) == ("Gone: %(filename)s", ("de",))
    assert found.own_fields is True


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize(
    ("setting", "action", "reply"),
    [
        ("deny", "deny", "550 5.7.1 Message refused by policy"),
        ("tempfail", "tempfail", "451 4.7.1 Try again later"),
        ('{action: deny, reply: "554 5.6.0 Unclear"}', "deny", "554 5.6.0 Unclear"),
        ("discard", "discard", None),
        ("drop", "drop", None),
        ("allow", "allow", None),
    ],
)
def test_a_setting_says_what_becomes_of_a_doubt(
    doubt: str, setting: str, action: str, reply: str | None
) -> None:
    found = policy(f"{doubt}: {setting}").finding(doubt, "why", "1.2")  # type: ignore[arg-type]
    assert found is not None
    assert (str(found.action), found.rule) == (action, doubt)
    assert (str(found.reply) if found.reply else None) == reply
    assert [(s.rule, s.part, s.reason) for s in found.trace] == [(doubt, "1.2", "why")]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_without_a_setting_only_rules_that_may_refuse_do(doubt: str) -> None:
    for lines, refuses in (
        ((), False),
        ((f"filenames: [{ALLOW}]", f"content_types: [{ALLOW}]"), False),
        ((STRIPS_EXE,), True),
        ((f"headers: [{{match: X, action: strip}}, {ALLOW}]",), True),
    ):
        found = policy(*lines).finding(doubt, "why", "1")  # type: ignore[arg-type]
        assert (found is not None) is refuses, lines


def part(doubt: str, *names: str) -> PartFacts:
    facts = frozenset({Fact(doubt)})
    return PartFacts("a/b", names, (), facts, (), "1.2", {doubt: "why"})  # type: ignore[dict-item]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_doubt_about_a_part_is_denied_unless_a_rule_speaks_about_it(
    doubt: str,
) -> None:
    said = policy(STRIPS_EXE).part(part(doubt, "a.txt"), message())
    assert (said.action, said.rule, said.reason) == (Action.DENY, doubt, "why")
    # It is gone by its name, and with it what is not known of it ...
    said = policy(STRIPS_EXE).part(part(doubt, "a.exe"), message())
    assert (said.action, said.rule) == (Action.STRIP, "filenames:1")
    # ... unless somebody has said what a doubt means.
    said = policy(STRIPS_EXE, f"{doubt}: deny").part(part(doubt, "a.exe"), message())
    assert (said.action, said.rule) == (Action.DENY, doubt)
    speaks = f"filenames: [{{is: {doubt}, action: strip}}, {ALLOW}]"
    said = policy(speaks).part(part(doubt, "a.txt"), message())
    assert (said.action, said.rule) == (Action.STRIP, "filenames:1")
    # It speaks only where it decides.
    other = f'filenames: [{{match: "*.exe", is: {doubt}, action: strip}}, {ALLOW}]'
    said = policy(other).part(part(doubt, "a.txt"), message())
    assert (said.action, said.rule) == (Action.DENY, doubt)


DENIES_EXE = '{match: "*.exe", action: deny}'


@pytest.mark.parametrize("only", [True, False])
def test_who_asks_for_encryption_has_spoken_about_what_it_hides(*, only: bool) -> None:
    """And about nothing else that was not looked at beside it."""
    speaks = f"filenames: [{{is: encrypted, action: allow}}, {DENIES_EXE}, {ALLOW}]"
    facts = frozenset({Fact.LIMIT, Fact.ENCRYPTED})
    hidden = PartFacts(
        "a/b", ("a.7z",), (), facts, (), "1.2", {"limit": "why"}, is_only_encrypted=only
    )
    said = policy(speaks).part(hidden, message())
    assert said.rule == ("filenames:1" if only else "limit")
    assert said.action is (Action.ALLOW if only else Action.DENY)


def test_a_setting_that_is_milder_than_a_rule_does_not_hide_it() -> None:
    found = policy("limit: allow", STRIPS_EXE)
    assert found.part(part("limit", "a.exe"), message()).action is Action.STRIP
    assert found.part(part("limit", "a.txt"), message()).action is Action.ALLOW
