from __future__ import annotations

from itertools import product

import pytest

from smtpguard.policy.truth import Truth, all_of, any_of


YES, NO, UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN


def test_not_unknown_is_unknown() -> None:
    assert UNKNOWN.negate() is UNKNOWN


def test_not_turns_the_known_around() -> None:
    assert YES.negate() is NO
    assert NO.negate() is YES


@pytest.mark.parametrize(("fact", "truth"), [(True, YES), (False, NO), (None, UNKNOWN)])
def test_truth_of_a_fact(fact: bool | None, truth: Truth) -> None:
    assert Truth.of(fact) is truth


def test_truth_is_no_condition_of_an_if() -> None:
    with pytest.raises(TypeError):
        bool(UNKNOWN)


@pytest.mark.parametrize(
    ("truths", "wanted"),
    [
        ([], YES),
        ([YES, YES], YES),
        ([YES, UNKNOWN], UNKNOWN),
        ([UNKNOWN, NO], NO),
        ([NO, YES], NO),
    ],
)
def test_all_of(truths: list[Truth], wanted: Truth) -> None:
    assert all_of(truths) is wanted


@pytest.mark.parametrize(
    ("truths", "wanted"),
    [
        ([], NO),
        ([NO, NO], NO),
        ([NO, UNKNOWN], UNKNOWN),
        ([UNKNOWN, YES], YES),
    ],
)
def test_any_of(truths: list[Truth], wanted: Truth) -> None:
    assert any_of(truths) is wanted


def test_de_morgan_holds_with_what_is_not_known() -> None:
    for pair in product(Truth, repeat=2):
        negated = [one.negate() for one in pair]
        assert any_of(pair).negate() is all_of(negated)
