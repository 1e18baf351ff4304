from __future__ import annotations

from datetime import datetime

import pytest

from smtpguard.policy.hours import parse_hours


# 2024-01-01 was a Monday.
def at(day: int, clock: str) -> datetime:
    hour, minute = clock.split(":")
    return datetime(2024, 1, 1 + day, int(hour), int(minute), 30)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "day", "clock", "wanted"),
    [
        ("mon-fri 08:00-18:00", 0, "08:00", True),
        ("mon-fri 08:00-18:00", 0, "07:59", False),
        ("mon-fri 08:00-18:00", 4, "17:59", True),
        ("mon-fri 08:00-18:00", 4, "18:00", False),
        ("mon-fri 08:00-18:00", 5, "12:00", False),
        ("MON 08:00-09:00", 0, "08:30", True),
        ("sat,sun", 5, "00:00", True),
        ("sat,sun", 6, "23:59", True),
        ("sat,sun", 0, "00:00", False),
        ("sat-mon", 0, "12:00", True),
        ("sat-mon", 1, "12:00", False),
        ("mon,wed-thu", 3, "12:00", True),
        ("mon,wed-thu", 1, "12:00", False),
        ("22:00-06:00", 2, "23:00", True),
        ("22:00-06:00", 2, "05:59", True),
        ("22:00-06:00", 2, "06:00", False),
        ("fri 22:00-06:00", 4, "21:59", False),
        ("fri 22:00-06:00", 4, "22:00", True),
        ("fri 22:00-06:00", 5, "05:59", True),
        ("fri 22:00-06:00", 4, "05:59", False),
        ("sun 22:00-06:00", 0, "01:00", True),
        ("18:00-24:00", 1, "23:59", True),
        ("18:00-24:00", 1, "00:00", False),
        ("00:00-24:00", 1, "12:00", True),
    ],
)
def test_a_time_of_the_week(text: str, day: int, clock: str, wanted: bool) -> None:
    assert parse_hours(text).holds(at(day, clock)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "monday", "mon-", "mon fri", "mon-fri08:00-18:00", "8:00-18:00"),
        *("mon ", " 08:00-18:00", "08:00", "25:00-26:00", "08:60-09:00", "24:00-06:00"),
        *("mon,,tue", "08:00-18:00 mon", "mon  08:00-18:00"),
    ],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'"mon-fri 08:00-18:00"'):
        parse_hours(text)


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(ValueError, match="end where they begin"):
        parse_hours("08:00-08:00")
