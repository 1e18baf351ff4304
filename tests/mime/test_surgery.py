from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smtpguard.mime import (
    Edit,
    Limits,
    Message,
    Notice,
    Part,
    Span,
    apply,
    parse,
    prepend_field,
    remove_field,
    strip,
)
from tests.mime.mails import (
    CRLF_SOUP,
    TREES,
    Node,
    content,
    leaves,
    mail,
    only,
    read,
    shape,
    tiles,
    values,
)


NOTICE = Notice("gone\n")
PLAIN = mail(
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 7bit",
    "Content-Disposition: inline",
    "",
    "gone",
)
FIELDS = PLAIN.partition(b"\r\n\r\n")[0] + b"\r\n"


def result(message: Message, *edits: Edit) -> bytes:
    edited = apply(message, edits)
    octets = b"".join(edited.chunks())
    assert len(octets) == edited.size
    return octets


def stripped(*lines: str | bytes, path: str) -> bytes:
    message = read(*lines)
    return result(message, *strip(message, only(message, path), NOTICE))


MIXED = 'Content-Type: multipart/mixed; boundary="b"'


def test_without_edits_the_octets_are_those_received() -> None:
    message = read(MIXED, "", "--b", "", "x", "--b--")
    assert result(message) == message.buffer
    assert apply(message, ()).pieces == ((0, len(message.buffer)),)


def test_a_part_is_replaced_between_its_boundary_lines() -> None:
    found = stripped(
        MIXED, "", "--b", "A: b", "", "one", "--b", "", "two", "--b--", path="1.1"
    )
    assert found == (mail(MIXED, "", "--b") + PLAIN + mail("--b", "", "two", "--b--"))


def test_the_last_part_without_close_delimiter_is_replaced_to_the_end() -> None:
    found = stripped(MIXED, "", "--b", "", "one", "--b", "A: b", "", "two", path="1.2")
    assert found == mail(MIXED, "", "--b", "", "one", "--b") + PLAIN


def test_an_empty_part_is_replaced() -> None:
    found = stripped(MIXED, "", "--b", "--b--", path="1.1")
    assert found == mail(MIXED, "", "--b") + PLAIN + mail("--b--")


def test_a_part_without_body_is_replaced() -> None:
    found = stripped(MIXED, "", "--b", "Content-Type: a/b", "--b--", path="1.1")
    assert found == mail(MIXED, "", "--b") + PLAIN + mail("--b--")


def test_a_nested_part_is_replaced() -> None:
    inner = "Content-Type: multipart/mixed; boundary=c"
    found = stripped(
        MIXED,
        "",
        "--b",
        inner,
        "",
        "--c",
        "",
        "x",
        "--c--",
        "--b",
        "",
        "y",
        "--b--",
        path="1.1.1",
    )
    assert found == (
        mail(MIXED, "", "--b", inner, "", "--c")
        + PLAIN
        + mail("--c--", "--b", "", "y", "--b--")
    )


def test_a_whole_multipart_is_replaced() -> None:
    found = stripped(
        MIXED,
        "",
        "--b",
        "Content-Type: multipart/mixed; boundary=c",
        "",
        "--c",
        "",
        "x",
        "--b",
        "",
        "y",
        "--b--",
        path="1.1",
    )
    assert found == mail(MIXED, "", "--b") + PLAIN + mail("--b", "", "y", "--b--")


def test_a_message_part_is_replaced_with_its_header() -> None:
    found = stripped(
        MIXED,
        "",
        "--b",
        "Content-Type: message/rfc822",
        "",
        "Subject: inner",
        "",
        "x",
        "--b--",
        path="1.1",
    )
    assert found == mail(MIXED, "", "--b") + PLAIN + mail("--b--")


def test_a_message_inside_a_part_keeps_its_other_fields() -> None:
    found = stripped(
        MIXED,
        "",
        "--b",
        "Content-Type: message/rfc822",
        "",
        "Subject: inner",
        "Content-Type: application/zip",
        "To: x",
        "",
        "x",
        "--b--",
        path="1.1.1",
    )
    assert found == (
        mail(MIXED, "", "--b", "Content-Type: message/rfc822", "", "Subject: inner")
        + b"MIME-Version: 1.0\r\n"
        + FIELDS
        + mail("To: x", "", "gone", "--b--")
    )


