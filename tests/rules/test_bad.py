"""Every broken rule file tells exactly its faults: place, text and slug.

Each file says in its first comments what it expects, ``# expect: LINE:COLUMN: SEVERITY:
TEXT [SLUG]``, with ``FILE:`` in front for a file it refers to.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smtpguard.errors import RulesError
from smtpguard.policy import check, load
from smtpguard.policy.files import read_file
from smtpguard.policy.problems import SLUGS


BAD = Path(__file__).parent / "bad"
FILES = sorted(BAD.glob("*.yaml"))
EXPECTATION = re.compile(r"# expect: (files/[^:]+:)?(.*)")

# What no file of reasonable size shows; tests/policy has a test for each.
TOO_LARGE_TO_SHOW = {
    "file-too-large",
    "list-shrank",
    "too-many-problems",
    "too-many-rules",
}


def expected(path: Path) -> list[str]:
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    found = [EXPECTATION.fullmatch(line) for line in lines]
    texts = [f"{one[1] or f'{path.name}:'}{one[2]}" for one in found if one]
    return [
        text.replace("BAD/", f"{BAD}/").replace("SELF:", f"{path}:") for text in texts
    ]


def told(path: Path) -> list[str]:
    problems = check(str(path), read_file)
    return [str(problem).removeprefix(f"{BAD}/") for problem in problems]


def test_there_are_many_broken_files() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_a_broken_file_tells_exactly_its_faults(path: Path) -> None:
    assert expected(path)
    assert sorted(told(path)) == sorted(expected(path))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_only_a_file_without_errors_loads(path: Path) -> None:
    has_errors = any(": error: " in line for line in expected(path))
    if not has_errors:
        assert [str(one) for one in load(str(path), read_file).warnings]
        return
    with pytest.raises(RulesError) as raised:
        load(str(path), read_file)
    assert raised.value.problems == check(str(path), read_file)


def test_every_slug_is_shown_by_a_file() -> None:
    lines = [line for path in FILES for line in expected(path)]
    shown = {line.rpartition("[")[2].removesuffix("]") for line in lines}
    assert shown == SLUGS.keys() - TOO_LARGE_TO_SHOW
