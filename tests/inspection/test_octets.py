from __future__ import annotations

from smtpguard.inspection.octets import big, little


def test_numbers_are_read_in_both_orders() -> None:
    assert little(b"\xff\x01\x02\xff", 1, 2) == 0x0201
    assert big(b"\xff\x01\x02\xff", 1, 2) == 0x0102


def test_what_lies_beyond_the_end_counts_nothing() -> None:
    assert little(b"\x01\x02", 1, 4) == 2
    assert little(b"\x01", 5, 4) == 0
    assert big(b"\x01\x02", 1, 4) == 0