def test_a_part_of_a_digest_is_replaced_by_typed_text() -> None:
    digest = "Content-Type: multipart/digest; boundary=b"
    found = stripped(digest, "", "--b", "", "Subject: x", "", "y", "--b--", path="1.1")
    assert found == mail(digest, "", "--b") + PLAIN + mail("--b--")
    assert shape(parse(found).root) == ("multipart/digest", ("text/plain",))


def test_an_encoded_message_goes_with_what_is_inside() -> None:
    lines = (
        MIXED,
        "",
        "--b",
        "Content-Type: message/rfc822",
        "Content-Transfer-Encoding: base64",
        "",
        "U3ViamVjdDogaW5uZXINCg0KcGF5bG9hZA0K",
        "--b--",
    )
    expected = mail(MIXED, "", "--b") + PLAIN + mail("--b--")
    assert stripped(*lines, path="1.1.1") == expected
    assert stripped(*lines, path="1.1") == expected


def test_the_only_part_leaves_all_other_fields_as_they_were() -> None:
    found = stripped(
        "Received: from x",
        "\tby y",
        "CONTENT-TYPE: application/zip;",
        " name=a.zip",
        "DKIM-Signature: v=1;  a=b",
        "content-md5: x",
        "MIME-Version: 1.0 (odd)",
        "Content-Disposition: attachment",
        "Subject: =?utf-8?q?x?=",
        "",
        "UEsDBA==",
        path="1",
    )
    assert found == (
        mail("Received: from x", "\tby y")
        + FIELDS
        + mail(
            "DKIM-Signature: v=1;  a=b",
            "MIME-Version: 1.0 (odd)",
            "Subject: =?utf-8?q?x?=",
            "",
            "gone",
        )
    )


@pytest.mark.parametrize(
    ("text", "before"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", b"Subject: x\r\n"),
        (b"Subject: x\r\n\r\nbody", b"Subject: x\r\n"),
        (b"Subject: x\r\n\r\n", b"Subject: x\r\n"),
        (b"Subject: x\r\n", b"Subject: x\r\n"),
        (b"Subject: x", b"Subject: x\r\n"),
        (b"Content-Type: a/b\r\nSubject: x", None),
        (b"Content-Type: a/b", b""),
        (b"Subject: x\r\nContent-Type: a/b", b"Subject: x\r\n"),
        (b"\r\nbody", b""),
        (b"", b""),
        (b"junk", b"junk\r\n"),
    ],
)
def test_a_message_of_any_form_becomes_the_notice(
    text: bytes, before: bytes | None
) -> None:
    message = parse(text)
    found = result(message, *strip(message, message.root, NOTICE))
    added = b"MIME-Version: 1.0\r\n" + FIELDS
    if before is None:
        assert found == added + b"Subject: x\r\n\r\ngone\r\n"
    else:
        assert found == before + added + b"\r\ngone\r\n"


def test_line_ends_of_the_delimiter_stay_as_they_are() -> None:
    text = mail(MIXED, "", "--b", "", "one", "--b--", end=b"\n")
    message = parse(text)
    found = result(message, *strip(message, only(message, "1.1"), NOTICE))
    assert found == (mail(MIXED, "", "--b", end=b"\n") + PLAIN[:-2] + b"\n--b--\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", b"7bit"),
        ("", b"7bit"),
        ("a\n\nb\n", b"7bit"),
        ("x" * 76, b"7bit"),
        ("x" * 77, b"quoted-printable"),
        ("--b", b"quoted-printable"),
        ("From here", b"quoted-printable"),
        (".", b"quoted-printable"),
        ("blank at the end ", b"quoted-printable"),
        ("a\0b", b"quoted-printable"),
        ("größer", b"quoted-printable"),
        ("日本語", b"base64"),
    ],
)
def test_a_notice_is_encoded_as_lightly_as_can_be(text: str, encoding: bytes) -> None:
    message = read(MIXED, "", "--b", "", "x", "--b--")
    found = result(message, *strip(message, only(message, "1.1"), Notice(text)))
    part = only(parse(found), "1.1")
    assert part.transfer_encoding == encoding.decode()
    lines = text.removesuffix("\n").split("\n")
    ended = "\r\n".join(lines)
    # The last line end belongs to the delimiter, unless base64 holds it.
    assert content(part).decode().removesuffix("\r\n") == ended


