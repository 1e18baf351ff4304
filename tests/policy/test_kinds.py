from __future__ import annotations

import pytest

from smtpguard.policy.kinds import (
    BOOL,
    DOMAIN,
    MAX_TEXT,
    TEXT,
    Kind,
    choice,
    duration,
    integer,
    list_of,
    size,
)
from smtpguard.policy.problems import Mark
from smtpguard.policy.shapes import Shape, shaped
from smtpguard.policy.yamlsource import Scalar
from tests.policy.rulefiles import context, node, told


def short(value: object) -> str | None:
    """Name a parameter; a kind by its place, for as a text it holds an address."""
    return None if isinstance(value, Kind) else str(value)[:40]


STARTTLS = choice("required", "none", "465", "1.2", "true", later=("dane",))


@pytest.mark.parametrize(
    ("kind", "text", "wanted"),
    [
        (BOOL, "true", True),
        (BOOL, "False", False),
        (TEXT, "a b", "a b"),
        (TEXT, '"25"', "25"),
        (TEXT, "25", "25"),
        (DOMAIN, "Mx.Müller.example.", "mx.xn--mller-kva.example"),
        (integer(1, 9), "9", 9),
        (size(0, 2**40), "10", 10),
        (size(0, 2**40), "10B", 10),
        (size(0, 2**40), "1KiB", 1024),
        (size(0, 2**40), "50MiB", 52428800),
        (size(0, 2**40), "2GiB", 2147483648),
        (duration(0, 1e6), "300ms", 0.3),
        (duration(0, 1e6), "0.5s", 0.5),
        (duration(0, 1e6), "5m", 300.0),
        (duration(0, 1e6), "2h", 7200.0),
        (duration(0, 1e6), "1d", 86400.0),
        (STARTTLS, "none", "none"),
        (STARTTLS, "465", "465"),
        (list_of(integer(1, 9)), "[1, 2]", (1, 2)),
        (list_of(integer(1, 9), single=True), "3", (3,)),
        (list_of(integer(1, 9), single=True), "[3]", (3,)),
    ],
    ids=short,
)
def test_a_value_is_read(kind: Kind[object], text: str, wanted: object) -> None:
    found = context()
    assert kind.read(node(text), found) == wanted
    assert told(found) == []


@pytest.mark.parametrize(
    ("kind", "text", "slug"),
    [
        (BOOL, "yes", "bad-value"),
        (BOOL, "on", "bad-value"),
        (BOOL, '"true"', "bad-value"),
        (BOOL, "[]", "bad-type"),
        (BOOL, "~", "missing-value"),
        (TEXT, '""', "missing-value"),
        (TEXT, "null", "missing-value"),
        (TEXT, "{}", "bad-type"),
        (TEXT, '"a\\tb"', "bad-value"),
        (TEXT, "x" * (MAX_TEXT + 1), "bad-value"),
        (DOMAIN, "a b", "bad-domain"),
        (DOMAIN, "[a]", "bad-type"),
        (integer(1, 9), "10", "bad-value"),
        (integer(1, 9), "0", "bad-value"),
        (integer(1, 9), "-1", "bad-value"),
        (integer(1, 9), "1.0", "bad-value"),
        (integer(1, 9), "٣", "bad-value"),
        (integer(1, 9), "9" * 5000, "bad-value"),
        (integer(1, 9), "[]", "bad-type"),
        (size(10, 20), "9", "bad-value"),
        (size(10, 20), "21", "bad-value"),
        (size(10, 20), "1MB", "bad-value"),
        (size(10, 20), "1.5MiB", "bad-value"),
        (size(10, 20), "{}", "bad-type"),
        (duration(1, 2), "5", "bad-value"),
        (duration(1, 2), "3s", "bad-value"),
        (duration(1, 2), "1 s", "bad-value"),
        (duration(1, 2), "[]", "bad-type"),
        (STARTTLS, "nonne", "bad-value"),
        (STARTTLS, "dane", "not-supported-yet"),
        (STARTTLS, "[none]", "bad-type"),
        (list_of(TEXT), "[]", "missing-value"),
        (list_of(TEXT), "~", "missing-value"),
        (list_of(TEXT), "a", "bad-type"),
        (list_of(TEXT), "{a: b}", "bad-type"),
        (list_of(TEXT), "[a, {}]", "bad-type"),
        (list_of(TEXT, single=True), "{}", "bad-type"),
    ],
    ids=short,
)
def test_a_bad_value_is_told_once(kind: Kind[object], text: str, slug: str) -> None:
    found = context()
    assert kind.read(node(text), found) is None
    assert told(found) == [slug]


@pytest.mark.parametrize(
    "kind", [TEXT, BOOL, list_of(TEXT), list_of(TEXT, single=True), shaped(Shape(()))]
)
def test_an_alias_was_told_already(kind: Kind[object]) -> None:
    found = context()
    assert kind.read(Scalar("", True, Mark("f"), refused=True), found) is None
    assert told(found) == []


def test_every_bad_value_of_a_list_is_told() -> None:
    found = context()
    assert list_of(integer(1, 9)).read(node("[10, 1, 11, x]"), found) is None
    assert told(found) == ["bad-value"] * 3


def test_editors_may_leave_the_quotes_of_words_out() -> None:
    assert STARTTLS.schema["enum"] == [
        *("required", "none", 465, "465", 1.2, "1.2", True, "true")
    ]


def test_a_place_is_named_in_front() -> None:
    found = context().at("session").at("tls")
    found.error(node("a").mark, "x", "bad-value")
    assert found.sink.problems[0].text == "tls: x"
