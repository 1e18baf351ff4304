from __future__ import annotations

import mmap

import pytest

from smtpguard.mime import Span


def test_a_span_is_half_open() -> None:
    assert len(Span(2, 5)) == 3
    assert Span(2, 5).of(b"0123456") == b"234"


def test_a_span_of_a_mapped_file_is_octets() -> None:
    with mmap.mmap(-1, 4) as mapped:
        mapped.write(b"abcd")
        assert Span(1, 3).of(mapped) == b"bc"


@pytest.mark.parametrize(
    ("inner", "covered"),
    [
        (Span(2, 5), True),
        (Span(3, 4), True),
        (Span(5, 5), True),
        (Span(1, 3), False),
        (Span(4, 6), False),
    ],
)
def test_a_span_covers_what_lies_wholly_inside(inner: Span, *, covered: bool) -> None:
    assert Span(2, 5).covers(inner) == covered


def test_an_empty_span_is_false_and_order_is_by_place() -> None:
    assert not Span(3, 3)
    assert sorted([Span(3, 4), Span(1, 9), Span(1, 2)]) == [
        Span(1, 2),
        Span(1, 9),
        Span(3, 4),
    ]
