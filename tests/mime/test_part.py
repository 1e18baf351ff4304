from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import Limits, Message, parse
from tests.mime.mails import (
    CRLF_SOUP,
    MUTATED,
    SOUP,
    TREES,
    Node,
    body,
    content,
    only,
    read,
    tiles,
    values,
)


def assert_tiled(message: Message) -> None:
    position = 0
    for tile in tiles(message):
        assert tile.span.start == position, tile
        assert len(tile.span) > 0
        position = tile.span.end
    assert position == len(message.buffer)


def assert_ordered(message: Message) -> None:
    """Parts lie inside their containers, in order, without overlap."""
    for part in message.parts():
        assert part.span.covers(part.header)
        assert part.span.covers(part.body)
        assert part.header.end <= part.body.start
        assert part.body.end == part.span.end
        inner = [part.body.start]
        for child in part.children:
            assert inner[-1] <= child.span.start <= child.span.end <= part.body.end
            inner.append(child.span.end)


@given(SOUP)
def test_whatever_comes_is_tiled(text: bytes) -> None:
    message = parse(text)
    assert_tiled(message)
    assert_ordered(message)
    assert b"".join(tile.span.of(text) for tile in tiles(message)) == text


@given(
    CRLF_SOUP,
    st.builds(
        Limits,
        depth=st.integers(1, 4),
        parts=st.integers(1, 5),
        header_section=st.integers(0, 60),
        fields=st.integers(0, 4),
        decoded=st.integers(0, 40),
    ),
)
def test_whatever_comes_is_tiled_under_any_limits(text: bytes, limits: Limits) -> None:
    message = parse(text, limits)
    assert_tiled(message)
    assert_ordered(message)
    parts = list(message.parts())
    assert len(parts) <= limits.parts
    assert max(part.path.count(".") + 1 for part in parts) <= limits.depth
    assert sum(len(part.fields) for part in parts) <= limits.fields


@given(TREES)
def test_well_formed_messages_are_tiled(tree: Node) -> None:
    assert_tiled(parse(tree.octets))


@given(MUTATED)
def test_mutated_messages_are_tiled(text: bytes) -> None:
    message = parse(text)
    assert_tiled(message)
    assert_ordered(message)


MULTIPART = (
    "Subject: outer",
    "Subject: again",
    "Content-Type: multipart/mixed; boundary=b",
    "",
    "pre",
    "--b",
    "Content-Type: text/html; Charset=UTF-8; charset=x",
    "",
    "<p>",
    "--b",
    "Content-Type: message/rfc822",
    "",
    "Subject: inner",
    "",
    "text",
    "--b",
    "Content-Disposition: attachment",
    "Content-Transfer-Encoding: base64",
    "",
    "SGVsbG8=",
    "--b--",
    "epi",
)


def test_tiles_name_their_role_and_part() -> None:
    message = read(*MULTIPART)
    assert [(tile.role, tile.part) for tile in tiles(message)] == [
        ("header", "1"),
        ("separator", "1"),
        ("preamble", "1"),
        ("delimiter", "1"),
        ("header", "1.1"),
        ("separator", "1.1"),
        ("body", "1.1"),
        ("delimiter", "1"),
        ("header", "1.2"),
        ("separator", "1.2"),
        ("header", "1.2.1"),
        ("separator", "1.2.1"),
        ("body", "1.2.1"),
        ("delimiter", "1"),
        ("header", "1.3"),
        ("separator", "1.3"),
        ("body", "1.3"),
        ("delimiter", "1"),
        ("epilogue", "1"),
    ]


def test_parts_and_candidates_come_in_document_order() -> None:
    message = read(*MULTIPART)

    def paths(kind: str) -> list[str]:
        return [part.path for part in getattr(message, kind)()]

    assert paths("parts") == ["1", "1.1", "1.2", "1.2.1", "1.3"]
    assert paths("candidates") == ["1.1", "1.2", "1.2.1", "1.3"]


@pytest.mark.parametrize("path", ["1", "1.1", "1.2", "1.2.1", "1.3"])
def test_a_part_is_found_by_its_path(path: str) -> None:
    assert only(read(*MULTIPART), path).path == path


@pytest.mark.parametrize("path", ["", "2", "1.4", "1.1.1", "1.20", "11"])
def test_there_is_no_part_of_another_path(path: str) -> None:
    assert read(*MULTIPART).part(path) is None


def test_path_ten_is_not_below_path_one() -> None:
    message = read(
        "Content-Type: multipart/mixed; boundary=b", "", *("--b", "", "x") * 12
    )
    assert only(message, "1.12").path == "1.12"


def test_the_fields_of_a_message_are_those_of_its_own_header() -> None:
    message = read(*MULTIPART)
    assert values(message, "SUBJECT") == ("outer", "again")
    assert values(message, "x") == ()
    assert [field.name for field in message.fields] == [
        "Subject",
        "Subject",
        "Content-Type",
    ]


def test_a_leaf_is_decoded_and_measured() -> None:
    part = only(read(*MULTIPART), "1.3")
    assert content(part) == b"Hello"
    assert part.measure() == (5, hashlib.sha256(b"Hello").hexdigest())


def test_a_container_is_measured_as_it_stands() -> None:
    part = only(read(*MULTIPART), "1.2")
    assert content(part) == body(part) == b"Subject: inner\r\n\r\ntext"


def test_a_multipart_that_claims_an_encoding_is_not_decoded() -> None:
    part = read(
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Transfer-Encoding: base64",
        "",
        "--b",
        "",
        "x",
        "--b--",
    ).root
    assert content(part) == body(part)


def test_a_part_of_the_received_octets_is_its_own_holder() -> None:
    message = read(*MULTIPART)
    assert all(message.holder(part) is part for part in message.parts())


@pytest.mark.parametrize(
    ("limits", "is_read"),
    [
        (Limits(), True),
        (Limits(header_section=20), False),
        (Limits(fields=1), False),
        # One in the inner message only.
        (Limits(fields=2), True),
        (Limits(parts=1), True),
    ],
)
def test_a_header_that_a_limit_cut_is_told(limits: Limits, is_read: bool) -> None:
    message = read(
        "A: 1",
        "Content-Type: message/rfc822",
        "",
        "Subject: inner",
        "",
        "x",
        limits=limits,
    )
    assert message.is_header_read == is_read
