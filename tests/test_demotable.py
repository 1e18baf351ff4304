from __future__ import annotations

import json
from dataclasses import replace

import pytest

from smtpguard.demomails import MAILS
from smtpguard.demotable import SENT, Result, json_lines, row, table_lines
from smtpguard.demoupstream import Arrived


MAIL = MAILS[0]
ARRIVED = Arrived("karl@partner.test", ("anna@demo.test",), MAIL.content, "TLSv1.3")


def result(*arrived: Arrived, told: str = "250 2.0.0 Queued") -> Result:
    return Result(MAIL, told, arrived, "TLSv1.3")


@pytest.mark.parametrize(
    ("arrived", "words"),
    [
        ((), "nothing"),
        ((ARRIVED,), "unchanged, to anna"),
        ((replace(ARRIVED, content=b"x"),), "edited, to anna"),
        (
            (replace(ARRIVED, rcpt_to=("a@x.test", "b@y.test")),),
            "unchanged, to a, b",
        ),
        ((ARRIVED, ARRIVED), "2 copies, unchanged, to anna"),
    ],
    ids=["nothing", "same", "edited", "two recipients", "twice"],
)
def test_arrival_in_a_few_words(arrived: tuple[Arrived, ...], words: str) -> None:
    assert result(*arrived).arrival == words


def test_legs_tell_both_versions() -> None:
    assert result(ARRIVED).legs == "TLSv1.3 / TLSv1.3"
    assert result().legs == "TLSv1.3 / -"
    assert Result(MAIL, "250 x").legs == "clear / -"


@pytest.mark.parametrize("columns", [40, 80, 100, 120, 150, 300])
def test_table_fits_into_the_terminal(columns: int) -> None:
    results = [Result(mail, "550 " + "x" * 200, (ARRIVED,)) for mail in MAILS]
    lines = list(table_lines(results, columns))
    assert len(lines) == len(MAILS) + 4
    assert max(map(len, lines)) <= max(columns, 74)


def test_table_shows_the_most_important_at_80_columns() -> None:
    lines = list(table_lines([result(ARRIVED)], 80))
    assert lines[2].split("  ")[0] == MAIL.title
    for shown in ("250 2.0.0 Queued", "unchanged, to anna", "1.3 / 1.3"):
        assert shown in lines[2]


def test_every_title_fits_its_column() -> None:
    assert [mail.title for mail in MAILS if len(mail.title) > SENT] == []


def test_what_is_not_as_expected_is_told_under_its_mail() -> None:
    bad = result()
    bad.problems = ["0 copies arrived, not 1", "an \x1b[31m escape"]
    lines = list(table_lines([result(ARRIVED), bad], 150))
    assert lines[4:6] == [
        "    NOT AS EXPECTED: 0 copies arrived, not 1",
        r"    NOT AS EXPECTED: an \x1b[31m escape",
    ]
    assert lines[-1] == "2 mails, 1 not as expected."


def test_a_cell_that_is_cut_says_so() -> None:
    assert row(["abcdef", "x"], [4, 3]) == "ab..  x"
    assert row(["abcd", "x"], [4, 3]) == "abcd  x"


def test_replies_do_not_reach_the_terminal_raw() -> None:
    """attacks P1."""
    lines = table_lines([result(told="250 \x1b[2J\u202e")], 150)
    assert all(line.isprintable() for line in lines)


def test_json_is_one_line_a_mail() -> None:
    (line,) = json_lines([result(ARRIVED)])
    assert json.loads(line) == {
        "sent": "a plain mail",
        "told": "250 2.0.0 Queued",
        "copies": 1,
        "arrived": "unchanged, to anna",
        "tls": "TLSv1.3 / TLSv1.3",
        "problems": [],
    }
