from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.policy.problems import Sink
from smtpguard.policy.yamlsource import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    Mapping,
    Node,
    Scalar,
    Sequence,
    compose,
)


def read(text: str) -> tuple[Node | None, list[str]]:
    sink = Sink()
    found = compose(text, "f", sink)
    return found, [str(one) for one in sink.problems]


def plain(node: Node | None) -> object:
    match node:
        case Scalar():
            return node.text
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key.text: plain(value) for key, value in node.pairs}
    return None


def test_nodes_hold_text_and_place() -> None:
    found, told = read('a: 1\nb:\n  - "x"\n  - {c: yes}\n')
    assert told == []
    assert plain(found) == {"a": "1", "b": ["x", {"c": "yes"}]}
    assert isinstance(found, Mapping)
    key, value = found.pairs[1]
    assert isinstance(value, Sequence)
    assert (key.mark.line, key.mark.column) == (2, 1)
    assert (value.items[1].mark.line, value.items[1].mark.column) == (4, 5)


def test_columns_count_characters_not_octets() -> None:
    found, _ = read("{ü: 1, ö: 2}")
    assert isinstance(found, Mapping)
    assert found.pairs[1][0].mark.column == 8


@pytest.mark.parametrize("text", ["a: no", "a: 1.20", "a: 010", "a: 12:30:00"])
def test_plain_scalars_stay_the_text_they_are(text: str) -> None:
    assert plain(read(text)[0]) == {"a": text.removeprefix("a: ")}


@pytest.mark.parametrize(
    ("text", "is_null"),
    [("~", True), ("null", True), ('"null"', False), ("'~'", False), ("no", False)],
)
def test_only_a_plain_null_is_null(text: str, is_null: bool) -> None:
    found, _ = read(text)
    assert isinstance(found, Scalar)
    assert found.is_null == is_null


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    found, told = read("\ufeffa: 1\n")
    assert (plain(found), told) == ({"a": "1"}, [])


def test_an_alias_bomb_is_told_and_never_expanded() -> None:
    """Nine levels of nine aliases stand for 3 GB in a parser that expands them."""
    lines = ["l0: &l0 [lol]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    found, told = read("\n".join(lines))
    assert isinstance(found, Mapping)
    assert all(line.endswith("[yaml-alias]") for line in told)
    assert len(told) == 10 + 9 * 9


def test_ten_thousand_levels_are_refused() -> None:
    said = f"nested more than {MAX_DEPTH} levels deep [too-deep]"
    line = f"f:1:{MAX_DEPTH + 1}: error: {said}"
    assert read("[" * 10_000 + "]" * 10_000) == (None, [line])


def test_the_deepest_allowed_level_is_read() -> None:
    found, told = read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert told == []
    assert isinstance(found, Sequence)


def test_too_many_nodes_are_refused() -> None:
    text = "[" + "a,\n" * (MAX_NODES + 10) + "]"
    found, told = read(text)
    assert found is None
    said = f"more than {MAX_NODES} keys and values; use list files"
    assert told == [f"f:{MAX_NODES}:1: error: {said} [file-too-large]"]


def test_a_text_that_is_too_long_is_not_parsed() -> None:
    found, told = read("#" * (MAX_CHARACTERS + 1))
    assert found is None
    assert told == [
        f"f:1:1: error: more than {MAX_CHARACTERS} characters [file-too-large]"
    ]


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\x7f", "\x85", "\u2028"])
def test_a_control_character_is_told_by_its_place(character: str) -> None:
    found, told = read(f"a: 1\nüb: {character}2\n")
    assert found is None
    assert told == [
        f"f:2:5: error: control character U+{ord(character):04X} [control-character]"
    ]


def test_a_lone_surrogate_is_refused() -> None:
    found, told = read("a: \udcff\n")
    assert found is None
    assert told == ["f:1:4: error: control character U+DCFF [control-character]"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b: c", "1:5: error: mapping values are not allowed in this context"),
        ("a: *", "needs quotes [yaml-syntax]"),
        ("a: *@own", "needs quotes [yaml-syntax]"),
        ("a: @own", "needs quotes [yaml-syntax]"),
        ("a:\n\t- b", "indent with spaces, not with tabs [yaml-syntax]"),
        ('a: "b', "found unexpected end of stream [yaml-syntax]"),
        ("a: `b`", "cannot start any token [yaml-syntax]"),
    ],
)
def test_a_syntax_error_is_told_with_a_hint(text: str, told: str) -> None:
    found, lines = read(text)
    assert found is None
    assert len(lines) == 1
    assert told in lines[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!str b", ["1:4: error: tag"]),
        ("a: !x [b]", ["1:4: error: tag"]),
        ("a: &x !y b", ["1:4: error: anchor", "1:4: error: tag"]),
        ("{<<: {a: b}}", ["1:2: error: merge key"]),
        ('{"<<": c}', []),
        ("{a: 1, a: 2}", ['1:8: error: "a" stands twice, first in line 1']),
        ("{[a]: 1}", ["1:2: error: a key must be a word"]),
        ("a: 1\n---\nb: 2", ["2:1: error: a second document"]),
        ("---\na: 1\n...\n", []),
    ],
)
def test_a_trick_is_told(text: str, told: list[str]) -> None:
    _, lines = read(text)
    assert len(lines) == len(told)
    for line, start in zip(lines, told, strict=True):
        assert line.startswith(f"f:{start}")


def test_a_duplicate_key_keeps_its_first_value() -> None:
    assert plain(read("{a: 1, a: 2, b: 3}")[0]) == {"a": "1", "b": "3"}


def test_windows_line_ends_are_read() -> None:
    assert plain(read("a: 1\r\nb: 2\r\n")[0]) == {"a": "1", "b": "2"}


def test_a_syntax_error_behind_the_last_line_has_a_place() -> None:
    found, told = read("a: [1,")
    assert found is None
    assert told[0].startswith("f:2:1: error: while parsing a flow")
    assert told[0].endswith("[yaml-syntax]")


@given(st.text(st.sampled_from("ab:-[]{},&*!#\"'|>%@?~ \n\t\\0"), max_size=60))
def test_any_text_gives_nodes_or_problems(text: str) -> None:
    found, told = read(text)
    assert found is not None or told
