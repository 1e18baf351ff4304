from __future__ import annotations

import pytest

from smtpguard.errors import RulesError
from smtpguard.policy import check, load
from smtpguard.policy.problems import MAX_PROBLEMS
from tests.policy.rulefiles import NAME, loaded, reader, rules, slugs


def test_a_good_file_loads_without_a_word() -> None:
    ruleset = loaded(rules())
    assert ruleset.warnings == ()
    assert check(NAME, reader({NAME: rules()})) == ()
    assert ruleset.files == (NAME,)


def test_a_file_with_errors_gives_them_all_and_no_rules() -> None:
    text = rules("identty: none", rcpt_to='{match: "*", action: alow}')
    with pytest.raises(RulesError) as raised:
        loaded(text)
    assert [one.slug for one in raised.value.problems] == [
        "unknown-key",
        "unknown-action",
    ]
    assert raised.value.problems == check(NAME, reader({NAME: text}))
    assert str(raised.value).count("\n") == 1


def test_warnings_come_with_the_rules() -> None:
    text = rules(top="lists: {a: [a@a.example]}\n")
    assert [one.slug for one in loaded(text).warnings] == ["unused-list"]
    assert slugs(text) == ["unused-list"]


def test_warnings_wait_until_there_are_no_errors() -> None:
    text = rules("colour: red", top="lists: {a: [a@a.example]}\n")
    assert slugs(text) == ["unknown-key"]


def test_a_missing_file_is_a_problem() -> None:
    with pytest.raises(RulesError, match=r"cannot-read"):
        load(NAME, reader({}))


def test_the_digest_is_that_of_all_files() -> None:
    text = rules(top="lists: {a: {file: l.txt}}\n")
    digests = {
        load(NAME, reader({NAME: main, "l.txt": more})).digest
        for main in (text, text + "#\n")
        for more in ("a@a.example", "b@a.example")
    }
    assert len(digests) == 4
    again = load(NAME, reader({NAME: text, "l.txt": "a@a.example"}))
    assert again.digest in digests


def test_a_flood_of_problems_is_bounded() -> None:
    text = rules(*(f"key{n}: 1" for n in range(5000)))
    found = check(NAME, reader({NAME: text}))
    assert [one.slug for one in found[:-1]] == ["unknown-key"] * MAX_PROBLEMS
    assert found[-1].slug == "too-many-problems"
    with pytest.raises(RulesError):
        loaded(text)


def test_a_flood_of_warnings_stops_nothing() -> None:
    lists = "".join(f"  l{n}: [a@a.example]\n" for n in range(500))
    ruleset = loaded(rules(top=f"lists:\n{lists}"))
    assert len(ruleset.warnings) == MAX_PROBLEMS + 1


def test_loading_twice_gives_the_same() -> None:
    text = rules('mail_from: [{match: "*", action: allow}]')
    first, second = loaded(text), loaded(text)
    assert first.digest == second.digest
    assert first.policies == second.policies


@pytest.mark.parametrize(
    "name", ["rules.yaml", "../rules.yaml", "a b.yaml", "rules\u202e.yaml"]
)
def test_a_file_may_have_any_name(name: str) -> None:
    assert load(name, reader({name: rules()})).files == (name,)