@given(
    st.lists(
        st.sampled_from(
            ["--b", "--b--", "--", "x", "", "ü", "From x", ".", "日本", "\r"]
        ),
        max_size=6,
    )
)
def test_what_is_inserted_cannot_be_taken_for_structure(lines: list[str]) -> None:
    message = read(MIXED, "", "--b", "", "x", "--b", "", "y", "--b--")
    text = "\n".join(lines)
    (edit,) = strip(message, only(message, "1.1"), Notice(text))
    assert edit.replacement.isascii()
    rows = edit.replacement.split(b"\r\n")
    assert all(len(row) <= 76 for row in rows)
    assert not any(row.startswith((b"--", b".", b"From ")) for row in rows)
    assert b"\n" not in b"".join(rows)
    assert b"\r" not in b"".join(rows)
    assert shape(parse(result(message, edit)).root) == shape(message.root)


def replaced(tree: object, path: Sequence[int]) -> object:
    """Return the shape with the part at ``path`` become a text leaf."""
    assert isinstance(tree, tuple)
    if not path:
        return ("text/plain",)
    at = path[0]
    return (*tree[:at], replaced(tree[at], path[1:]), *tree[at + 1 :])


def indices(part: Part) -> list[int]:
    return [int(number) for number in part.path.split(".")[1:]]


@given(TREES, st.integers(0, 100))
def test_stripping_one_part_changes_no_other(tree: Node, choice: int) -> None:
    message = parse(tree.octets)
    parts = list(message.parts())
    part = parts[choice % len(parts)]
    edits = strip(message, part, NOTICE)
    after = parse(result(message, *edits))
    assert shape(after.root) == replaced(shape(message.root), indices(part))
    assert content(only(after, part.path)).rstrip() == b"gone"
    untouched = {p.path for p in parts if not p.path.startswith(part.path)}
    for leaf in leaves(message):
        if leaf.path in untouched:
            assert only(after, leaf.path).span.of(after.buffer) == leaf.span.of(
                message.buffer
            )
    spans = [edit.span for edit in edits]
    kept = [t for t in tiles(message) if not any(span.covers(t.span) for span in spans)]
    before, behind = min(s.start for s in spans), max(s.end for s in spans)
    assert all(
        tile.span.end <= before or tile.span.start >= behind or tile.part == part.path
        for tile in kept
    )
    assert after.buffer[:before] == message.buffer[:before]
    rest = message.buffer[behind:]
    assert after.buffer[len(after.buffer) - len(rest) :] == rest


@given(CRLF_SOUP, st.integers(0, 100))
def test_stripping_from_any_input_keeps_everything_around(
    text: bytes, choice: int
) -> None:
    message = parse(text)
    parts = [part for part in message.parts() if part.buffer is message.buffer]
    part = parts[choice % len(parts)]
    assume(part.path != "1")
    edits = strip(message, part, NOTICE)
    after = parse(result(message, *edits))
    assert after.buffer[: part.span.start] == text[: part.span.start]
    rest = text[part.span.end :]
    assert after.buffer[len(after.buffer) - len(rest) :] == rest
    expected = replaced(span_shape(message.root), indices(part))
    assert span_shape(after.root) == expected


def span_shape(part: Part) -> object:
    """Like ``shape``, without what was found in decoded content."""
    return (part.content_type, *(span_shape(child) for child in part.children))


@given(TREES, st.lists(st.integers(0, 100), min_size=2, max_size=4, unique=True))
def test_edits_of_disjoint_spans_commute(tree: Node, choices: list[int]) -> None:
    message = parse(tree.octets)
    found = leaves(message)
    chosen = {found[choice % len(found)].path for choice in choices}
    plans = [strip(message, only(message, path), NOTICE) for path in sorted(chosen)]
    outcomes = {
        result(message, *itertools.chain.from_iterable(order))
        for order in itertools.permutations(plans)
    }
    assert len(outcomes) == 1


