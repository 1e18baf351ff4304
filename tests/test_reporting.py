"""The trace and report of a judged message, where the pipeline's tests do not look."""

from __future__ import annotations

from typing import Any

from smtpguard.examining import Examined
from smtpguard.looking import Look
from smtpguard.mime import Message, parse
from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.model.decision import Action, Decision, TraceStep
from smtpguard.policy.facts import MessageFacts
from smtpguard.reporting import (
    MAX_ENTRIES,
    MAX_NAMES,
    MAX_TEXT,
    MAX_TRACE,
    report,
    trace,
)
from tests.judging import (
    TEXT_PART,
    lines,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    rules,
)


MESSAGE = parse(mixed(TEXT_PART, TEXT_PART))
ALLOW = Decision(Action.ALLOW, "filenames:1")
STEP = TraceStep("filenames:1", matched=True, reason="why", place="r.yaml:7")


def look(*entries: Entry, findings: tuple[Finding, ...] = ()) -> Look:
    contents = Contents("application/zip", frozenset(), entries, findings)
    return Look(7, "ab" * 32, contents, frozenset({Fact.ARCHIVE, Fact.MACRO}), {})


def told_of(
    message: Message, parts: dict[str, Decision], looks: dict[str, Look]
) -> dict[str, Any]:
    policy = make_pipeline(rules()).rules.policies[0]
    facts = MessageFacts(make_session(), make_envelope(), None, 1)
    return report(Examined(policy, facts, message, looks, parts, (), ()))


def test_a_part_tells_what_it_is_and_what_it_holds() -> None:
    entry = Entry("in.zip!a.exe", ("a.exe",), 5, "a/b", frozenset({Fact.MACRO}), "cd")
    looks = {"1.1": look(entry), "1.2": look()}
    told = told_of(MESSAGE, {"1.1": ALLOW, "1.2": ALLOW}, looks)
    container, first, _ = told["parts"]
    assert container["detected"] is None
    assert first["detected"] == "application/zip"
    assert (first["size"], first["sha256"]) == (7, "ab" * 32)
    assert first["facts"] == ["archive", "macro"]
    assert first["entries"] == [
        {
            "name": "in.zip!a.exe",
            "type": "a/b",
            "size": 5,
            "sha256": "cd",
            "facts": ["macro"],
        }
    ]


def test_long_names_keep_both_ends_and_names_are_few() -> None:
    """A mail of 45 MB of names would be a report of as much, in every recording."""
    fits, long = "f" * (MAX_TEXT - 4) + ".exe", "l" * 60_000 + ".exe"
    fields = [f"Content-Type: x/{'t' * 60_000}; name=last"]
    fields += [f"Content-Disposition: attachment; filename={n}" for n in (fits, long)]
    fields += [f"Content-Disposition: attachment; filename=n{n}" for n in range(20)]
    message = parse(mixed(lines(*fields, "") + b"x"))
    (part,) = [part for part in message.parts() if part.path == "1.1"]
    assert len(part.names) > MAX_NAMES
    entry = Entry(f"in.zip!{long}", (long,), 5)
    whole = told_of(message, {}, {"1.1": look(entry)})
    assert whole["findings"] == ["report:names-cut"]
    told = whole["parts"][1]
    assert len(told["names"]) == MAX_NAMES
    assert fits in told["names"]
    (cut,) = [name for name in told["names"] if name.startswith("l")]
    assert cut == "l" * 126 + "..." + "l" * 122 + ".exe"
    assert len(cut) == MAX_TEXT
    name = told["entries"][0]["name"]
    assert (name[:8], name[-5:], len(name)) == ("in.zip!l", "l.exe", MAX_TEXT)
    assert len(told["type"]) == MAX_TEXT


def test_a_finding_of_several_parts_is_told_once() -> None:
    odd = look(findings=(Finding("archive-damaged", "x"), Finding("archive-damaged")))
    told = told_of(MESSAGE, {"1.1": ALLOW, "1.2": ALLOW}, {"1.1": odd, "1.2": odd})
    assert told["findings"] == ["content:archive-damaged"]


def test_entries_of_a_whole_message_are_bounded_and_this_is_told() -> None:
    many = [Entry(f"{n}", (f"{n}",), 1) for n in range(MAX_ENTRIES - 1)]
    looks = {"1.1": look(*many), "1.2": look(*many)}
    told = told_of(MESSAGE, {"1.1": ALLOW, "1.2": ALLOW}, looks)
    counts = [len(part["entries"]) for part in told["parts"]]
    assert counts == [0, MAX_ENTRIES - 1, 1]
    assert told["findings"] == ["report:entries-cut"]
    told = told_of(MESSAGE, {"1.1": ALLOW, "1.2": ALLOW}, {"1.1": looks["1.1"]})
    assert told["findings"] == []


def test_steps_of_the_message_come_first_and_count() -> None:
    decisions = {"1.1": Decision(Action.ALLOW, trace=(STEP,) * 3)}
    steps = [TraceStep("headers:1", matched=True, reason="x")] * (MAX_TRACE - 1)
    told = list(trace(steps, decisions, decisions["1.1"]))
    assert told[:-1] == steps
    assert told[-1] == STEP
