from __future__ import annotations

import logging
import time

import pytest

from smtpguard import alarms
from smtpguard.alarms import raise_alarm


def test_of_each_kind_one_a_minute_is_logged_and_all_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    told: list[str] = []
    alarms.listen(told.append)
    raise_alarm("scanners", "one")
    raise_alarm("scanners", "two")
    raise_alarm("copies", "other")
    now[0] += alarms.EVERY
    raise_alarm("scanners", "three")
    assert told == [
        "scanners: one (1 so far)",
        "scanners: two (2 so far)",
        "copies: other (1 so far)",
        "scanners: three (3 so far)",
    ]
    del told[1]
    assert caplog.messages == [f"alarm: {one}" for one in told]
    assert {one.levelno for one in caplog.records} == {logging.ERROR}
    assert alarms.counts() == {"scanners": 3, "copies": 1}


def test_one_listens_at_most() -> None:
    first: list[str] = []
    second: list[str] = []
    alarms.listen(first.append)
    alarms.listen(second.append)
    raise_alarm("a", "b")
    alarms.listen(None)
    raise_alarm("c", "d")
    assert (len(first), len(second)) == (0, 1)
