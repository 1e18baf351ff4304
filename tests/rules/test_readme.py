"""rules/README.md names everything that the rule language knows, and nothing else."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from smtpguard.model.settings import Deadlines
from smtpguard.policy import check, document, rulereader, yamlsource
from smtpguard.policy.actions import LISTS
from smtpguard.policy.conditions import CONDITIONS
from smtpguard.policy.problems import SLUGS
from tests.policy.rulefiles import NAME, loaded, reader, rules


README = (Path(__file__).parents[2] / "rules" / "README.md").read_text(encoding="utf-8")
CODE = set(re.findall(r"`([^`\n]+)`", README))


def names_in(schema: object) -> set[str]:
    """Return the keys of a schema and of all that is in it."""
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        for value in schema.values():
            found |= names_in(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= names_in(value)
    return found


def test_every_key_is_documented() -> None:
    words = set(re.findall(r"[a-z0-9_]+", " ".join(CODE)))
    assert names_in(document.ROOT.schema()) - words == set()


def test_every_condition_is_documented_with_the_lists_that_know_it() -> None:
    rows = dict(
        re.findall(r"^\| `([a-z_]+)` \| .* \| ([^|]+) \|$", README, re.MULTILINE)
    )
    spec = {one.name: one for one in LISTS}
    for name in CONDITIONS:
        knowing = {one for one in spec if name in spec[one].conditions}
        wanted = {
            "all": set(spec),
            "all but helo": set(spec) - {"helo"},
        }.get(rows[name], set(rows[name].split(", ")))
        assert knowing == wanted, name


def test_every_action_is_documented_with_its_lists() -> None:
    section = README.partition("### Actions")[2].partition("### Side actions")[0]
    rows = dict(
        re.findall(r"^\| `([a-z]+)` \| ([^|]+) \| .* \|$", section, re.MULTILINE)
    )
    every = {str(action) for one in LISTS for action in one.actions}
    assert rows.keys() == every
    for action, where in rows.items():
        lists = {one.name for one in LISTS if action in map(str, one.actions)}
        wanted = (
            {one.name for one in LISTS} if where == "all" else set(where.split(", "))
        )
        assert lists == wanted, action


def refusal(name: str, action: str) -> str:
    rule = f'{{match: "*", action: {action}}}'
    text = rules(rcpt_to=rule) if name == "rcpt_to" else rules(f"{name}: [{rule}]")
    return check(NAME, reader({NAME: text}))[0].slug


def test_an_action_is_refused_by_the_slug_that_is_documented() -> None:
    told = re.search(r"is `\[([a-z-]+)\]`: quarantine in rcpt_to, tag ", README)
    assert told
    for spec in LISTS:
        assert refusal(spec.name, "tag") == told[1]
        assert refusal(spec.name, "notify") == told[1]
    assert refusal("rcpt_to", "quarantine") == told[1]


def test_every_slug_is_documented_with_its_meaning() -> None:
    section = README.partition("## Problems")[2]
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", section, re.MULTILINE))
    assert rows == SLUGS


def test_every_deadline_is_documented_with_its_default() -> None:
    row = next(line for line in README.split("\n") if line.startswith("| `deadlines`"))
    told = dict(re.findall(r"`([a-z_]+)` ([0-9]+(?:ms|s|m))", row))
    lines = ", ".join(f"{name}: {value}" for name, value in told.items())
    text = rules(f"session: {{deadlines: {{{lines}}}}}")
    assert told.keys() == {field.name for field in fields(Deadlines)}
    assert check(NAME, reader({NAME: text})) == ()
    assert loaded(text).policies[0].settings.deadlines == Deadlines()


def test_the_limits_are_documented() -> None:
    limits = (
        f"{yamlsource.MAX_CHARACTERS:,} characters, {yamlsource.MAX_NODES:,} keys and "
        f"values, {yamlsource.MAX_DEPTH} levels, {rulereader.MAX_RULES:,} rules a list"
    )
    assert limits in README


def yaml_samples() -> list[str]:
    inline = re.findall(r"`(\{match: [^`]*\})`", README)
    blocks = re.findall(r"^    - (\{match: .*\})$", README, re.MULTILINE)
    return inline + blocks


@pytest.mark.parametrize("sample", yaml_samples())
def test_every_rule_in_the_text_loads(sample: str) -> None:
    text = rules(rcpt_to=f'{sample}, {{match: "*", action: deny}}')
    assert check(NAME, reader({NAME: text})) == ()


def test_the_first_problem_shown_is_a_real_one() -> None:
    line = next(
        one for one in README.split("\n") if one.startswith("    rules/inbound")
    )
    rule = '{name: no-executables, match: "*.exe", action: stip}'
    text = rules(f'filenames: [{rule}, {{match: "*", action: allow}}]')
    told = str(check(NAME, reader({NAME: text}))[0])
    assert told.partition(" error: ")[2] == line.partition(" error: ")[2]
