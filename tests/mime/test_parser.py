from __future__ import annotations

import mmap

import pytest
from hypothesis import given

from smtpguard.mime import Limits, Message, parse
from tests.mime.mails import (
    TREES,
    Node,
    body,
    kinds,
    leaves,
    mail,
    only,
    read,
    shape,
    tiles,
)


MIXED = 'Content-Type: multipart/mixed; boundary="b"'


def paths(message: Message) -> list[str]:
    return [part.path for part in message.parts()]


def test_a_message_without_parts_is_its_own_leaf() -> None:
    message = read("Subject: x", "", "text")
    assert paths(message) == ["1"]
    assert message.root.is_leaf
    assert message.root.header.of(message.buffer) == b"Subject: x\r\n"
    assert body(message.root) == b"text\r\n"
    assert message.defects == ()


def test_parts_of_a_multipart_are_counted_from_one() -> None:
    message = read(
        MIXED, "", "pre", "--b", "", "one", "--b", "A: b", "", "two", "--b--"
    )
    assert paths(message) == ["1", "1.1", "1.2"]
    assert [body(part) for part in leaves(message)] == [b"one", b"two"]
    assert message.defects == ()


def test_the_line_end_before_a_delimiter_belongs_to_it() -> None:
    """RFC 2046 5.1.1: a part can end without a line end."""
    message = read(MIXED, "", "--b", "", "one", "", "--b--")
    assert body(only(message, "1.1")) == b"one\r\n"


def test_epilogue_and_delimiters_are_known() -> None:
    message = read(MIXED, "", "pre", "--b", "", "x", "--b-- \t", "epi")
    root = message.root
    assert root.epilogue is not None
    assert root.epilogue.of(message.buffer) == b"epi\r\n"
    assert [span.of(message.buffer) for span in root.delimiters] == [
        b"\r\n--b\r\n",
        b"\r\n--b-- \t\r\n",
    ]


def test_a_message_in_a_message_is_entered() -> None:
    message = read(
        "Content-Type: message/rfc822",
        "",
        "Subject: inner",
        MIXED,
        "",
        "--b",
        "",
        "x",
        "--b--",
    )
    assert paths(message) == ["1", "1.1", "1.1.1"]
    assert only(message, "1.1").fields[0].value == "inner"
    assert message.root.body == only(message, "1.1").span


@pytest.mark.parametrize(
    "content_type", ["message/rfc822", "message/global", "message/news"]
)
def test_every_kind_of_message_is_entered(content_type: str) -> None:
    message = read(f"Content-Type: {content_type}", "", "Subject: inner", "", "x")
    assert paths(message) == ["1", "1.1"]


@pytest.mark.parametrize(
    "content_type", ["message/partial", "message/external-body", "text/rfc822-headers"]
)
def test_what_is_no_message_is_not_entered(content_type: str) -> None:
    message = read(f"Content-Type: {content_type}", "", "Subject: inner", "", "x")
    assert paths(message) == ["1"]


def test_untyped_parts_of_a_digest_are_messages() -> None:
    message = read(
        "Content-Type: multipart/digest; boundary=b",
        "",
        "--b",
        "",
        "Subject: one",
        "",
        "x",
        "--b",
        "Content-Type: text/html",
        "",
        "y",
        "--b--",
    )
    assert shape(message.root) == (
        "multipart/digest",
        ("message/rfc822", ("text/plain",)),
        ("text/html",),
    )
    assert only(message, "1.1.1").fields[0].value == "one"


def test_a_delimiter_of_the_outer_multipart_ends_the_inner_one() -> None:
    message = read(
        MIXED,
        "",
        "--b",
        "Content-Type: multipart/mixed; boundary=c",
        "",
        "--c",
        "",
        "inner",
        "--b",
        "",
        "--c",
        "--b--",
    )
    assert shape(message.root) == (
        "multipart/mixed",
        ("multipart/mixed", ("text/plain",)),
        ("text/plain",),
    )
    assert body(only(message, "1.2")) == b"--c"
    assert kinds(message) == {"missing-close-boundary"}


