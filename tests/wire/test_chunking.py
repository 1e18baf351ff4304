from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.wire.chunking import parse_bdat
from tests.wire.feeding import of_words


@pytest.mark.parametrize(
    ("argument", "size", "last"),
    [
        (b"86", 86, False),
        (b"86 LAST", 86, True),
        (b"0 LAST", 0, True),
        (b"0", 0, False),
        (b"10 last", 10, True),
        (b"10  LAST", 10, True),
        (b"007", 7, False),
        (b"99999999999", 99_999_999_999, False),
        (b"1099511627776", 2**40, False),
    ],
)
def test_F3_size_and_last_are_read(argument: bytes, size: int, last: bool) -> None:
    assert parse_bdat(argument) == (size, last)


@pytest.mark.parametrize(
    "argument",
    [
        *(b"", b"-1", b"+1", b"LAST", b"x", b"0x10", b"1.5", b"1e3", b"1_000"),
        *(b"10LAST", b"10 LAST x", b"10 LASTx", b"10 10", b" 10", b"\xd9\xa1", b"10\n"),
        *(b"1099511627777", b"9" * 20, b"9" * 5000),
    ],
    ids=lambda argument: repr(argument)[:24],
)
def test_F3_what_cannot_be_kept_in_step_closes(argument: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_bdat(argument)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (501, "5.5.4")
    assert caught.value.closes


@given(st.binary(max_size=30) | of_words(b"1", b"0", b" ", b"LAST", b"-", max_size=8))
def test_any_argument_is_a_chunk_or_a_protocol_error(argument: bytes) -> None:
    try:
        size, _ = parse_bdat(argument)
    except ProtocolError:
        return
    assert 0 <= size <= 2**40