@given(TREES, st.integers(0, 100))
def test_an_edit_inside_another_is_lost_in_it(tree: Node, choice: int) -> None:
    message = parse(tree.octets)
    containers = [part for part in message.parts() if part.children]
    assume(containers)
    outer = containers[choice % len(containers)]
    edits = strip(message, outer, NOTICE)
    inner = [strip(message, child, Notice("no")) for child in outer.children]
    expected = result(message, *edits)
    assert result(message, *edits, *itertools.chain(*inner)) == expected
    assert result(message, *itertools.chain(*inner), *edits) == expected
    assert result(message, *edits, *edits) == expected


def test_an_empty_part_that_is_stripped_twice_leaves_one_notice() -> None:
    message = read(MIXED, "", "--b", "--b--")
    edits = strip(message, only(message, "1.1"), NOTICE)
    assert result(message, *edits, *edits) == result(message, *edits)


def test_a_field_is_added_on_top() -> None:
    message = read("Subject: x", "", "body")
    edit = prepend_field(message, b"X-SmtpGuard-Id", b"5f3a.2")
    assert result(message, edit) == b"X-SmtpGuard-Id: 5f3a.2\r\n" + message.buffer


def test_fields_added_on_top_keep_their_order() -> None:
    message = read("Subject: x", "", "body")
    edits = [prepend_field(message, name, b"1") for name in (b"A", b"B")]
    assert result(message, *edits).startswith(b"A: 1\r\nB: 1\r\nSubject")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\r\nbody", b"A: 1\r\n\r\nbody"),
        (b"", b"A: 1\r\n"),
        (b"junk", b"junk\r\nA: 1\r\n"),
        (
            b"From x@y Mon\r\nSubject: x\r\n\r\n",
            b"From x@y Mon\r\nA: 1\r\nSubject: x\r\n\r\n",
        ),
        (b" folded\r\nSubject: x\r\n", b" folded\r\nA: 1\r\nSubject: x\r\n"),
    ],
)
def test_a_field_can_be_added_to_any_message(text: bytes, expected: bytes) -> None:
    message = parse(text)
    found = result(message, prepend_field(message, b"A", b"1"))
    assert found == expected
    assert values(parse(found), "a") == ("1",)


def test_a_long_field_is_folded_at_its_blanks() -> None:
    message = read("Subject: x", "")
    value = b"word " * 40
    edit = prepend_field(message, b"X-Long", value)
    assert all(len(line) <= 76 for line in edit.replacement.split(b"\r\n"))
    found = values(parse(result(message, edit)), "x-long")
    assert found == (value.decode().strip(),)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"A", b"x\r\nB: y"),
        (b"A", b"x\ny"),
        (b"A", b"\xc3\xbc"),
        (b"A", b"\0"),
        (b"A b", b"x"),
        (b"A:", b"x"),
        (b"", b"x"),
        (b"A", b"x" * 1000),
    ],
)
def test_what_would_break_the_header_is_refused(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError):
        prepend_field(read("Subject: x", ""), name, value)


def without(message: Message, *names: str) -> bytes:
    fields = [f for p in message.parts() for f in p.fields if f.name in names]
    return result(message, *(remove_field(message, field) for field in fields))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"X: 1\r\nA: 2\r\n\r\nbody", b"A: 2\r\n\r\nbody"),
        (b"A: 2\r\nX: 1\r\n\r\nbody", b"A: 2\r\n\r\nbody"),
        (
            b"A: 2\r\nX: 1\r\n\tfold\r\n \r\n  b\r\nB: 3\r\n\r\n",
            b"A: 2\r\nB: 3\r\n\r\n",
        ),
        (b"X: 1\r\nX: 2\r\n a\r\nA: 3\r\n b\r\nX: 4\r\n\r\n", b"A: 3\r\n b\r\n\r\n"),
        (b"X : 1\r\nA: 2\r\n", b"A: 2\r\n"),
        (b"A: 1\r\nX: 2", b"A: 1\r\n"),
        (b"X: 2", b""),
        (b"A: 1\nX: 2\n\nbody\n", b"A: 1\n\nbody\n"),
        (b"From x@y Mon\r\nX: 1\r\n\r\nb", b"From x@y Mon\r\n\r\nb"),
        (b" junk\r\nX: 1\r\njunk\r\n\r\nb", b" junk\r\njunk\r\n\r\nb"),
    ],
)
def test_a_field_is_taken_away_with_all_its_lines(text: bytes, expected: bytes) -> None:
    message = parse(text)
    assert without(message, "X") == expected


