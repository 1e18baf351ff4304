"""The client's leg."""

from __future__ import annotations

import pytest

from smtpguard.dialogue.client import ClientLeg


@pytest.mark.parametrize("state", ["reset", "in_tls", "dropped"])
def test_nothing_is_said_to_a_client_that_cannot_or_shall_not_hear(state: str) -> None:
    leg = ClientLeg()
    assert not leg.deaf
    setattr(leg, state, True)
    assert leg.deaf


def test_a_half_closed_client_still_hears() -> None:
    assert not ClientLeg(finished=True).deaf
