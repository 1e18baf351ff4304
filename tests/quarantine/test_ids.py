from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import QuarantineError
from smtpguard.quarantine.ids import checked, is_id, new_id
from tests.quarantine.making import NOW


def test_an_id_is_a_ulid() -> None:
    """The first ten digits of the specification's base 32 are the milliseconds."""
    assert is_id(new_id(NOW))
    number = 0
    for digit in new_id(NOW)[:10]:
        number = number * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(digit)
    assert number == 1795512973000


def test_ids_sort_as_their_times_do() -> None:
    later = [NOW + timedelta(milliseconds=n) for n in range(100)]
    made = [new_id(when) for when in later]
    assert made == sorted(made)


def test_ids_of_one_moment_have_nothing_else_in_common() -> None:
    made = {new_id(NOW)[10:] for _ in range(1000)}
    assert len(made) == 1000
    for at in range(16):
        assert len({one[at] for one in made}) > 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "../../../../etc/passwd0000",
        "/etc/passwd000000000000000",
        "01KAV0000000000000000000\0A",
        "01KAV0000000000000000000AAA",
        "81KAV0000000000000000000AA",
        "01kav0000000000000000000aa",
        "01KAV0000000000000000000A\n",
        "01KAV0000000000000000000AU",
        "\N{ARABIC-INDIC DIGIT ZERO}1KAV0000000000000000000AA",
    ],
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(QuarantineError, match="no id"):
        checked(text)


@given(st.text(max_size=30))
def test_no_id_can_lead_out_of_a_folder(text: str) -> None:
    if is_id(text):
        assert checked(text) == text
        assert text.isalnum()
        assert text.isascii()
