"""Waiting."""

from __future__ import annotations

from smtpguard.dialogue import events
from smtpguard.dialogue.waits import Latch


def test_a_latch_holds_the_last_answer_until_it_is_cleared() -> None:
    latch: Latch[events.Opened] = Latch()
    seen = [latch.is_set]
    for answer in (events.Opened("refused"), events.Opened()):
        latch.value = answer
        seen.append(latch.is_set)
    latch.clear()
    assert [*seen, latch.is_set] == [False, True, True, False]
