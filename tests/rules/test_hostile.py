"""Whatever stands in a rule file, loading ends in rules or in problems, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import RulesError
from smtpguard.policy import check, load
from smtpguard.policy.files import read_file
from tests.policy.rulefiles import rules


RULES = Path(__file__).parents[2] / "rules"
GOOD = [RULES / "default.yaml", *sorted((RULES / "examples").glob("*.yaml"))]
TEXTS = [path.read_text(encoding="utf-8") for path in GOOD]
LIST = (RULES / "examples" / "lists" / "staff.txt").read_text(encoding="utf-8")

SNIPPETS = st.sampled_from(
    [
        *(
            "",
            " ",
            "\n",
            "\t",
            ":",
            "- ",
            "[",
            "]",
            "{",
            "}",
            ",",
            '"',
            "'",
            "#",
            "&a ",
        ),
        *(
            "*a",
            "!!x ",
            "~",
            "null",
            "true",
            "*",
            "@own",
            "@",
            "<>",
            "regex:(",
            "{a,b}",
        ),
        *(
            "match",
            "action",
            "deny",
            "rewrite",
            "to: ",
            "when: ",
            "unless: {tls: true}",
        ),
        *(
            "10.0.0.0/8",
            "50MiB",
            "5m",
            "550 5.7.1 No",
            "450 x",
            "|\n",
            ">\n",
            "? ",
            "---",
        ),
        *("\x00", "\u202e", "\U0001f600", "\ud800", "9" * 400, "a" * 5000),
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        text = text[:start] + draw(SNIPPETS | st.text(max_size=5)) + text[end:]
    return text


def read_mutated(text: str, name: str) -> str:
    return LIST if name.endswith(".txt") else text


@given(mutated())
def test_a_mutated_file_gives_rules_or_problems(text: str) -> None:
    problems = check("r.yaml", lambda name: read_mutated(text, name))
    lines = text.split("\n")
    for one in problems:
        assert one.file in ("r.yaml", "lists/staff.txt")
        assert 1 <= one.line <= len(lines) + 1
        assert str(one).isprintable()
    if not any(one.severity == "error" for one in problems):
        load("r.yaml", lambda name: read_mutated(text, name))
        return
    with pytest.raises(RulesError):
        load("r.yaml", lambda name: read_mutated(text, name))


HOSTILE = {
    "unknown keys": rules(*(f"key{n}: 1" for n in range(100_000))),
    "unknown conditions": rules(
        "mail_from: ["
        + ", ".join(
            f'{{match: "*", action: deny, when: {{c{n}: 1}}}}' for n in range(1000)
        )
        + "]"
    ),
    "unknown lists": rules(
        "mail_from: ["
        + ", ".join(f'{{match: "@l{n}x", action: deny}}' for n in range(1000))
        + "]",
        top="lists: {"
        + ", ".join(f"l{n}y: [a@a.example]" for n in range(5000))
        + "}\n",
    ),
    "braces": rules(
        "mail_from: ["
        + ", ".join(
            f'{{match: ["{"{a,b}" * 8}@a{n}.example"], action: deny}}'
            for n in range(999)
        )
        + "]"
    ),
    "expressions": rules(
        "mail_from: ["
        + ", ".join(
            f'{{match: ["regex:(x{{1,100}}){{1,9}}{n}@.*"], action: deny}}'
            for n in range(1000)
        )
        + "]"
    ),
    "nesting": "a: " + "[" * 10_000,
    "mapping nesting": "{a: " * 10_000,
    "one long text": rules(f"name: {'a' * 3_000_000}"),
    "one long key": rules(f"{'a' * 900}: 1"),
    "many rules": rules(
        rcpt_to=", ".join(["{match: a@a.example, action: deny}"] * 100_000)
    ),
    "many documents": "--- a\n" * 100_000,
    "comments": "# x\n" * 900_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_bounded_time(name: str) -> None:
    started = time.perf_counter()
    problems = check("r.yaml", lambda _name: HOSTILE[name])
    assert any(one.severity == "error" for one in problems)
    assert len(problems) <= 101
    assert time.perf_counter() - started < 20


def test_a_list_file_of_blank_lines_is_read_in_bounded_memory() -> None:
    text = rules(
        rcpt_to='{match: "@l", action: allow}, {match: "*", action: deny}',
        top="lists: {l: {file: l.txt}}\n",
    )
    blank = "\n" * 3_000_000
    problems = check("r.yaml", lambda name: blank if name == "l.txt" else text)
    assert [one.slug for one in problems] == ["empty-list"]


def test_a_binary_file_is_no_rule_file(tmp_path: Path) -> None:
    for octets in (b"\xff\xfev\x00e\x00r\x00", b"\x7fELF\x02\x01", bytes(100)):
        path = tmp_path / "r.yaml"
        path.write_bytes(octets)
        slugs = [one.slug for one in check(str(path), read_file)]
        assert slugs in (["not-utf-8"], ["control-character"])


def test_a_folder_is_no_rule_file(tmp_path: Path) -> None:
    assert [one.slug for one in check(str(tmp_path), read_file)] == ["cannot-read"]
