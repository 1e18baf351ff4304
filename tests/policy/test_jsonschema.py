from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from smtpguard.policy.jsonschema import schema_text


RULES = Path(__file__).parents[2] / "rules"
BAD = Path(__file__).parents[1] / "rules" / "bad"
GOOD = [RULES / "default.yaml", *sorted((RULES / "examples").glob("*.yaml"))]

# Faults of shape, which the schema sees as well.
SHAPES = {
    *("unknown-key", "unknown-action", "action-not-allowed-here"),
    *("unknown-condition", "condition-not-allowed-here", "not-supported-yet"),
}


def expected_slugs(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    return set(re.findall(r"^# expect: \d+:.*\[([a-z0-9-]+)\]$", text, re.MULTILINE))


MISSHAPEN = [
    path
    for path in sorted(BAD.glob("*.yaml"))
    if expected_slugs(path) & SHAPES and not path.stem.startswith("yaml-")
]


@cache
def validator() -> jsonschema.Draft202012Validator:
    schema: dict[str, Any] = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_published_schema_is_what_the_documented_command_writes() -> None:
    """Else run it, as rules/README.md says."""
    readme = (RULES / "README.md").read_text(encoding="utf-8")
    command, target = re.findall(
        r"^    (\S*python -c .*) > (\S+)$", readme, re.MULTILINE
    )[0]
    program, *arguments = shlex.split(command)
    assert program == ".venv/bin/python"
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, check=True, timeout=60
    )
    assert (RULES.parent / target).read_bytes() == done.stdout


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_schema_takes_what_loads(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [error.message for error in validator().iter_errors(document)] == []


@pytest.mark.parametrize("path", MISSHAPEN, ids=lambda path: path.stem)
def test_the_schema_refuses_what_has_a_wrong_shape(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert not validator().is_valid(document)


def test_many_files_have_a_wrong_shape() -> None:
    assert len(MISSHAPEN) >= 15


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        ("version", 1, True),
        ("version", "1", True),
        ("version", 2, False),
        ("version", 1.5, False),
        ("version", None, False),
        ("version", [1], False),
        ("domains", [], True),
        ("domains", ["a.example"], True),
        ("domains", "a.example", False),
        ("lists", {"staff": ["a@a.example"]}, True),
        ("lists", {"own": ["a@a.example"]}, False),
        ("lists", {"a.b": ["a@a.example"]}, False),
        ("lists", {"a": {"file": "x", "max_shrink": "30%"}}, True),
        ("lists", {"a": {"file": "x", "max_shrink": "300%"}}, False),
        ("colour", "red", False),
    ],
)
def test_top_level_keys(key: str, value: object, valid: bool) -> None:
    rule = {"match": "*", "action": "deny"}
    document: dict[str, object] = {
        "version": 1,
        "policies": [{"name": "p", "rcpt_to": [rule]}],
    }
    assert validator().is_valid(document)
    assert validator().is_valid({**document, key: value}) == valid