def test_after_its_close_delimiter_a_multipart_has_no_more_parts() -> None:
    message = read(MIXED, "", "--b", "", "x", "--b--", "--b", "", "hidden", "--b--")
    assert paths(message) == ["1", "1.1"]


def test_a_multipart_may_end_with_the_message() -> None:
    message = read(MIXED, "", "--b", "", "x", "--b", "", "y")
    assert [body(part) for part in leaves(message)] == [b"x", b"y\r\n"]
    assert kinds(message) == {"missing-close-boundary"}
    assert message.defects[0].offset == len(message.buffer)


def test_a_header_ends_at_a_delimiter() -> None:
    """A part may lack the empty line after its header."""
    message = read(MIXED, "", "--b", "Content-Type: image/png", "--b", "--b--")
    first, second = only(message, "1.1"), only(message, "1.2")
    assert first.content_type == "image/png"
    assert first.header.of(message.buffer) == b"Content-Type: image/png\r\n"
    assert len(first.body) == 0
    assert len(second.span) == 0
    assert "missing-header-end" in kinds(message)


def test_an_empty_line_beyond_a_delimiter_does_not_end_the_header_before_it() -> None:
    message = read(MIXED, "", "--b", "A: 1", "--b", "B: 2", "", "text", "--b--")
    assert [field.name for field in only(message, "1.1").fields] == ["A"]
    assert [field.name for field in only(message, "1.2").fields] == ["B"]


def test_lines_like_delimiters_in_the_root_header_are_no_delimiters() -> None:
    message = read(MIXED, "--b", "X: y", "", "--b", "", "x", "--b--")
    assert paths(message) == ["1", "1.1"]
    assert [field.name for field in message.fields] == ["Content-Type", "X"]


@pytest.mark.parametrize(
    "line",
    ["--bb", "--b-", "-- b", " --b", "-b", "--b--x", "--b x", "x--b", "--B"],
)
def test_only_the_whole_line_is_a_delimiter(line: str) -> None:
    message = read(MIXED, "", "--b", "", "x", line, "y", "--b--")
    assert paths(message) == ["1", "1.1"]


@pytest.mark.parametrize("line", ["--bb", "--b x", "--b--x"])
def test_a_line_that_begins_like_a_delimiter_is_told(line: str) -> None:
    """RFC 2046 5.1.1 would let a reader take it for one."""
    message = read(MIXED, "", "--b", "", "x", line, "y", "--b--")
    assert kinds(message) == {"inexact-delimiter"}


@pytest.mark.parametrize("blanks", [b" ", b"\t \t", b" " * 5000])
def test_transport_padding_after_a_delimiter_is_allowed(blanks: bytes) -> None:
    message = parse(
        mail(MIXED, "", b"--b" + blanks, "", "x", b"--b--" + blanks, "epilogue")
    )
    assert paths(message) == ["1", "1.1"]
    assert message.defects == ()


def test_text_behind_very_long_padding_makes_a_line_no_delimiter() -> None:
    message = read(MIXED, "", "--b", "", "x", "--b" + " " * 5000 + "x", "--b--")
    assert paths(message) == ["1", "1.1"]
    assert kinds(message) == {"inexact-delimiter"}


def test_one_boundary_may_be_the_beginning_of_another() -> None:
    message = read(
        MIXED,
        "",
        "--b",
        "Content-Type: multipart/mixed; boundary=bb",
        "",
        "--bb",
        "",
        "x",
        "--bb--",
        "--b",
        "",
        "y",
        "--b--",
    )
    assert shape(message.root) == (
        "multipart/mixed",
        ("multipart/mixed", ("text/plain",)),
        ("text/plain",),
    )
    assert message.defects == ()


def test_a_boundary_may_end_in_two_hyphens() -> None:
    message = read(
        "Content-Type: multipart/mixed; boundary=b--", "", "--b--", "", "x", "--b----"
    )
    assert paths(message) == ["1", "1.1"]
    assert message.defects == ()


