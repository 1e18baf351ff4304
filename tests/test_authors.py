from __future__ import annotations

import time

import pytest

from smtpguard.authors import _PLAIN, MAX_AUTHORS, _read, authors
from smtpguard.mime import Limits, parse


def read(*fields: str | bytes, limits: Limits | None = None) -> tuple[str, ...] | None:
    header = b"".join(
        (field if isinstance(field, bytes) else field.encode()) + b"\r\n"
        for field in fields
    )
    return authors(parse(header + b"\r\nbody\r\n", limits))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a@x.test", ["a@x.test"]),
        ("Anna <a@x.test>", ["a@x.test"]),
        ("<a@x.test>", ["a@x.test"]),
        ("a@x.test (Anna)", ["a@x.test"]),
        ("Anna\r\n\t<a@x.test>", ["a@x.test"]),
        ("a@x.test, Ben <b@y.test>", ["a@x.test", "b@y.test"]),
        ('"Doe, John" <j@x.test>', ["j@x.test"]),
        ('"john doe"@x.test', ['"john doe"@x.test']),
        ("a+tag@x.test", ["a+tag@x.test"]),
        ("=?utf-8?q?J=C3=B6rg?= <j@x.test>", ["j@x.test"]),
        ("jörg@bücher.test", ["jörg@bücher.test"]),
        ("u@[192.0.2.1]", ["u@[192.0.2.1]"]),
        ("<u@[IPv6:::1]>", ["u@[IPv6:::1]"]),
        ("Team: a@x.test, Ben <b@y.test>;", ["a@x.test", "b@y.test"]),
        ("undisclosed-recipients:;", []),
        ("MAILER-DAEMON (Mail System)", []),
        ("<>", []),
        ("", []),
    ],
)
def test_ordinary_fields(value: str, found: list[str]) -> None:
    assert read(f"From: {value}") == tuple(found)


@pytest.mark.parametrize(
    "value",
    [
        '"boss@own.test" <x@evil.test>',
        '"<boss@own.test>" <x@evil.test>',
        '"a \\" <boss@own.test>" <x@evil.test>',
        "x@evil.test (boss@own.test)",
        "(<boss@own.test>) x@evil.test",
        "(a (boss@own.test) b) x@evil.test",
        '(it is " <boss@own.test>) <x@evil.test> (or " not)',
        "=?utf-8?q?boss=40own=2Etest?= <x@evil.test>",
        "=?utf-8?q?=3Cboss=40own=2Etest=3E?= <x@evil.test>",
        "@boss at own.test <x@evil.test>",
    ],
)
def test_what_every_reader_takes_for_a_name_is_no_author(value: str) -> None:
    assert read(f"From: {value}") == ("x@evil.test",)


@pytest.mark.parametrize(
    "value",
    [
        "boss@own.test <x@evil.test>",
        "<x@evil.test> boss@own.test",
        "<x@evil.test> <boss@own.test>",
        "<boss@own.test <x@evil.test>",
        "<x@evil.test, boss@own.test>",
        "<x@evil.test>, <boss@own.test",
        '"never closed <boss@own.test>, x@evil.test',
        "(never closed <boss@own.test>, x@evil.test",
        "x@evil.test\r\n , boss@own.test",
        "boss @ own . test, x@evil.test",
        "<@relay.test,@other.test:boss@own.test>, x@evil.test",
        "'boss@own.test', x@evil.test",
        "boss@own.test., x@evil.test",
        "boss(comment)@own.test, x@evil.test",
        "boss@own.test: x@evil.test;",
    ],
)
def test_where_readers_differ_every_reading_counts(value: str) -> None:
    assert set(read(f"From: {value}") or ()) == {"boss@own.test", "x@evil.test"}


@pytest.mark.parametrize(
    "value",
    [
        "a@x.test",
        "<a@x.test>",
        "Anna <a@x.test>",
        "Anna B. Example<a+b@x-y.test>",
        '"Anna (x), <y>; z@own.test" <a@x.test>',
        "=?utf-8?q?J=C3=B6rg?= <a@x.test>",
    ],
)
def test_the_short_way_finds_what_the_long_way_finds(value: str) -> None:
    found = _PLAIN.match(value)
    assert found is not None
    assert [found[1] or found[2]] == list(_read(value))


@pytest.mark.parametrize(
    "value",
    [
        "boss@own.test <x@evil.test>",
        '"a" boss@own.test <x@evil.test>',
        '"a\\" <boss@own.test>" <x@evil.test>',
        "<x@evil.test> <boss@own.test>",
        "x@evil.test, boss@own.test",
        "(c) x@evil.test",
        "<x@evil.test",
        "x@evil.test>",
        "<@boss.test:x@evil.test>",
        "a b@x.test c",
    ],
)
def test_the_short_way_leaves_what_could_be_read_otherwise(value: str) -> None:
    assert _PLAIN.match(value) is None


def test_every_from_field_counts() -> None:
    assert read("From: x@evil.test", "Subject: s", "FROM: boss@own.test") == (
        "x@evil.test",
        "boss@own.test",
    )


def test_an_address_in_an_encoded_word_counts_where_nothing_else_is_an_address() -> (
    None
):
    assert read("From: =?utf-8?b?Ym9zc0Bvd24udGVzdA==?=") == ("boss@own.test",)


def test_other_fields_are_no_authors() -> None:
    fields = ("Sender: s@x.test", "Reply-To: r@x.test", "Resent-From: f@x.test")
    assert read(*fields) == ()


@pytest.mark.parametrize("value", ["boss@@own.test", "<boss@own_.te st@>", "a@b c@"])
def test_what_looks_like_an_address_and_is_none_is_kept_for_the_condition(
    value: str,
) -> None:
    assert read(f"From: {value}")


def test_octets_of_no_charset_are_read_all_the_same() -> None:
    assert read(b"From: J\xf6rg <j@x.test>") == ("j@x.test",)


def test_a_header_that_is_not_read_to_its_end_has_unknown_authors() -> None:
    limits = Limits(header_section=40)
    field = "Subject: " + "x" * 60
    assert read("From: a@x.test", field, limits=limits) is None
    assert read("From: a@x.test", limits=limits) == ("a@x.test",)


def test_a_limit_that_is_hit_elsewhere_leaves_the_authors_known() -> None:
    mail = (
        b"From: a@x.test\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Subject: " + b"x" * 200 + b"\r\n\r\nbody\r\n"
    )
    assert authors(parse(mail, Limits(header_section=100))) == ("a@x.test",)


def test_too_many_authors_are_unknown_authors() -> None:
    some = [f"a{number}@x.test" for number in range(MAX_AUTHORS + 1)]
    assert read("From: " + ", ".join(some[:-1])) == tuple(some[:-1])
    assert read("From: " + ", ".join(some)) is None


def test_one_author_often_is_one_author() -> None:
    assert read("From: " + ", ".join(["a@x.test"] * 1000)) == ("a@x.test",)


@pytest.mark.parametrize(
    "unit",
    ['"', "(", ")", '\\"', "<", ">", '"a', "((", "a@b,", " ", "@", ". ", '"\\', "=?"],
)
def test_hostile_fields_take_linear_time(unit: str) -> None:
    """A quarter of a million octets; quadratic readings take minutes for them."""
    began = time.perf_counter()
    read("From: " + unit * (250_000 // len(unit)))
    assert time.perf_counter() - began < 5
