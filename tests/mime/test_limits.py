from __future__ import annotations

from smtpguard.mime import Limits, Span
from smtpguard.mime.limits import MAX_DECODED_NESTING, Budget


TEXT = b"QUJDREVGR0hJSktM"  # twelve octets once decoded


def budget(decoded: int) -> Budget:
    return Budget(Limits(decoded=decoded))


def test_what_is_decoded_is_paid_for() -> None:
    left = budget(24)
    span = Span(0, len(TEXT))
    assert left.decode("base64", TEXT, span) == b"ABCDEFGHIJKL"
    assert left.decode("base64", TEXT, span) == b"ABCDEFGHIJKL"
    assert left.decode("base64", TEXT, span) is None


def test_what_is_too_much_costs_nothing() -> None:
    left = budget(12)
    assert left.decode("7bit", TEXT, Span(0, 13)) is None
    assert left.decode("base64", TEXT, Span(0, 16)) == b"ABCDEFGHIJKL"


def test_nesting_is_counted_down_and_up_again() -> None:
    left = budget(1000)
    span = Span(0, len(TEXT))

    def descend(level: int) -> int:
        if left.decode("base64", TEXT, span) is None:
            return level
        with left.nested():
            return descend(level + 1)

    assert descend(0) == MAX_DECODED_NESTING
    assert left.decode("base64", TEXT, span) is not None


def test_parts_and_fields_start_at_their_limits() -> None:
    left = Budget(Limits(parts=7, fields=9))
    assert (left.parts, left.fields) == (7, 9)