def test_a_repeated_boundary_belongs_to_the_outer_multipart() -> None:
    message = read(
        MIXED, "", "--b", MIXED, "", "inner", "--b", "", "second", "--b--", "--b--"
    )
    assert shape(message.root) == (
        "multipart/mixed",
        ("multipart/mixed",),
        ("text/plain",),
    )
    assert kinds(message) == {"repeated-boundary"}


def test_a_multipart_without_boundary_is_a_leaf() -> None:
    message = read("Content-Type: multipart/mixed", "", "--b", "", "x")
    assert paths(message) == ["1"]
    assert kinds(message) == {"missing-boundary"}


def test_a_multipart_without_delimiters_is_a_leaf() -> None:
    message = read(MIXED, "", "x")
    assert message.root.is_leaf
    assert kinds(message) == {"boundary-not-found"}


def test_a_multipart_that_closes_at_once_is_a_leaf() -> None:
    message = read(MIXED, "", "pre", "--b--", "epi")
    assert message.root.is_leaf
    assert body(message.root) == b"pre\r\n--b--\r\nepi\r\n"


def test_a_boundary_longer_than_a_line_may_be_is_not_used() -> None:
    boundary = "x" * 3000
    message = read(
        f"Content-Type: multipart/mixed; boundary={boundary}", "", f"--{boundary}", ""
    )
    assert message.root.is_leaf
    assert kinds(message) == {"overlong-boundary", "limit-boundary"}


def test_a_multipart_that_claims_an_encoding_is_read_as_it_stands() -> None:
    message = read(
        MIXED, "Content-Transfer-Encoding: base64", "", "--b", "", "x", "--b--"
    )
    assert paths(message) == ["1", "1.1"]
    assert kinds(message) == {"encoded-container", "encoded-structure"}


def test_delimiters_behind_the_close_delimiter_are_told() -> None:
    inner = ["Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--"]
    message = read(MIXED, "", "--b", *inner, "--c", "", "--b", "", "--b--", "--b", "")
    assert paths(message) == ["1", "1.1", "1.1.1", "1.2"]
    assert [(str(d.kind), d.part) for d in message.defects] == [
        ("delimiter-in-epilogue", "1.1"),
        ("delimiter-in-epilogue", "1"),
    ]


def test_closing_twice_and_siblings_of_one_boundary_are_in_order() -> None:
    inner = ["Content-Type: multipart/mixed; boundary=c", "", "--c", "", "x", "--c--"]
    message = read(MIXED, "", "--b", *inner, "--b", *inner, "--b--", "--b--")
    assert paths(message) == ["1", "1.1", "1.1.1", "1.2", "1.2.1"]
    assert message.defects == ()


@pytest.mark.parametrize(
    "text",
    [
        b"A: b\r\n%b\r\n\r\n--b\r\n\r\n\x00\n--b--\nx\r\n--b--\r\n",
        b"A: b\n\nb\r\n%b\r\n\r\n--b\r\n\r\n--b--\r\n",
    ],
    ids=["delimiter", "first line"],
)
def test_structure_on_bare_newlines_among_crlf_is_told(text: bytes) -> None:
    """BINARYMIME (RFC 3030) lets them through."""
    assert "mixed-line-ends" in kinds(parse(text % MIXED.encode()))


def test_bare_newlines_in_binary_content_are_no_structure() -> None:
    message = read(MIXED, "", "--b", "", "\x00\n--x\n\ny", "--b--")
    assert message.defects == ()


def test_an_encoded_message_with_fields_in_its_octets_has_two_structures() -> None:
    quoted = "Content-Transfer-Encoding: quoted-printable"
    message = read("Content-Type: message/rfc822", quoted, "", "Subject: x", "", "y")
    assert kinds(message) == {"encoded-container", "encoded-structure"}


