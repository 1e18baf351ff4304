from __future__ import annotations

from smtpguard.blocking.strikes import Strikes


def test_so_many_within_the_time_are_enough() -> None:
    strikes = Strikes(3, 10.0)
    assert [strikes.add("a", now) for now in (0.0, 5.0, 10.0)] == [False, False, True]


def test_those_before_are_forgotten() -> None:
    strikes = Strikes(3, 10.0)
    assert not any(strikes.add("a", now) for now in (0.0, 5.0, 10.1, 15.1, 20.2))
    # Three within ten seconds: those of 15.1, 20.2 and now.
    assert strikes.add("a", 20.3)


def test_after_a_block_counting_begins_anew() -> None:
    strikes = Strikes(2, 10.0)
    assert [strikes.add("a", now) for now in (0, 1, 2, 3)] == [False, True, False, True]


def test_networks_are_counted_apart() -> None:
    strikes = Strikes(2, 10.0)
    assert not strikes.add("a", 0.0)
    assert not strikes.add("b", 0.0)
    assert strikes.add("a", 0.0)


def test_one_is_enough_where_one_is_the_limit() -> None:
    assert Strikes(1, 10.0).add("a", 0.0)


def test_a_flood_of_networks_is_bounded_and_the_busy_ones_stay() -> None:
    strikes = Strikes(3, 1e9, most=100)
    for number in range(10_000):
        strikes.add(f"n{number}", 0.0)
        if number % 50 == 0 and strikes.add("busy", 0.0):
            break
    assert number == 100
    assert len(strikes._known) <= 100
