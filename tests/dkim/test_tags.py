from __future__ import annotations

import pytest

from smtpguard.dkim.result import NotVerifiedError, Result
from smtpguard.dkim.tags import decode_base64, parse_tags, without_signature, words


def test_blanks_around_names_and_values_do_not_count() -> None:
    assert parse_tags(b" a\r\n =\t1 2 ;b_1=x=y;\r\n ") == {b"a": b"1 2", b"b_1": b"x=y"}
    assert parse_tags(b"") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a=1;;b=2", "not a list of tags"),
        (b"a", "not a list of tags"),
        (b"=1", "not a list of tags"),
        (b"1a=1", "not a list of tags"),
        (b"a b=1", "not a list of tags"),
        (b"\xff=1", "not a list of tags"),
        (b"a=1; a=1", "a tag stands twice"),
    ],
)
def test_what_is_no_list_of_tags_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(NotVerifiedError, match=reason) as caught:
        parse_tags(text)
    assert caught.value.result is Result.PERMERROR


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        (b"D: a=1; b=xy\r\n z; c=2\r\n", b"D: a=1; b=; c=2\r\n"),
        (b"D: b = xy =; bh=1", b"D: b =; bh=1"),
        (b"D:a=1;\r\n b\r\n =xy\r\n", b"D:a=1;\r\n b\r\n ="),
        (b"D: z=b=1; bh=b", b"D: z=b=1; bh=b"),
    ],
)
def test_only_the_signature_is_taken_out_of_a_field(
    field: bytes, wanted: bytes
) -> None:
    assert without_signature(field) == wanted


def test_base64_may_be_folded_and_must_be_base64() -> None:
    assert decode_base64(b"YW\r\n Jj") == b"abc"
    for broken in (b"YWJ", b"Y*Jj", b"YWJj=", b"\xff"):
        with pytest.raises(NotVerifiedError, match="broken base64"):
            decode_base64(broken)


def test_words_have_no_case() -> None:
    assert words(b"From : TO:\r\n subject") == [b"from", b"to", b"subject"]
