from __future__ import annotations

import pytest

from smtpguard.policy import lists
from smtpguard.policy.addresses import Address
from smtpguard.policy.lists import Entry, Lists, parse_list
from smtpguard.policy.patterns import PatternError
from smtpguard.policy.problems import Sink
from smtpguard.policy.truth import Truth
from tests.policy.rulefiles import context, told


def parse(text: str) -> tuple[Entry, ...]:
    sink = Sink()
    found = parse_list(text, "l.txt", sink)
    assert found is not None
    assert sink.problems == ()
    return found


def test_a_list_file_has_one_entry_a_line() -> None:
    assert parse("a@a.example\n\n  *@b.example\t\n@c.example") == (
        Entry("a@a.example", 1, 1),
        Entry("*@b.example", 3, 3),
        Entry("@c.example", 4, 1),
    )


@pytest.mark.parametrize(
    ("line", "entries"),
    [
        ("# all", []),
        ("   # all", []),
        ("a@b.example # some", ["a@b.example"]),
        ("a@b.example\t# some", ["a@b.example"]),
        ("a#b@b.example", ["a#b@b.example"]),
        ("a#b@b.example #c", ["a#b@b.example"]),
        ("#", []),
    ],
)
def test_a_comment_begins_behind_a_blank(line: str, entries: list[str]) -> None:
    assert [one.text for one in parse(line)] == entries


def test_windows_files_are_read() -> None:
    found = parse("\ufeffa@a.example\r\nb@b.example\r\n")
    assert [one.text for one in found] == ["a@a.example", "b@b.example"]


def test_a_list_with_too_many_entries_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lists, "MAX_ENTRIES", 2)
    sink = Sink()
    assert len(parse_list("a@a\n#\nb@b\n", "l", sink) or ()) == 2
    assert parse_list("a@a\n#\nb@b\nc@c\n", "l", sink) is None
    assert [str(one) for one in sink.problems] == [
        'l:4:1: error: "l" holds more than 2 entries [file-too-large]'
    ]


def address(text: str) -> Address:
    local_part, _, domain = text.rpartition("@")
    return Address(local_part, domain)


def test_an_address_in_a_list_is_found() -> None:
    found = context(
        staff=["Anna@A.example", "*@b.example", "@c.example", "x*@d.example"]
    )
    test = found.lists.addresses("staff")
    known = ["anna@a.example", "q@b.example", "q@c.example", "xy@d.example"]
    unknown = ["bert@a.example", "q@b.c.example", "y@d.example"]
    assert [test.test(address(one)) for one in known] == [Truth.YES] * 4
    assert [test.test(address(one)) for one in unknown] == [Truth.NO] * 3
    assert told(found) == []


def test_a_list_is_built_once() -> None:
    found = context(staff=["a@a.example"])
    assert found.lists.addresses("staff") is found.lists.addresses("staff")
    assert found.lists.texts("staff") is found.lists.texts("staff")


def test_own_in_a_list_is_our_domains() -> None:
    found = context("own.example", staff=["*@own"])
    test = found.lists.addresses("staff")
    assert test.test(address("a@own.example")) is Truth.YES
    assert test.test(address("a@other.example")) is Truth.NO


def test_a_list_that_no_rule_uses_is_known() -> None:
    found = context(a=["a@a.example"], b=["*.exe"], c=["c@c.example"])
    found.lists.addresses("a")
    found.lists.texts("b")
    assert [one.name for one in found.lists.unused] == ["c"]


@pytest.mark.parametrize(
    "entry", ["anna", "a b@c.example", "@staff", "a\x01@b.example"]
)
def test_a_bad_entry_is_told_at_its_line(entry: str) -> None:
    found = context(staff=["ok@a.example", entry])
    found.lists.addresses("staff")
    assert [(one.file, one.line) for one in found.sink.problems] == [("lists", 2)]


def test_an_entry_has_a_longest_length() -> None:
    found = context(staff=["regex:" + "a" * 5000])
    found.lists.texts("staff")
    assert told(found) == ["bad-pattern"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stuff", r'did you mean "staff"\?$'),
        ("a.example", r'did you mean "\*@a\.example"\?$'),
        ("zebra", 'no list "@zebra"$'),
    ],
)
def test_an_unknown_list_is_refused(name: str, hint: str) -> None:
    with pytest.raises(PatternError, match=hint) as raised:
        context(staff=["a@a.example"]).lists.addresses(name)
    assert raised.value.slug == "unknown-list"


def test_the_braces_of_all_lists_together_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lists, "MAX_ALTERNATIVES", 10)
    found = context(staff=["{a,b,c,d}@a.example", "{a,b,c,d}@b.example"])
    found.lists.addresses("staff")
    assert told(found) == []
    with pytest.raises(PatternError, match="more than 10 texts"):
        found.lists.charge(3)


class CountedStr(str):
    """A text that counts how often it is compared with another."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedStr.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_fifty_thousand_entries_cost_what_one_does() -> None:
    """Comparisons are counted, not time: an address is looked up by its hash."""
    entries = [f"user{n}@host{n % 100}.example" for n in range(50_000)]
    entries += [f"*@domain{n}.example" for n in range(10_000)]
    test = context(staff=entries).lists.addresses("staff")
    assert len(test.exact) == 50_000
    assert len(test.domains) == 10_000
    assert test.pairs == ()
    CountedStr.compared = 0
    for text in ("user49999@host99.example", "x@domain9999.example", "x@none.example"):
        local_part, _, domain = text.rpartition("@")
        test.test(Address(CountedStr(local_part), CountedStr(domain)))
    assert CountedStr.compared < 20


def test_lists_start_empty() -> None:
    assert Lists(Sink()).unused == []
