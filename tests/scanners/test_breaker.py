"""The breaker as a table of states, and the memory of files that end scanners."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.scanners.breaker import (
    MAX_FAILURES,
    MAX_POISON,
    POISON_SECONDS,
    Breaker,
    Poison,
    State,
)


HERE, THERE = "127.0.0.1:3310", "127.0.0.1:3311"
A, B, C = "a" * 64, "b" * 64, "c" * 64


def breaker(*told: str) -> Breaker:
    """Return a breaker that was told so: words of ``tell``."""
    made = Breaker()
    for word in told:
        tell(made, word)
    return made


def tell(told: Breaker, word: str) -> None:
    match word:
        case "answered":
            told.answered()
        case "seen":
            told.seen()
        case "gone":
            told.failed("refused", is_gone=True)
        case _:
            told.failed("garbage", is_gone=False)


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("", State.CLOSED),
        ("answered", State.CLOSED),
        ("failed", State.CLOSED),
        ("failed failed", State.CLOSED),
        ("failed failed failed", State.OPEN),
        ("failed failed answered failed failed", State.CLOSED),
        ("failed failed answered failed failed failed", State.OPEN),
        ("gone", State.OPEN),
        ("failed gone", State.OPEN),
        ("seen", State.CLOSED),
        ("failed seen", State.CLOSED),
        ("gone seen", State.TRIAL),
        ("gone seen seen", State.TRIAL),
        ("gone seen failed", State.OPEN),
        ("gone seen gone", State.OPEN),
        ("gone seen failed seen", State.TRIAL),
        ("gone seen answered", State.CLOSED),
        ("gone seen answered failed failed", State.CLOSED),
        ("gone failed", State.OPEN),
        ("gone answered", State.CLOSED),
        ("gone answered seen", State.CLOSED),
    ],
)
def test_state_after_what_was_told(told: str, state: State) -> None:
    found = breaker(*told.split())
    assert found.state is state
    assert found.is_open == (state is State.OPEN)


@given(st.lists(st.sampled_from(["answered", "failed", "gone", "seen"])))
def test_an_answer_closes_it_whatever_was_before(told: list[str]) -> None:
    found = breaker(*told, "answered")
    assert (found.state, found.reason) == (State.CLOSED, "")
    for _ in range(MAX_FAILURES - 1):
        tell(found, "failed")
    assert not found.is_open


def test_the_reason_is_that_of_the_last_failure() -> None:
    assert breaker("gone", "seen", "failed").reason == "garbage"
    assert breaker("failed", "gone", "seen").reason == "refused"


# -- poison ----------------------------------------------------------------------------


def flying(*where_and_what: tuple[str, str]) -> Poison:
    poison = Poison()
    for address, digest in where_and_what:
        poison.begin(address, digest)
    return poison


def end_all(poison: Poison, *where_and_what: tuple[str, str]) -> None:
    """All of them tell of one death, one after the other."""
    for address, digest in where_and_what:
        poison.died(address, digest, 0)
        poison.end(address, digest, cleared=False)


def test_a_file_that_was_alone_is_guilty_for_an_hour() -> None:
    poison = flying((HERE, A))
    poison.died(HERE, A, 100.0)
    poison.end(HERE, A, cleared=False)
    assert poison.is_guilty(A, 100.0)
    assert poison.is_guilty(A, 99.9 + POISON_SECONDS)
    assert not poison.is_guilty(A, 100.0 + POISON_SECONDS)
    assert not poison.is_guilty(B, 100.0)


def test_one_file_in_two_mails_is_alone() -> None:
    poison = flying((HERE, A), (HERE, A))
    end_all(poison, (HERE, A), (HERE, A))
    assert poison.is_guilty(A, 1)


def test_of_several_nobody_is_guilty_at_once() -> None:
    poison = flying((HERE, A), (HERE, B), (HERE, C))
    end_all(poison, (HERE, B), (HERE, A), (HERE, C))
    assert not any(poison.is_guilty(one, 1) for one in (A, B, C))


def test_a_death_that_all_in_flight_tell_of_is_one() -> None:
    poison = flying((HERE, A), (HERE, B))
    poison.died(HERE, A, 0)
    poison.died(HERE, B, 0)
    poison.died(HERE, A, 0)
    assert not poison.is_guilty(A, 1)
    assert not poison.is_guilty(B, 1)


def test_who_is_there_at_the_second_death_is_guilty() -> None:
    poison = flying((HERE, A), (HERE, B))
    end_all(poison, (HERE, A), (HERE, B))
    for one in (A, C):
        poison.begin(HERE, one)
    end_all(poison, (HERE, C), (HERE, A))
    assert poison.is_guilty(A, 1)
    assert not poison.is_guilty(B, 1)
    assert not poison.is_guilty(C, 1)


def test_a_suspicion_ends_after_an_hour() -> None:
    poison = flying((HERE, A), (HERE, B))
    end_all(poison, (HERE, A), (HERE, B))
    for one in (A, C):
        poison.begin(HERE, one)
    poison.died(HERE, A, POISON_SECONDS)
    assert not poison.is_guilty(A, POISON_SECONDS)


def test_a_verdict_clears_a_suspect() -> None:
    poison = flying((HERE, A), (HERE, B))
    end_all(poison, (HERE, A), (HERE, B))
    poison.begin(HERE, A)
    poison.end(HERE, A, cleared=True)
    for one in (A, B):
        poison.begin(HERE, one)
    end_all(poison, (HERE, A), (HERE, B))
    assert not poison.is_guilty(A, 1)
    assert poison.is_guilty(B, 1)


def test_a_scan_without_a_verdict_clears_nobody() -> None:
    poison = flying((HERE, A), (HERE, B))
    end_all(poison, (HERE, A), (HERE, B))
    poison.begin(HERE, A)
    poison.end(HERE, A, cleared=False)
    for one in (A, C):
        poison.begin(HERE, one)
    end_all(poison, (HERE, A), (HERE, C))
    assert poison.is_guilty(A, 1)


def test_a_death_at_one_address_is_no_matter_of_those_at_another() -> None:
    poison = flying((HERE, A), (THERE, B))
    poison.died(HERE, A, 0)
    assert poison.is_guilty(A, 1)
    poison.died(THERE, B, 0)
    assert poison.is_guilty(B, 1)


def test_who_still_has_to_tell_of_one_death_is_not_there_at_the_next() -> None:
    poison = flying((HERE, A), (HERE, B))
    poison.died(HERE, A, 0)
    poison.end(HERE, A, cleared=False)
    poison.begin(HERE, C)
    poison.died(HERE, C, 0)
    assert poison.is_guilty(C, 1)
    assert not poison.is_guilty(B, 1)


def test_whoever_came_after_a_death_is_no_part_of_it() -> None:
    poison = flying((HERE, A), (HERE, B))
    poison.died(HERE, A, 0)
    poison.begin(HERE, C)
    poison.died(HERE, B, 0)
    assert not poison.is_guilty(C, 1)


def test_memory_is_bounded_and_the_oldest_are_forgotten_first() -> None:
    poison = Poison()
    digests = [f"{number:064x}" for number in range(MAX_POISON + 10)]
    for one in digests:
        poison.begin(HERE, one)
        poison.died(HERE, one, 0)
        poison.end(HERE, one, cleared=False)
    guilty = [one for one in digests if poison.is_guilty(one, 1)]
    assert guilty == digests[10:]
    assert not poison._flying
    assert not poison._fallen


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B, C]), st.sampled_from(["died", "ok", "given up"])
        )
    )
)
def test_whoever_never_was_there_at_a_death_is_never_guilty(
    scans: list[tuple[str, str]],
) -> None:
    poison = Poison()
    dead = set()
    for digest, end in scans:
        poison.begin(HERE, digest)
        if end == "died":
            poison.died(HERE, digest, 0)
            dead.add(digest)
        poison.end(HERE, digest, cleared=end == "ok")
    assert {one for one in (A, B, C) if poison.is_guilty(one, 1)} == dead
    assert not poison._flying
