"""Waiting."""

from __future__ import annotations

from smtpguard.dialogue import events
from smtpguard.dialogue.waits import Latch


def test_a_latch_holds_the_last_answer_until_it_is_cleared() -> None:
    latch: Latch[events.Opened] = Latch()
    assert not latch.is_set
    latch.value = events.Opened("refused")
    assert latch.is_set
    latch.clear()
    assert not latch.is_set
    assert latch.value is None
