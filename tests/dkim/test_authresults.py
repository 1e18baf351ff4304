from __future__ import annotations

import pytest

from smtpguard.dkim import Result, Verified, forged_results, results_value
from smtpguard.mime import parse


GOOD = Verified(Result.PASS, "", "signer.test", "sel", "rsa-sha256", "AbC+/123")
BAD = Verified(Result.PERMERROR, "not a list of tags", "", "", "", "")


def test_each_signature_is_told_with_what_tells_it_apart() -> None:
    assert results_value("mx.test", [GOOD, BAD]) == (
        b"mx.test; dkim=pass header.d=signer.test header.s=sel "
        b'header.a=rsa-sha256 header.b="AbC+/123"; '
        b'dkim=permerror reason="not a list of tags"'
    )


def test_a_name_that_is_no_token_is_quoted() -> None:
    assert results_value('m"x;(\\', [BAD]).startswith(b'"m?x;(?"; dkim=permerror')


def forged(*values: bytes, name: str = "mx.test") -> int:
    fields = b"".join(b"Authentication-Results:%s\r\n" % value for value in values)
    return len(list(forged_results(parse(fields + b"From: a@b\r\n\r\n"), name)))


@pytest.mark.parametrize(
    "value",
    [
        b" mx.test; dkim=pass",
        b"mx.test;dkim=pass",
        b"MX.Test.; none",
        b" mx.test 1; dkim=pass",
        b"\tmx.test\r\n ; dkim=pass",
        b" (a (nested \\) one) b) mx.test (c); dkim=pass",
        b' "mx.test"; dkim=pass',
        b' "m\\x.test"; dkim=pass',
        b" mx.test",
        b" mx.\r\n test; dkim=pass",
        b" =?utf-8?q?mx=2Etest?=; dkim=pass",
        b" evil mx.test; dkim=pass",
        b" ; mx.test; dkim=pass",
        b" (mx.test; dkim=pass",
    ],
)
def test_a_field_that_some_reader_takes_for_ours_is_forged(value: bytes) -> None:
    assert forged(value) == 1


@pytest.mark.parametrize(
    "value",
    [
        b" mx2.test; dkim=pass",
        b" mx.test.evil; dkim=pass",
        b" other.test; dkim=pass header.d=mx.test",
        b" (mx.test) other.test; none",
        b"",
        b" ((((",
    ],
)
def test_a_field_of_somebody_else_stays(value: bytes) -> None:
    assert forged(value) == 0


def test_an_internationalised_name_has_one_form() -> None:
    assert forged("mxü.test; none".encode(), name="xn--mx-yka.test") == 1


def test_endless_comments_take_no_time() -> None:
    assert forged(b"(" * 100_000, b"\\" * 99, b'"' * 5001, b"()" * 50_000) == 0