def test_a_header_without_any_field_left_ends_where_it_did() -> None:
    found = without(read("X: 1", " a", "X: 2", "", "A: body", "", "b"), "X")
    assert found == mail("", "A: body", "", "b")
    after = parse(found)
    assert after.fields == ()
    assert content(after.root) == mail("A: body", "", "b")


def test_fields_of_a_part_can_be_taken_away() -> None:
    message = read(MIXED, "", "--b", "X: 1", "", "x", "--b", "X: 2", "--b--")
    assert without(message, "X") == mail(MIXED, "", "--b", "", "x", "--b", "--b--")


@pytest.mark.parametrize("limit", range(8, 35))
def test_a_field_that_a_limit_cut_is_taken_away_to_its_end(limit: int) -> None:
    """Its rest would become a line of its own, or go on with the field before."""
    text = mail("A: 1", "X: 2", " B: 3", "\tC: 4", " D: 5", "", "body")
    message = parse(text, Limits(header_section=limit))
    assert [field.name for field in message.fields] == ["A", "X"]
    assert without(message, "X") == mail("A: 1", "", "body")


@pytest.mark.parametrize("limit", range(30, 62))
def test_a_type_that_a_limit_cut_is_replaced_to_its_end(limit: int) -> None:
    text = mail(
        "A: 1", "Content-Type: application/zip;", " name=a.zip;", " x=y", "", ""
    )
    message = parse(text, Limits(header_section=limit))
    edits = strip(message, message.root, NOTICE)
    field = message.fields[1]
    expected = mail("A: 1", "MIME-Version: 1.0") + PLAIN
    assert result(message, *edits, remove_field(message, field)) == expected


@given(
    TREES | CRLF_SOUP.map(lambda text: Node("", text)),
    st.sets(st.integers(0, 30), max_size=6),
    st.integers(0, 100),
)
def test_taking_fields_away_changes_no_other(
    tree: Node, chosen: set[int], choice: int
) -> None:
    own = mail("X: 1", "Y: 2", "\tz", "X: 3")
    message = parse(own + tree.octets)
    gone = [field for n, field in enumerate(message.fields) if n in chosen]
    edits = [remove_field(message, field) for field in gone]
    found = result(message, *edits)
    assert result(message, *reversed(edits)) == found
    assert len(found) == len(message.buffer) - sum(len(field.span) for field in gone)
    body = message.root.body.of(message.buffer)
    assert found.endswith(body)
    after = parse(found)
    kept = [field.raw for n, field in enumerate(message.fields) if n not in chosen]
    assert [field.raw for field in after.fields] == kept
    # A strip of what is inside goes with it, in any order.
    inner = [part for part in message.parts() if message.holder(part).path != "1"]
    if inner:
        strips = strip(message, inner[choice % len(inner)], NOTICE)
        both = result(message, *edits, *strips)
        assert both == result(message, *strips, *edits)
        assert parse(both).root.header == after.root.header


def test_fields_can_change_while_a_part_is_stripped() -> None:
    message = read("X-Forged: 1", "Content-Type: a/b", "X-Forged: 2", "", "x")
    edits = (
        # Taken away; that of the type is replaced by the strip as well, and loses.
        *(remove_field(message, message.fields[n]) for n in (0, 2, 1)),
        prepend_field(message, b"X-Own", b"1"),
        *strip(message, message.root, NOTICE),
    )
    expected = b"X-Own: 1\r\nMIME-Version: 1.0\r\n" + FIELDS + b"\r\ngone\r\n"
    for order in itertools.permutations(edits):
        assert result(message, *order) == expected


def test_spans_that_overlap_in_part_are_a_bug() -> None:
    message = read("A: 1", "", "x")
    with pytest.raises(ValueError, match="overlap at 2"):
        apply(message, [Edit(Span(0, 4), b""), Edit(Span(2, 6), b"")])


def test_a_planned_edit_costs_no_copy_of_the_message() -> None:
    message = read(MIXED, "", "--b", "", "x" * 100_000, "--b", "", "y", "--b--")
    edited = apply(message, strip(message, only(message, "1.2"), NOTICE))
    assert edited.original is message.buffer
    inserted = [piece for piece in edited.pieces if isinstance(piece, bytes)]
    assert sum(map(len, inserted)) == len(PLAIN) - 2
