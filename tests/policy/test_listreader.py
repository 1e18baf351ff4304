from __future__ import annotations

import pytest

from smtpguard.errors import RulesError
from smtpguard.policy import Ruleset, lists, load
from smtpguard.policy.lists import ListSource
from tests.policy.rulefiles import NAME, reader, rules, slugs


FILE = rules(
    rcpt_to='{match: "@staff", action: allow}, {match: "*", action: deny}',
    top="lists: {staff: {file: lists/staff.txt}}\n",
)


def addresses(number: int) -> str:
    return "".join(f"user{n}@a.example\n" for n in range(number))


def reload(staff: str, previous: Ruleset | None, text: str = FILE) -> Ruleset:
    files = reader({NAME: text, "lists/staff.txt": staff})
    return load(NAME, files, previous=previous)


def entries(ruleset: Ruleset) -> int:
    sources: dict[str, ListSource] = {one.name: one for one in ruleset.file_lists}
    return len(sources["staff"].entries)


def test_a_list_is_read_beside_its_file() -> None:
    text = FILE
    files = reader({"rules/a.yaml": text, "rules/lists/staff.txt": "a@a.example\n"})
    ruleset = load("rules/a.yaml", files)
    assert ruleset.files == ("rules/a.yaml", "rules/lists/staff.txt")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [(10, 8, 8), (10, 7, 10), (10, 1, 10), (10, 0, 10), (10, 20, 20), (3, 2, 3)],
)
def test_a_list_that_shrank_too_much_is_not_taken(
    old: int, new: int, wanted: int
) -> None:
    first = reload(addresses(old), None)
    second = reload(addresses(new), first)
    assert entries(second) == wanted
    kept = wanted == old != new
    assert [one.slug for one in second.warnings] == ["list-shrank"] * kept


def test_a_list_that_was_kept_is_compared_again() -> None:
    ruleset = reload(addresses(10), None)
    for number in (7, 7, 8):
        ruleset = reload(addresses(number), ruleset)
    assert entries(ruleset) == 8


def test_a_list_from_another_file_is_another_list() -> None:
    first = reload(addresses(10), None)
    text = FILE.replace("staff.txt", "new.txt")
    files = reader({NAME: text, "lists/new.txt": addresses(1)})
    assert entries(load(NAME, files, previous=first)) == 1


def test_the_share_is_a_key_of_the_list() -> None:
    text = FILE.replace("staff.txt}", "staff.txt, max_shrink: 50%}")
    first = reload(addresses(10), None, text)
    assert entries(reload(addresses(5), first, text)) == 5
    assert entries(reload(addresses(4), first, text)) == 10


def test_the_old_list_still_decides() -> None:
    second = reload("", reload("old@a.example\n", None))
    assert second.policies[0].rcpt_to[0].match.tests[0].exact == {  # type: ignore[attr-defined]
        ("old", "a.example")
    }


@pytest.mark.parametrize("text", ["", "# nobody\n", "\n\n"])
def test_an_empty_file_at_first_is_an_error(text: str) -> None:
    assert slugs(FILE, **{"lists/staff.txt": text}) == ["empty-list"]


@pytest.mark.parametrize(
    ("lists", "slug"),
    [
        ("{own: [a@a.example]}", "bad-value"),
        ("{a.b: [a@a.example]}", "bad-value"),
        ("{a: {file: none.txt}}", "cannot-read"),
        ("{a: {file: {}}}", "bad-type"),
        ("{a: {inline: []}}", "missing-value"),
        ("{a: {}}", "missing-key"),
        ("{a: {file: none.txt, inline: [a]}}", "key-not-allowed-here"),
        ("{a: [{}]}", "bad-type"),
        ("{a: staff.txt}", "bad-type"),
        ("{a: {inline: [a@a.example], max_shrink: 101%}}", "bad-value"),
        ("{a: {inline: [a@a.example], max_shrink: []}}", "bad-type"),
        ("[]", "bad-type"),
    ],
)
def test_a_bad_list_is_one_problem(lists: str, slug: str) -> None:
    assert slugs(rules(top=f"lists: {lists}\n")) == [slug]


def test_a_list_defined_in_two_files_is_told() -> None:
    more = "version: 1\nlists: {staff: [a@a.example]}\n"
    text = rules(top="include: more.yaml\nlists: {staff: [a@a.example]}\n")
    assert slugs(text, **{"more.yaml": more}) == ["duplicate-key"]


def test_a_list_that_cannot_be_read_is_told_once() -> None:
    """Its users are not told as well that it does not exist."""
    assert slugs(FILE) == ["cannot-read"]


@pytest.mark.parametrize("again", [False, True], ids=["at first", "on reload"])
def test_a_list_with_too_many_entries_is_told_once(
    monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Neither as empty, nor as one that shrank."""
    old = reload(addresses(10), None)
    monkeypatch.setattr(lists, "MAX_ENTRIES", 5)
    with pytest.raises(RulesError) as raised:
        reload(addresses(10), old if again else None)
    assert [one.slug for one in raised.value.problems] == ["file-too-large"]


def test_inline_lists_are_read() -> None:
    for form in ("[a@a.example]", "{inline: [a@a.example]}"):
        text = FILE.replace("{file: lists/staff.txt}", form)
        assert load(NAME, reader({NAME: text})).file_lists == ()