def test_names_are_limited_over_all_parts() -> None:
    part = ["--b", "Content-Disposition: a; filename=x; name=y", ""]
    message = read(MIXED, "", *part * 3, "--b--", limits=Limits(names=5))
    assert [found.names for found in message.root.children] == [
        ("x", "y"),
        ("x", "y"),
        ("x",),
    ]
    assert [(str(d.kind), d.part) for d in message.defects] == [("limit-names", "1.3")]


ENCODED = (
    "Content-Type: message/rfc822",
    "Content-Transfer-Encoding: base64",
    "",
    # "Subject: inner", an empty line, "payload"
    "U3ViamVjdDogaW5uZXINCg0KcGF5bG9hZA0K",
)


def test_an_encoded_message_is_decoded_and_read() -> None:
    """RFC 2045 6.4 forbids it, mail readers show it."""
    message = read(*ENCODED)
    assert paths(message) == ["1", "1.1"]
    inner = only(message, "1.1")
    assert inner.fields[0].value == "inner"
    assert body(inner) == b"payload\r\n"
    assert message.root.is_leaf
    assert message.holder(inner) is message.root
    assert kinds(message) == {"encoded-container"}


def test_defects_of_decoded_content_stand_where_it_was_encoded() -> None:
    message = read(
        *ENCODED[:3],
        # "no field", an empty line
        "bm8gZmllbGQNCg0K",
    )
    defects = {str(d.kind): (d.part, d.offset) for d in message.defects}
    assert defects["malformed-field"] == ("1.1", message.root.body.start)


def test_an_encoded_message_counts_as_part_and_level() -> None:
    assert paths(read(*ENCODED, limits=Limits(parts=1))) == ["1"]
    shallow = read(*ENCODED, limits=Limits(depth=1))
    assert paths(shallow) == ["1"]
    assert "limit-depth" in kinds(shallow)


def test_a_message_may_end_inside_a_delimiter_line() -> None:
    message = parse(mail(MIXED, "", "--b", "", "x") + b"--b--")
    assert paths(message) == ["1", "1.1"]
    assert message.root.delimiters[-1].end == len(message.buffer)
    assert message.defects == ()


def test_no_more_is_decoded_than_the_limit_allows() -> None:
    message = read(*ENCODED, limits=Limits(decoded=10))
    assert paths(message) == ["1"]
    assert "limit-decoded" in kinds(message)


def test_encodings_inside_one_another_come_to_an_end() -> None:
    text = mail(
        "Content-Type: message/rfc822",
        "Content-Transfer-Encoding: quoted-printable",
        "",
    )
    message = parse(text.replace(b"=", b"=3D") * 30 + b"x")
    assert len(paths(message)) == 9
    assert "limit-decoded" in kinds(message)


def nested(levels: int) -> bytes:
    head = b"".join(
        mail(f"Content-Type: multipart/mixed; boundary=b{n}x", "", f"--b{n}x")
        for n in range(levels)
    )
    return head + mail("", "text")


def test_depth_is_limited() -> None:
    message = parse(nested(20), Limits(depth=5))
    assert max(path.count(".") + 1 for path in paths(message)) == 5
    deepest = list(message.parts())[-1]
    assert [(d.kind, d.part) for d in message.defects if d.is_limit] == [
        ("limit-depth", deepest.path)
    ]
    assert deepest.body.end == len(message.buffer)


def test_depth_counts_messages_too() -> None:
    text = mail("Content-Type: message/rfc822", "") * 1000
    message = parse(text)
    assert len(paths(message)) == 50
    assert "limit-depth" in kinds(message)


def test_a_message_as_deep_as_the_limit_has_no_defect() -> None:
    assert "limit-depth" not in kinds(parse(nested(4), Limits(depth=5)))


def test_parts_are_limited_and_the_last_one_keeps_the_rest() -> None:
    message = read(
        MIXED,
        "",
        *("--b", "", "x") * 9,
        "--b--",
        limits=Limits(parts=4),
    )
    assert paths(message) == ["1", "1.1", "1.2", "1.3"]
    assert body(only(message, "1.3")).count(b"--b") == 7
    limits = [defect for defect in message.defects if defect.is_limit]
    assert [defect.kind for defect in limits] == ["limit-parts"]
    assert message.buffer[limits[0].offset :].startswith(b"--b\r\n")


