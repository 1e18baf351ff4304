from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.policy.quarantinereader import QuarantineSettings
from smtpguard.quarantine.retention import Held, to_purge
from tests.quarantine.making import NOW


DAY = 24 * 60 * 60.0


def held(name: str, days: float, size: int = 1, *, at_work: bool = False) -> Held:
    return Held(name, NOW - timedelta(days=days), size, at_work)


def settings(max_size: int = 1000) -> QuarantineSettings:
    return QuarantineSettings("q", max_size, 30 * DAY, 3 * DAY)


def test_what_is_old_goes_the_oldest_first() -> None:
    items = [held("a", 29.9), held("b", 30), held("c", 100), held("d", 31)]
    assert to_purge(items, settings(), NOW) == ["c", "d", "b"]


@pytest.mark.parametrize(
    ("size", "wanted"), [(300, []), (301, ["a"]), (450, ["a"]), (451, ["a", "b"])]
)
def test_beyond_nine_tenths_the_oldest_go(size: int, wanted: list[str]) -> None:
    items = [held("c", 4, size), held("a", 6, size), held("b", 5, size)]
    assert to_purge(items, settings(), NOW) == wanted


def test_what_is_young_stays_whatever_the_size() -> None:
    items = [held("a", 2.9, 10_000), held("b", 3, 10_000), held("c", 0, 10_000)]
    assert to_purge(items, settings(), NOW) == ["b"]


def test_what_somebody_is_at_work_on_stays() -> None:
    items = [held("a", 40, 10_000, at_work=True), held("b", 4, 10)]
    assert to_purge(items, settings(), NOW) == ["b"]


ITEMS = st.lists(
    st.builds(
        held,
        st.uuids().map(str),
        st.floats(0, 100),
        st.integers(0, 500),
        at_work=st.booleans(),
    ),
    max_size=20,
)


@given(ITEMS, st.integers(1, 3000))
def test_nothing_stays_that_had_to_go_and_nothing_goes_in_vain(
    items: list[Held], max_size: int
) -> None:
    gone = to_purge(items, settings(max_size), NOW)
    ages = {item.id: (NOW - item.kept_at).total_seconds() for item in items}
    free = [one for one in items if ages[one.id] >= 3 * DAY and not one.at_work]
    stay = [one for one in free if one.id not in gone]
    assert set(gone) <= {one.id for one in free}
    assert all(ages[one.id] < 30 * DAY for one in stay)
    left = sum(one.size for one in items if one.id not in gone)
    assert left <= 0.9 * max_size or not stay
    last = next((one for one in items if gone and one.id == gone[-1]), None)
    if last is not None:
        assert ages[last.id] >= 30 * DAY or left + last.size > 0.9 * max_size
