"""One timer over wakeups that cannot be taken back."""

from __future__ import annotations

import pytest
from mitmproxy.proxy import events

from smtpguard.proxy.alarm import Alarm
from tests.proxy.playbook import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def alarm(clock: Clock) -> Alarm:
    return Alarm(clock)


def test_no_deadline_needs_no_wakeup(alarm: Alarm) -> None:
    assert list(alarm.set(None)) == []


@pytest.mark.parametrize(
    ("due", "delay"), [(1030.0, 30.0), (900.0, 0.01)], ids=["ahead", "past"]
)
def test_a_wakeup_comes_at_the_deadline(alarm: Alarm, due: float, delay: float) -> None:
    (wakeup,) = alarm.set(due)

    assert wakeup.delay == delay


@pytest.mark.parametrize(("second", "count"), [(1060.0, 0), (1030.0, 0), (1010.0, 1)])
def test_only_an_earlier_deadline_needs_another(
    alarm: Alarm, second: float, count: int
) -> None:
    assert len(list(alarm.set(1030.0))) == 1

    assert len(list(alarm.set(second))) == count


def test_a_wakeup_that_was_overtaken_takes_nothing_from_the_one_that_is_set(
    alarm: Alarm, clock: Clock
) -> None:
    """Else each old one would bring a new one, and they would grow in number."""
    (late,) = alarm.set(1030.0)
    (early,) = alarm.set(1010.0)
    clock.now = 1010.0
    assert alarm.is_due(events.Wakeup(early), 1010.0)
    assert len(list(alarm.set(1060.0))) == 1
    clock.now = 1030.0
    assert not alarm.is_due(events.Wakeup(late), 1060.0)

    assert list(alarm.set(1060.0)) == []


def test_a_deadline_that_moved_is_not_due_yet(alarm: Alarm, clock: Clock) -> None:
    (wakeup,) = alarm.set(1030.0)
    clock.now = 1030.0

    assert not alarm.is_due(events.Wakeup(wakeup), 1060.0)
    (following,) = alarm.set(1060.0)
    clock.now = 1060.0
    assert alarm.is_due(events.Wakeup(following), 1060.0)
    assert not alarm.is_due(events.Wakeup(following), None)
