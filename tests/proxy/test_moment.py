"""Rules that are asked for anew each time."""

from __future__ import annotations

import pytest

from smtpguard.model.decider import Decider
from smtpguard.proxy.moment import NobodyOnDutyError, RulesOfTheMoment
from tests.proxy.fakes import AllowAll, new_session


def test_each_question_goes_to_who_answers_now() -> None:
    first, second = AllowAll(), AllowAll()
    now = [first]
    rules: Decider = RulesOfTheMoment(lambda: now[0])
    session = new_session()
    assert rules.connect(session) is first.settings
    assert rules.begin(session) is first
    now[0] = second

    assert rules.connect(session) is second.settings
    assert rules.begin(session) is second
    assert rules.helo(session) == second.helo(session)
    assert rules.trusted(session.client) is second.trusts
    assert rules.block(session, "r:1", "a.1") == "a.1: blocked by r:1"


def test_nobody_to_ask_is_an_error_and_no_answer() -> None:
    def nobody() -> Decider:
        raise NobodyOnDutyError

    rules = RulesOfTheMoment(nobody)
    session = new_session()

    for ask in (rules.connect, rules.helo, rules.begin):
        with pytest.raises(NobodyOnDutyError):
            ask(session)
    with pytest.raises(NobodyOnDutyError):
        rules.trusted(session.client)
    with pytest.raises(NobodyOnDutyError):
        rules.block(session, "r:1", "a.1")
