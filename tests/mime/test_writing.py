from __future__ import annotations

import re
import string
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import Part, parse
from smtpguard.mime.writing import (
    MAX_FIELD_LINE,
    Entity,
    field_octets,
    locked_entity,
    mixed_entity,
    notice_entity,
)
from smtpguard.model.content import CHUNK_OCTETS
from tests.mime.mails import content, kinds, mail


def octets(entity: Entity) -> bytes:
    return b"".join(entity.pieces)


def read(entity: Entity) -> Part:
    """Read an entity, which must be without any defect, as a whole message."""
    message = parse(octets(entity))
    assert kinds(message) == set()
    return message.root


def disposition(name: str) -> bytes:
    header = locked_entity(name, b"x").header
    return header.partition(b"Content-Disposition: ")[2].removesuffix(b"\r\n")


def test_a_locked_part_is_an_attachment_of_its_own_type() -> None:
    assert octets(locked_entity("a.exe.clk", b"payload")) == mail(
        "Content-Type: application/x-smtpguard-locked",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        ' filename="a.exe.clk"',
        "",
        "cGF5bG9hZA==",
    )


def test_a_name_of_any_script_has_a_form_in_ascii_beside_it() -> None:
    """RFC 2231 4, and RFC 6266 appendix D on those who do not know it."""
    assert disposition("für 日.clk") == (
        b'attachment;\r\n filename="f_r _.clk";\r\n'
        b" filename*=utf-8''f%C3%BCr%20%E6%97%A5.clk"
    )
    assert read(locked_entity("für 日.clk", b"x")).names[:2] == (
        "f_r _.clk",
        "für 日.clk",
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('a"; filename="b.exe', "a__ filename=_b.exe"),
        ("a\\", "a_"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\x.exe", "C__x.exe"),
        ("a\r\nBcc: x@y.test", "a__Bcc_ x@y.test"),
        ("a%2E.clk", "a_2E.clk"),
        ("=?utf-8?q?a?=", "=_utf-8_q_a_="),
        ("a;b", "a_b"),
        ("a.clk. .", "a.clk"),
        (" .clk", "clk"),
        ("a\0b", "a_b"),
        ("", "locked"),
        (" . ", "locked"),
        ("\xa0", "locked"),
        ("x" * 10_000 + ".clk", "x" * 220 + " ... " + "x" * 26 + ".clk"),
    ],
)
def test_a_hostile_name_is_made_harmless(name: str, shown: str) -> None:
    assert disposition(name) == f'attachment;\r\n filename="{shown}"'.encode()


def test_a_long_foreign_name_keeps_to_the_length_and_its_ending() -> None:
    entity = locked_entity("日" * 300 + "😀.exe.clk", b"x")
    assert max(map(len, entity.header.split(b"\r\n"))) <= MAX_FIELD_LINE
    *_, name = read(entity).names
    # 63 characters, so that none of them can make it longer than 255 octets.
    assert name == "日" * 28 + " ... " + "日" * 21 + "😀.exe.clk"


@given(
    st.text(st.characters(codec=None), max_size=400)
    | st.lists(
        st.sampled_from(
            [
                "\r\n",
                '"',
                "\\",
                ";",
                "%",
                "'",
                "\u202e",
                "*",
                "=",
                "a",
                "日",
                "😀",
                "\0",
            ]
        ),
        max_size=300,
    ).map("".join)
)
def test_no_name_breaks_out_of_its_parameter(name: str) -> None:
    entity = locked_entity(name, b"payload")
    assert entity.header.isascii()
    lines = entity.header.split(b"\r\n")
    assert max(map(len, lines)) <= MAX_FIELD_LINE
    assert all(b"\r" not in line and b"\n" not in line for line in lines)
    part = read(entity)
    assert [field.name for field in part.fields] == [
        "Content-Type",
        "Content-Transfer-Encoding",
        "Content-Disposition",
    ]
    assert content(part) == b"payload"
    assert part.names[0].isascii()
    for shown in part.names:
        assert 1 <= len(shown.encode()) <= 255
        assert not set('\\/:*?"<>|%;') & set(shown)
        assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in shown)


def test_octets_come_in_one_piece_or_in_chunks() -> None:
    whole = bytes(range(256)) * 4000
    chunks = (whole[at : at + 1000] for at in range(0, len(whole), 1000))
    entity = locked_entity("a", whole)
    assert entity == locked_entity("a", chunks)
    assert content(read(entity)) == whole
    assert len(entity.body) > 4
    assert all(len(piece) <= CHUNK_OCTETS for piece in entity.body)


def test_no_octets_are_a_part_with_a_body_all_the_same() -> None:
    entity = locked_entity("a", b"")
    assert entity.body == (b"\r\n",)
    assert content(read(entity)) == b""


def test_a_multipart_holds_its_parts_in_order() -> None:
    parts = notice_entity("gone"), locked_entity("a", b"x")
    root = read(mixed_entity(parts, ()))
    assert [part.content_type for part in root.children] == [
        "text/plain",
        "application/x-smtpguard-locked",
    ]
    assert root.epilogue is not None
    assert not root.epilogue


def test_a_boundary_is_made_of_what_it_encloses() -> None:
    def boundary(text: str) -> bytes:
        entity = mixed_entity((notice_entity(text),), ())
        found = re.search(rb'boundary="([A-Za-z0-9]{32})"\r\n\Z', entity.header)
        assert found is not None
        assert found[1] not in octets(notice_entity(text))
        return found[1]

    assert boundary("a") == boundary("a")
    assert boundary("a") != boundary("b")


@given(st.text(max_size=20), st.data())
def test_no_boundary_begins_with_one_around_it(text: str, data: st.DataObject) -> None:
    """A reader that looks at the beginning of a line only would end there."""
    letters = string.ascii_letters + string.digits
    parts = (notice_entity(text),)
    free = data.draw(st.sampled_from(letters))
    enclosing = [letter.encode() for letter in letters if letter != free]
    entity = mixed_entity(parts, enclosing)
    assert re.search(f'boundary="{free}[0-9a-f]{{31}}"'.encode(), entity.header)
    with pytest.raises(ValueError, match="leave none"):
        mixed_entity(parts, [*enclosing, free.encode()])


def test_a_boundary_that_is_foreseen_is_not_used() -> None:
    parts = (notice_entity("gone"),)
    first = mixed_entity(parts, ())
    taken = first.header.split(b'"')[1]
    for beginning in (taken, taken[:10], taken[:1]):
        other = mixed_entity(parts, (b"unlike", beginning))
        assert not other.header.split(b'"')[1].startswith(beginning)


def test_a_field_is_folded_where_it_grows_too_long() -> None:
    field = field_octets(b"A", b" x" * 60)
    assert field.endswith(b"\r\n")
    assert max(map(len, field.split(b"\r\n"))) <= 76
    assert field.replace(b"\r\n", b"") == b"A:" + b" x" * 60
