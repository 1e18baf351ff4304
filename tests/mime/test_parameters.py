from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime.parameters import (
    Reading,
    parse_structured,
    readings,
    unquoted,
    without_comments,
)


def values(text: bytes) -> dict[str, bytes]:
    return {item.name: item.value for item in parse_structured(text).parameters}


def defects(text: bytes) -> set[str]:
    return {str(kind) for kind in parse_structured(text).defects}


@pytest.mark.parametrize(
    ("text", "token", "parameters"),
    [
        (b"text/plain", b"text/plain", {}),
        (b"", b"", {}),
        (b"text/plain; charset=utf-8", b"text/plain", {"charset": b"utf-8"}),
        (b"text/plain;charset=utf-8;", b"text/plain", {"charset": b"utf-8"}),
        (b"a/b; X=1; y = 2 ;; z=3", b"a/b", {"x": b"1", "y": b"2", "z": b"3"}),
        (b'a/b; n="x; y=z"', b"a/b", {"n": b"x; y=z"}),
        (b'a/b; n="a\\"b\\\\c"', b"a/b", {"n": b'a"b\\c'}),
        (b"a/b (c); n=x", b"a/b", {"n": b"x"}),
        (b"(c (d) ; \\) e) a/b; n=x", b"a/b", {"n": b"x"}),
        (b"a / b; n=x", b"a/b", {"n": b"x"}),
        (b'a/b; n=""', b"a/b", {"n": b""}),
        (b"a/b; n=", b"a/b", {"n": b""}),
    ],
)
def test_values_are_taken_apart(
    text: bytes, token: bytes, parameters: dict[str, bytes]
) -> None:
    assert parse_structured(text).token == token
    assert values(text) == parameters
    assert defects(text) == set()


@pytest.mark.parametrize(
    ("text", "parameters", "kind"),
    [
        (b"a/b; n=x (c)", {"n": b"x"}, "comment-in-parameter"),
        (b"a/b; n (c)=x", {"n": b"x"}, "comment-in-parameter"),
        (b"a/b; n=x y", {"n": b"x y"}, "unquoted-specials"),
        (b"a/b; n=x/y", {"n": b"x/y"}, "unquoted-specials"),
        (b'a/b; n="x" y', {"n": b"x"}, "malformed-parameter"),
        (b"a/b; n", {}, "malformed-parameter"),
        (b"a/b; =x", {}, "malformed-parameter"),
        (b"a/b n=x", {"n": b"x"}, "malformed-parameter"),
        (b"a/b, n=x", {"n": b"x"}, "malformed-parameter"),
        (b'"a/b"; n=x', {"n": b"x"}, "malformed-parameter"),
        (b"a/b; n=x; n=y", {"n": b"y"}, "duplicate-parameter"),
        (b'a/b; n="x; m=y', {"n": b"x", "m": b"y"}, "unterminated-quote"),
        (b"a/b; n=x(; m=y", {"n": b"x(", "m": b"y"}, "unterminated-comment"),
    ],
)
def test_broken_values_are_read_and_told(
    text: bytes, parameters: dict[str, bytes], kind: str
) -> None:
    assert values(text) == parameters
    assert kind in defects(text)


@pytest.mark.parametrize(
    "text", [b"n=x", b'n = "x"', b"n=x; m=y", b"n=x (c)", b"(c) n=x"], ids=repr
)
def test_a_token_with_an_equals_sign_is_a_parameter(text: bytes) -> None:
    found = parse_structured(text)
    assert found.token == b""
    assert values(text)["n"] == b"x"
    assert "malformed-parameter" in defects(text)


def test_raw_values_keep_quotes_and_comments() -> None:
    (item,) = parse_structured(b'a/b; n = "x" (c) ').parameters
    assert (item.value, item.raw) == (b"x", b'"x" (c)')


def test_a_flood_of_parameters_is_cut() -> None:
    found = parse_structured(b"a/b" + b"; n=x" * 300)
    assert len(found.parameters) == 100
    assert "limit-parameters" in {str(kind) for kind in found.defects}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"n=plain", {(b"plain", "")}),
        (b"n*=utf-8'en'a%20b", {(b"a b", "utf-8")}),
        (b"n*=''a%20b", {(b"a b", "")}),
        (b"n*=a%20b", {(b"a b", ""), (b"a%20b", "")}),
        (b"n*0=a; n*1=b; n*2=c", {(b"abc", "")}),
        (b"n*1=b; n*0=a", {(b"ab", ""), (b"ba", "")}),
        (b"n*0*=utf-8''a%20; n*1=%20; n*2*=%62", {(b"a %20b", "utf-8")}),
        (b'n*0="a b"; n*1="c"', {(b"a bc", "")}),
        (b"n*0=a; n*2=c", {(b"ac", "")}),
        (b"n=x; n*=utf-8''y", {(b"x", ""), (b"y", "utf-8")}),
        (b"n=x; n=y", {(b"x", ""), (b"y", "")}),
        (b"n*00001=b; n*00000=a", {(b"ab", ""), (b"ba", "")}),
        (b"n*00010*=%62; n*9=a", {(b"ab", ""), (b"ba", "")}),
        (b"n*0=a; n*" + b"9" * 9000 + b"=b", {(b"ab", "")}),
        (b"m=x", set()),
        (b"n*x=1", set()),
    ],
)
def test_every_reading_of_a_parameter_is_found(
    text: bytes, expected: set[tuple[bytes, str]]
) -> None:
    """RFC 2231 3 and 4, and what is made of it."""
    found = readings(parse_structured(b"a/b; " + text).parameters, "n")
    assert {(item.octets, item.charset) for item in found} == expected


def test_plain_readings_come_first() -> None:
    found = readings(parse_structured(b"a/b; n*0=x; n=y").parameters, "n")
    assert found == (Reading(b"y"), Reading(b"x", plain=False))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a", b"a"),
        (b"(x)a", b" a"),
        (b"a(x(y))b", b"a b"),
        (b'"(x)"', b'"(x)"'),
        (b"a(x", b"a(x"),
        (b'a"(x)', b'a"(x)'),
        (b"a;(x)b", b"a; b"),
        (b"(\\))a", b" a"),
    ],
)
def test_comments_are_taken_away(text: bytes, expected: bytes) -> None:
    assert without_comments(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b'"a"', b"a"), (b'"a\\"b"', b'a"b'), (b"a", b"a"), (b'"a', b"a"), (b'""', b"")],
)
def test_quotes_are_taken_away(text: bytes, expected: bytes) -> None:
    assert unquoted(text) == expected


PIECES = [
    b'"',
    b"\\",
    b"(",
    b")",
    b";",
    b"=",
    b"*",
    b"0",
    b"'",
    b"%41",
    b" ",
    b"n",
    b"/",
]


@given(st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_nothing_raises(text: bytes) -> None:
    found = parse_structured(text)
    for item in readings(found.parameters, "n"):
        assert isinstance(item.octets, bytes)
