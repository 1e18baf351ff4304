from __future__ import annotations

import pytest

from smtpguard.policy.problems import (
    MAX_PROBLEMS,
    MAX_SHOWN,
    Mark,
    Sink,
    TooManyProblemsError,
    did_you_mean,
    listed,
    shown,
)


def test_problems_come_by_place_and_once() -> None:
    sink = Sink()
    sink.error(Mark("b", 1, 1), "x", "bad-value")
    sink.error(Mark("a", 10, 1), "x", "bad-value")
    sink.warning(Mark("a", 2, 5), "y", "unused-list")
    sink.warning(Mark("a", 2, 5), "y", "unused-list")
    assert [str(one) for one in sink.problems] == [
        "a:2:5: warning: y [unused-list]",
        "a:10:1: error: x [bad-value]",
        "b:1:1: error: x [bad-value]",
    ]
    assert sink.errors == 2


def test_a_slug_that_is_not_documented_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        Sink().error(Mark("a"), "x", "no-such-slug")


def test_a_flood_of_errors_ends_loading() -> None:
    sink = Sink()
    for line in range(1, MAX_PROBLEMS + 1):
        sink.error(Mark("a", line), "x", "bad-value")
    assert len(sink.problems) == MAX_PROBLEMS
    for line in (7000, 8000):
        with pytest.raises(TooManyProblemsError):
            sink.error(Mark("a", line), "x", "bad-value")
    found = sink.problems
    assert len(found) == MAX_PROBLEMS + 1
    said = f"more than {MAX_PROBLEMS} problems, the others are not told"
    assert str(found[-1]) == f"a:7000:1: error: {said} [too-many-problems]"


def test_a_flood_of_warnings_is_cut() -> None:
    sink = Sink()
    for line in range(MAX_PROBLEMS + 50):
        sink.warning(Mark("a", line), "x", "unused-list")
    found = sink.problems
    assert len(found) == MAX_PROBLEMS + 1
    assert {one.severity for one in found} == {"warning"}
    assert found[-1].slug == "too-many-problems"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", '"a"'),
        ("a\r\nb\x1b", '"a\\r\\nb\\x1b"'),
        ("müller", '"müller"'),
        ("a\u202eb", '"a\\u202eb"'),
    ],
)
def test_a_value_is_shown_without_control_characters(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def test_a_long_value_is_cut() -> None:
    assert shown("x" * 1000) == '"' + "x" * (MAX_SHOWN - 3) + '..."'


def test_the_nearest_word_is_suggested() -> None:
    assert did_you_mean("stip", ["strip", "allow"]) == ', did you mean "strip"?'
    assert did_you_mean("zebra", ["strip", "allow"]) == ""


def test_a_place_reads_as_file_and_line() -> None:
    assert str(Mark("a.yaml", 3, 7)) == "a.yaml:3"


def test_words_are_listed_with_or() -> None:
    assert listed(["a", "b", "c"]) == "a, b or c"
    assert listed(["a"]) == "a"
