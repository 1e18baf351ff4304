from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime.addresslists import ROUTE, entries


def found(text: str) -> list[tuple[str, str]]:
    return [
        (place, "".join(token.text for token in tokens))
        for place, tokens in entries(text)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("bare", "")]),
        ("a@x", [("bare", "a@x")]),
        ("a@x, b@y", [("bare", "a@x"), ("bare", " b@y")]),
        ("A B <a@x> c", [("phrase", "A B "), ("angle", "a@x"), ("phrase", " c")]),
        (
            "<a@x>,b@y",
            [("phrase", ""), ("angle", "a@x"), ("phrase", ""), ("bare", "b@y")],
        ),
        ("T: a@x; b", [("phrase", "T"), ("bare", " a@x"), ("bare", " b")]),
        ("<@r,@s:a@x>", [("phrase", ""), ("angle", "@r,@s:a@x"), ("phrase", "")]),
        ('"a,<b>(c)" d', [("bare", '"a,<b>(c)" d')]),
        ('a\\,b "c\\"," ', [("bare", 'a\\,b "c\\"," ')]),
        ("a(b,(c)<d>)e", [("bare", "a e")]),
        ("(b, c", [("bare", " b"), ("bare", " c")]),
        ('"b, c', [("bare", '"b'), ("bare", " c")]),
        ("<a <b", [("phrase", ""), ("angle", "a "), ("angle", "b"), ("phrase", "")]),
    ],
)
def test_entries(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@given(st.text(st.sampled_from('ab@.,;:<>()"\\ \r\n\t'), max_size=60))
def test_tokens_stand_where_they_say(text: str) -> None:
    ends = 0
    for _, tokens in entries(text):
        for token in tokens:
            assert token.start >= ends
            is_comment = text[token.start] == "("
            assert is_comment or text.startswith(token.text, token.start)
            assert not is_comment or token.text == " "
            ends = token.start + len(token.text)


@pytest.mark.parametrize(
    ("text", "rest"),
    [("@a,@b:c@d", "c@d"), (" @a : c@d", " c@d"), ("c@d", "c@d"), ("@a@b", "@a@b")],
)
def test_a_route_is_what_stands_before_a_colon(text: str, rest: str) -> None:
    assert ROUTE.sub("", text, count=1) == rest


@pytest.mark.parametrize(
    "unit", ['"', "(", ")", "\\", "<", ">", "((", "()", ",", '"\\']
)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    began = time.perf_counter()
    for _ in entries(unit * (250_000 // len(unit))):
        pass
    assert time.perf_counter() - began < 5
