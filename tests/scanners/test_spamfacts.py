from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ScanError
from smtpguard.model.scan import Subject
from smtpguard.scanners.spamfacts import (
    MAX_NAME,
    MAX_SCORE,
    MAX_TOLD,
    VISIBLE,
    announced,
    believed_name,
    believed_score,
    escaped,
    escaped_path,
    told_ip,
)


ANY_TEXT = st.text(st.characters(exclude_categories=()))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mx.example.test", "mx.example.test"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("a\r\nb\0", "a%0D%0Ab%00"),
        ("100%", "100%25"),
        ("b\xfc", "b%C3%BC"),
        ("\ud800", "%5C%75%64%38%30%30"),
        ("", ""),
    ],
)
def test_all_but_visible_ascii_is_escaped(text: str, told: str) -> None:
    assert escaped(text) == told


@given(ANY_TEXT)
def test_what_is_told_is_visible_and_bounded(text: str) -> None:
    out = escaped(text * 100)
    assert VISIBLE | {"%"} >= set(out)
    assert len(out) <= MAX_TOLD


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", ""),
        ("a.b+c@example.test", "a.b+c@example.test"),
        ("a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]"),
        ("a,b@c@example.test", "a%2Cb%40c@example.test"),
        (".a@example.test", "%2Ea@example.test"),
        ("a...b.@example.test", "a%2E%2E.b%2E@example.test"),
        ("@example.test", "%22%22@example.test"),
        ('a" <b>@example.test', "a%22%20%3Cb%3E@example.test"),
        ("a\r\n@example.test", "a%0D%0A@example.test"),
    ],
)
def test_a_path_needs_no_quotes(path: str, told: str) -> None:
    assert escaped_path(path) == told


@pytest.mark.parametrize(
    "path", ["Postmaster", "a@", "a@b\r\n", "a@b c", "a@b\xfc.test", "x" * 5000 + "@b"]
)
def test_a_path_that_is_no_mailbox_is_not_told(path: str) -> None:
    assert escaped_path(path) is None


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_any_path_is_told_as_words(path: str) -> None:
    told = escaped_path(f"{path}@example.test")
    assert told is not None
    assert told.isascii()
    assert told.isprintable()
    assert not set(told) & set('"(),:;<>\\ ')


@pytest.mark.parametrize("octets", [b"", b"1234", b"123456", b"12345" * 2])
def test_other_octets_than_announced_are_an_error(octets: bytes) -> None:
    def chunks() -> Iterator[bytes]:
        return (octets[i : i + 1] for i in range(len(octets)))

    with pytest.raises(ScanError):
        list(announced(Subject(chunks, 5, "")))
    exact = Subject(chunks, len(octets), "")
    assert b"".join(announced(exact)) == octets


@pytest.mark.parametrize(
    ("client", "ip"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("", ""),
        ("mx.example.test", ""),
        ("192.0.2.1\r\nX: y", ""),
    ],
)
def test_a_client_is_an_address_or_unknown(client: str, ip: str) -> None:
    assert told_ip(client) == ip


@pytest.mark.parametrize("value", [0, -3, 7.5, MAX_SCORE, -MAX_SCORE])
def test_a_finite_number_is_a_score(value: float) -> None:
    assert believed_score(value) == value


@pytest.mark.parametrize(
    "value",
    [True, False, None, "5", [], {}, math.nan, math.inf, -math.inf, 1e300, 10**400],
    ids=repr,
)
def test_nothing_else_is_a_score(value: object) -> None:
    with pytest.raises(ScanError):
        believed_score(value)


@pytest.mark.parametrize("value", ["GTUBE", "add header", "x" * MAX_NAME])
def test_printable_ascii_is_a_name(value: str) -> None:
    assert believed_name(value) == value


@pytest.mark.parametrize(
    "value", ["", None, 5, True, ["A"], "A\n", "A\0", "\xc4", "x" * (MAX_NAME + 1)]
)
def test_nothing_else_is_a_name(value: object) -> None:
    with pytest.raises(ScanError):
        believed_name(value)