def test_messages_count_as_parts() -> None:
    message = read(
        "Content-Type: message/rfc822", "", "Subject: x", "", limits=Limits(parts=1)
    )
    assert paths(message) == ["1"]
    assert kinds(message) == {"limit-parts"}


def test_a_header_is_read_up_to_its_limit_and_spans_to_its_end() -> None:
    message = read("A: 1", "B: 2", "C: 3", "", "text", limits=Limits(header_section=12))
    assert [field.name for field in message.fields] == ["A", "B"]
    assert message.root.header.of(message.buffer) == b"A: 1\r\nB: 2\r\nC: 3\r\n"
    assert [(d.kind, d.offset) for d in message.defects] == [("limit-header", 12)]


def test_fields_are_limited_over_all_parts() -> None:
    message = read(
        MIXED,
        "",
        *("--b", "A: 1", "B: 2", "", "x") * 2,
        "--b--",
        limits=Limits(fields=4),
    )
    assert sum(len(part.fields) for part in message.parts()) == 4
    assert "limit-fields" in kinds(message)


def test_a_message_of_bare_lf_lines_has_the_same_structure() -> None:
    """``inspect --raw`` reads files as they are."""
    lines = (MIXED, "", "--b", "", "one", "--b", "A: b", "", "two", "--b--")
    message = parse(mail(*lines, end=b"\n"))
    assert [body(part) for part in leaves(message)] == [b"one", b"two"]
    assert message.defects == ()


@pytest.mark.parametrize(
    "text",
    [
        b"A: b\r\nC: d\n\r\ntext",
        mail(MIXED, "") + b"--b\n\r\nx\r\n--b--\r\n",
        mail(MIXED, "", "--b", "") + b"x\n--b--\r\n",
    ],
    ids=["header", "after-delimiter", "before-delimiter"],
)
def test_a_bare_lf_in_the_structure_of_a_crlf_message_is_told(text: bytes) -> None:
    assert "mixed-line-ends" in kinds(parse(text))


def test_a_bare_cr_ends_no_line() -> None:
    message = parse(mail(MIXED, "", "--b", "") + b"x\r--b--\r\r\ny\r\n")
    assert paths(message) == ["1", "1.1"]
    assert body(only(message, "1.1")) == b"x\r--b--\r\r\ny\r\n"


@pytest.mark.parametrize(
    ("text", "header", "rest"),
    [
        (b"", b"", b""),
        (b"\r\n", b"", b""),
        (b"\r\nbody", b"", b"body"),
        (b"\n", b"", b""),
        (b"A: b", b"A: b", b""),
        (b"A: b\r\n", b"A: b\r\n", b""),
        (b"A: b\r\n\r\n", b"A: b\r\n", b""),
        (b"A: b\r\n\r\n\r\nx", b"A: b\r\n", b"\r\nx"),
    ],
)
def test_header_and_body_part_at_the_first_empty_line(
    text: bytes, header: bytes, rest: bytes
) -> None:
    root = parse(text).root
    assert root.header.of(text) == header
    assert body(root) == rest


def test_a_mapped_file_is_read_like_octets_and_can_be_closed_after() -> None:
    text = mail(MIXED, "", "--b", "", "one", "--b", "A: b", "", "two", "--b--")
    with mmap.mmap(-1, len(text)) as mapped:
        mapped.write(text)
        message = parse(mapped)
        assert shape(message.root) == shape(parse(text).root)
        assert tiles(message) == tiles(parse(text))
    assert mapped.closed


@given(TREES)
def test_a_well_formed_message_is_read_as_it_was_built(tree: Node) -> None:
    message = parse(tree.octets)
    assert shape(message.root) == tree.shape()
    assert kinds(message) <= {"missing-close-boundary"}
