from __future__ import annotations

import pytest

from smtpguard.model.contents import Entry, Fact
from smtpguard.model.decision import Action, Decision
from smtpguard.policy import PartFacts
from tests.policy.rulefiles import message, policy, problems, rules


ALLOW = '{match: "*", action: allow}'
EXE = Entry("tool.exe", ("tool.exe",), 544, "application/x-dosexec", frozenset())
PROGRAM = Entry(
    "a.zip!bin/run.dat",
    ("bin/run.dat",),
    10,
    "application/x-dosexec",
    frozenset({Fact.EXECUTABLE}),
)
NOTE = Entry("note.txt", ("note.txt",), 3, "text/plain", frozenset())


def zipped(
    *entries: Entry, name: str = "a.zip", facts: set[Fact] | None = None
) -> PartFacts:
    return PartFacts(
        "application/octet-stream",
        (name,),
        ("application/zip",),
        frozenset({Fact.ARCHIVE} | (facts or set())),
        entries,
    )


def judged(rule: str, part: PartFacts, where: str = "filenames") -> Decision:
    return policy(f"{where}: [{rule}, {ALLOW}]").part(part, message())


@pytest.mark.parametrize(
    ("inside", "part", "action"),
    [
        ("", zipped(EXE), "allow"),
        ("", zipped(NOTE, name="a.exe"), "strip"),
        (", inside: message", zipped(EXE), "allow"),
        (", inside: archives", zipped(EXE), "strip"),
        (", inside: archives", zipped(NOTE, EXE), "strip"),
        (", inside: archives", zipped(NOTE), "allow"),
        # Only what lies in it is asked about, not the archive itself.
        (", inside: archives", zipped(NOTE, name="a.exe"), "allow"),
        (", inside: [message, archives]", zipped(EXE), "strip"),
        (", inside: [message, archives]", zipped(NOTE, name="a.exe"), "strip"),
        (", inside: [message, archives]", zipped(NOTE), "allow"),
    ],
)
def test_inside_says_where_the_file_lies(
    inside: str, part: PartFacts, action: str
) -> None:
    said = judged(f'{{match: "*.exe", action: strip{inside}}}', part)
    assert str(said.action) == action


def test_names_in_archives_are_read_in_every_way() -> None:
    hidden = Entry("x", ("dir\\t\u202eool.exe. ",), 1)
    rule = '{match: "*.exe", inside: archives, action: strip}'
    assert judged(rule, zipped(hidden)).action is Action.STRIP


@pytest.mark.parametrize(
    ("facts", "action"),
    [
        (set(), "allow"),
        ({Fact.ENCRYPTED}, "deny"),
        ({Fact.MACRO, Fact.SIGNED}, "deny"),
        ({Fact.LIMIT}, "allow"),
    ],
)
def test_is_asks_for_one_of_several_facts(facts: set[Fact], action: str) -> None:
    said = judged("{is: [encrypted, macro], action: deny}", zipped(facts=facts))
    assert str(said.action) == action


def test_is_and_match_must_hold_for_the_same_file() -> None:
    rule = '{match: "*.exe", is: executable, inside: archives, action: deny}'
    assert judged(rule, zipped(EXE, PROGRAM)).action is Action.ALLOW
    rule = '{match: "*.dat", is: executable, inside: archives, action: deny}'
    assert judged(rule, zipped(EXE, PROGRAM)).action is Action.DENY


@pytest.mark.parametrize("fact", list(Fact))
def test_every_fact_can_be_asked_for(fact: Fact) -> None:
    assert judged(f"{{is: {fact}, action: drop}}", zipped(facts={fact})).action is (
        Action.DROP
    )


@pytest.mark.parametrize(
    ("rule", "action"),
    [
        ('{match: "application/zip", action: deny}', "deny"),
        ('{match: "application/zip", autodetect: true, action: deny}', "deny"),
        ('{match: "application/zip", autodetect: false, action: deny}', "allow"),
        (
            '{match: "application/octet-stream", autodetect: false, action: deny}',
            "deny",
        ),
        ('{match: "application/x-dosexec", action: deny}', "allow"),
        ('{match: "application/x-dosexec", inside: archives, action: deny}', "deny"),
        ('{match: "text/*", inside: archives, action: deny}', "allow"),
        # Nobody claims a type of a file in an archive.
        (
            '{match: "*/x-dosexec", inside: archives, autodetect: false, action: deny}',
            "allow",
        ),
    ],
)
def test_a_type_is_what_is_claimed_or_what_the_content_has(
    rule: str, action: str
) -> None:
    assert str(judged(rule, zipped(EXE), "content_types").action) == action


def test_each_type_of_a_polyglot_counts() -> None:
    part = PartFacts("image/gif", detected=("image/gif", "application/zip"))
    rule = '{match: "application/zip", action: deny}'
    assert judged(rule, part, "content_types").action is Action.DENY


def test_the_trace_names_what_matched() -> None:
    rule = '{match: "*.exe", inside: archives, action: strip}'
    assert judged(rule, zipped(NOTE, EXE)).reason == (
        '"tool.exe" in "a.zip" is "*.exe", inside archives'
    )
    said = judged("{is: [macro, encrypted], action: deny}", zipped(facts={Fact.MACRO}))
    assert said.reason == '"a.zip" is "*", encrypted or macro'
    said = judged('{match: "application/zip", action: deny}', zipped(), "content_types")
    assert said.reason == (
        '"application/octet-stream" (by content application/zip) is "application/zip"'
    )


def test_only_what_every_part_matches_ends_a_list() -> None:
    for last in (
        '{match: "*", is: macro, action: deny}',
        '{match: "*", inside: archives, action: deny}',
        "{is: macro, action: deny}",
    ):
        [told] = problems(rules(f"filenames: [{last}]"))
        assert "[no-fallthrough]" in told
    last = '{match: "*", inside: [message, archives], action: allow}'
    assert problems(rules(f"filenames: [{last}]")) == []


@pytest.mark.parametrize(
    ("rule", "looks"),
    [
        ('{match: "*.exe", action: deny}', False),
        ('{match: "*.exe", action: deny, message: "x"}', None),
        ("{is: macro, action: deny}", True),
        ('{match: "*.exe", inside: archives, action: deny}', True),
        ('{match: "*.exe", inside: message, action: deny}', False),
    ],
)
def test_a_policy_knows_whether_contents_must_be_looked_into(
    rule: str, looks: bool | None
) -> None:
    text = rules(f"filenames: [{rule}, {ALLOW}]")
    if looks is None:
        assert "[key-not-allowed-here]" in problems(text)[0]
    else:
        assert policy(f"filenames: [{rule}, {ALLOW}]").looks is looks
