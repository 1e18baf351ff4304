from __future__ import annotations

import pytest

from tests.policy.rulefiles import loaded, rules, slugs
from tests.quarantine.making import boxes


DELIVERY = "delivery: {host: mx.example, from: guard@own.example}\n"


def test_alarms_go_to_one_or_several() -> None:
    one, two = boxes("a@own.example", "b@own.example")
    top = DELIVERY + "alarm: {notify: a@own.example}\n"
    assert loaded(rules(top=top)).alarm == (one,)
    top = DELIVERY + "alarm: {notify: [a@own.example, b@own.example]}\n"
    assert loaded(rules(top=top)).alarm == (one, two)


def test_without_the_key_nobody_is_told() -> None:
    assert loaded(rules()).alarm == ()


@pytest.mark.parametrize(
    ("alarm", "slug"),
    [
        ("{}", "missing-key"),
        ("{notify: postmaster}", "bad-address"),
        ("{notify: []}", "missing-value"),
        ("{mail: a@own.example}", "unknown-key"),
        ("a@own.example", "bad-type"),
    ],
)
def test_a_bad_alarm_is_refused(alarm: str, slug: str) -> None:
    assert slug in slugs(rules(top=f"{DELIVERY}alarm: {alarm}\n"))
