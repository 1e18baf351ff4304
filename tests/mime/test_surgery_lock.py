from __future__ import annotations

import itertools
import string
from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smtpguard.mime import (
    Edit,
    Limits,
    Message,
    Notice,
    Part,
    apply,
    lock,
    parse,
    prepend_field,
    strip,
)
from smtpguard.model.content import CHUNK_OCTETS
from tests.mime.mails import (
    CRLF_SOUP,
    TREES,
    Node,
    content,
    kinds,
    leaves,
    mail,
    only,
    read,
    shape,
    values,
)


NOTICE = Notice("locked away\n")
PAYLOAD = b"\x89clk\r\n\x1a\npayload"
TEXT_FIELDS = (
    "Content-Type: text/plain; charset=utf-8",
    "Content-Transfer-Encoding: 7bit",
    "Content-Disposition: inline",
)
TEXT = mail(*TEXT_FIELDS, "", "locked away")
FILE = mail(
    "Content-Type: application/x-smtpguard-locked",
    "Content-Transfer-Encoding: base64",
    "Content-Disposition: attachment;",
    ' filename="a.exe.clk"',
    "",
    "iWNsaw0KGgpwYXlsb2Fk",
)
MIXED = 'Content-Type: multipart/mixed; boundary="b"'
TEXT_SHAPE = ("text/plain",)
FILE_SHAPE = ("application/x-smtpguard-locked",)
BOTH_SHAPE = ("multipart/mixed", TEXT_SHAPE, FILE_SHAPE)


def planned(message: Message, part: Part, payload: bytes = PAYLOAD) -> tuple[Edit, ...]:
    return lock(message, part, NOTICE, "a.exe.clk", payload)


def result(message: Message, *edits: Edit) -> bytes:
    edited = apply(message, edits)
    octets = b"".join(edited.chunks())
    assert len(octets) == edited.size
    return octets


def locked(*lines: str | bytes, path: str) -> bytes:
    message = read(*lines)
    return result(message, *planned(message, only(message, path)))


def boundary(part: Part) -> bytes:
    assert part.claims.boundary is not None
    return part.claims.boundary


def entity(at: bytes) -> bytes:
    """Return the multipart of both parts with the boundary ``at``."""
    head = b'Content-Type: multipart/mixed; boundary="' + at + b'"\r\n\r\n'
    line = b"--" + at
    return head + line + b"\r\n" + TEXT + line + b"\r\n" + FILE + line + b"--\r\n"


def test_in_a_multipart_mixed_the_part_becomes_two() -> None:
    found = locked(
        MIXED, "", "--b", "", "one", "--b", "A: b", "", "x", "--b--", path="1.2"
    )
    assert found == (
        mail(MIXED, "", "--b", "", "one", "--b") + TEXT + mail("--b") + FILE
    ) + mail("--b--")


@pytest.mark.parametrize("line", ["--b", "--b  ", "--b\t"])
def test_between_the_two_stands_the_delimiter_as_it_was_received(line: str) -> None:
    found = locked(MIXED, "", line, "", "x", "--b", "", "y", "--b--", path="1.1")
    assert found == (
        mail(MIXED, "", line) + TEXT + mail(line) + FILE + mail("--b", "", "y", "--b--")
    )


def test_each_part_has_its_own_delimiter() -> None:
    found = locked(MIXED, "", "--b ", "", "x", "--b\t", "", "y", "--b--", path="1.2")
    assert found == (
        mail(MIXED, "", "--b ", "", "x", "--b\t") + TEXT + mail("--b\t") + FILE
    ) + mail("--b--")


@pytest.mark.parametrize("end", ["--b--\r\n", "--b--", "", "--b\r\n\r\ny\r\n"])
def test_an_empty_part_and_any_end_will_do(end: str) -> None:
    message = parse(mail(MIXED, "", "--b") + end.encode())
    found = result(message, *planned(message, only(message, "1.1")))
    assert found == mail(MIXED, "", "--b") + TEXT + mail("--b") + FILE + end.encode()


@pytest.mark.parametrize("line_end", ["", "\n", "\r\n"])
def test_a_delimiter_that_ends_the_message_gets_its_line_end(line_end: str) -> None:
    message = parse(mail(MIXED, "", "--b", "", "x") + f"--b{line_end}".encode())
    part = only(message, "1.2")
    found = parse(result(message, *planned(message, part)))
    assert shape(found.root) == (
        "multipart/mixed",
        TEXT_SHAPE,
        TEXT_SHAPE,
        FILE_SHAPE,
    )
    # The notice of a strip has to begin a line as well.
    found = parse(result(message, *strip(message, part, NOTICE)))
    assert shape(found.root) == ("multipart/mixed", TEXT_SHAPE, TEXT_SHAPE)
    assert content(only(found, "1.2")) == b"locked away\r\n"


@pytest.mark.parametrize(
    "subtype",
    ["alternative", "related", "signed", "encrypted", "digest", "report", "x-own"],
)
def test_where_two_parts_would_mean_something_else_they_are_one(subtype: str) -> None:
    """RFC 2046 5.1.4, RFC 2387, RFC 1847, RFC 6522: places have a meaning."""
    field = f"Content-Type: multipart/{subtype}; boundary=b"
    lines = (field, "", "--b", "A: b", "", "x", "--b", "", "y: z", "", "w", "--b--")
    found = locked(*lines, path="1.1")
    message = parse(found)
    first, second = message.root.children
    assert shape(first) == BOTH_SHAPE
    assert found == (
        mail(field, "", "--b")
        + entity(boundary(first))
        + mail("--b", "", "y: z", "", "w", "--b--")
    )
    assert second.span.of(found) == mail("", "y: z", "", "w").removesuffix(b"\r\n")
    assert kinds(message) == set()


def test_a_mail_that_is_one_attachment_keeps_its_other_fields() -> None:
    found = locked(
        "Received: from x",
        "\tby y",
        "CONTENT-TYPE: application/zip;",
        " name=a.zip",
        "MIME-Version: 1.0 (odd)",
        "Content-Disposition: attachment",
        "Content-Transfer-Encoding: base64",
        "Subject: =?utf-8?q?x?=",
        "",
        "UEsDBA==",
        path="1",
    )
    root = parse(found).root
    fields, _, content_of_both = entity(boundary(root)).partition(b"\r\n\r\n")
    assert found == (
        mail("Received: from x", "\tby y", fields)
        + mail("MIME-Version: 1.0 (odd)", "Subject: =?utf-8?q?x?=", "")
        + content_of_both
    )
    assert shape(root) == BOTH_SHAPE


def test_a_message_inside_a_part_keeps_its_other_fields() -> None:
    found = locked(
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
    inner = only(parse(found), "1.1.1")
    fields, _, content_of_both = entity(boundary(inner)).partition(b"\r\n\r\n")
    assert found == (
        mail(MIXED, "", "--b", "Content-Type: message/rfc822", "", "Subject: inner")
        + mail("MIME-Version: 1.0", fields, "To: x", "")
        + content_of_both
        + mail("--b--")
    )


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
    expected = mail(MIXED, "", "--b") + TEXT + mail("--b") + FILE + mail("--b--")
    assert locked(*lines, path="1.1.1") == expected
    assert locked(*lines, path="1.1") == expected


@pytest.mark.parametrize(
    "text",
    [
        b"Subject: x\r\n\r\nbody\r\n",
        b"Subject: x\r\n\r\nbody",
        b"Subject: x\r\n\r\n",
        b"Subject: x\r\n",
        b"Subject: x",
        b"Content-Type: a/b\r\nSubject: x",
        b"Subject: x\r\nContent-Type: a/b",
        b"Content-Type: a/b",
        b"\r\nbody",
        b"",
        b"junk",
    ],
)
def test_a_message_of_any_form_is_locked(text: bytes) -> None:
    message = parse(text)
    found = parse(result(message, *planned(message, message.root)))
    assert shape(found.root) == BOTH_SHAPE
    assert content(only(found, "1.2")) == PAYLOAD
    assert values(found, "subject") == values(message, "subject")
    assert kinds(found) - kinds(message) == set()


def test_the_payload_comes_in_chunks_and_is_not_put_together() -> None:
    message = read(MIXED, "", "--b", "", "x", "--b--")
    chunks: Iterator[bytes] = iter([b"x" * 1_000_000] * 3)
    edits = lock(message, only(message, "1.1"), NOTICE, "a", chunks)
    edited = apply(message, edits)
    sizes = [len(piece) for piece in edited.chunks()]
    assert max(sizes) <= CHUNK_OCTETS
    inserted = {id(piece) for piece in edited.pieces if isinstance(piece, bytes)}
    assert {id(piece) for edit in edits for piece in edit.more} <= inserted
    after = parse(result(message, *edits))
    assert content(only(after, "1.2")) == b"x" * 3_000_000


def nested(letters: str) -> bytes:
    """Return alternatives within one another, each delimited by one letter."""
    heads = b"".join(
        mail(f"Content-Type: multipart/alternative; boundary={one}", "", f"--{one}")
        for one in letters
    )
    return heads + mail("A: b", "", "x", *(f"--{one}--" for one in letters[::-1]))


def test_a_boundary_is_none_of_those_around_it() -> None:
    letters = string.ascii_letters[:48]
    text = nested(letters)
    message = parse(text)
    (part,) = leaves(message)
    assert part.path.count(".") == len(letters)
    for number in range(20):
        payload = b"%d" % number
        after = parse(result(message, *planned(message, part, payload)), Limits(60))
        assert shape(only(after, part.path)) == BOTH_SHAPE
        assert kinds(after) == set()


def test_a_part_within_more_multiparts_than_letters_is_left_to_the_caller() -> None:
    letters = string.ascii_letters + string.digits
    message = parse(nested(letters), Limits(depth=100))
    (part,) = leaves(message)
    with pytest.raises(ValueError, match="boundaries around"):
        planned(message, part)


def expected(tree: Part, path: str) -> object:
    """Return the shape of a tree with the part at ``path`` locked."""
    if tree.path == path:
        return BOTH_SHAPE
    found: list[object] = [tree.content_type]
    for child in tree.children:
        if child.path == path and tree.content_type == "multipart/mixed":
            found += [TEXT_SHAPE, FILE_SHAPE]
        else:
            found.append(expected(child, path))
    return tuple(found)


def span_shape(part: Part) -> object:
    """Return the nesting of what stands in the received octets."""
    return (part.content_type, *(span_shape(child) for child in part.children))


def files(message: Message) -> list[bytes]:
    kind = FILE_SHAPE[0]
    return [content(part) for part in message.parts() if part.content_type == kind]


@given(TREES, st.integers(0, 100), st.binary(max_size=200))
def test_locking_one_part_changes_no_other(
    tree: Node, choice: int, payload: bytes
) -> None:
    message = parse(tree.octets)
    parts = [part for part in message.parts() if part.buffer is message.buffer]
    part = parts[choice % len(parts)]
    edits = planned(message, part, payload)
    after = parse(result(message, *edits))
    assert span_shape(after.root) == expected(message.root, part.path)
    assert files(after) == [payload]
    assert kinds(after) <= kinds(message)
    before, behind = (
        min(edit.span.start for edit in edits),
        max(edit.span.end for edit in edits),
    )
    assert part.span.start <= before
    assert behind <= part.span.end
    assert after.buffer[:before] == message.buffer[:before]
    rest = message.buffer[behind:]
    assert after.buffer[len(after.buffer) - len(rest) :] == rest
    inside = (part.path, f"{part.path}.")
    kept = [
        leaf.span.of(message.buffer)
        for leaf in leaves(message)
        if leaf.path != inside[0] and not leaf.path.startswith(inside[1])
    ]
    others = [leaf.span.of(after.buffer) for leaf in leaves(after)]
    for octets in kept:
        assert octets in others


@given(CRLF_SOUP, st.integers(0, 100))
def test_locking_in_any_input_keeps_everything_around(text: bytes, choice: int) -> None:
    message = parse(text)
    parts = [part for part in message.parts() if part.buffer is message.buffer]
    part = parts[choice % len(parts)]
    assume(part.path != "1")
    after = parse(result(message, *planned(message, part)))
    assert after.buffer[: part.span.start] == text[: part.span.start]
    rest = text[part.span.end :]
    assert after.buffer[len(after.buffer) - len(rest) :] == rest
    assert span_shape(after.root) == expected(message.root, part.path)


@given(
    TREES,
    st.lists(
        st.tuples(st.integers(0, 100), st.booleans()),
        min_size=2,
        max_size=4,
        unique_by=lambda pair: pair[0],
    ),
)
def test_locks_and_strips_of_disjoint_parts_commute(
    tree: Node, choices: list[tuple[int, bool]]
) -> None:
    message = parse(tree.octets)
    found = leaves(message)
    chosen = {found[choice % len(found)].path: locks for choice, locks in choices}
    plans = [
        planned(message, only(message, path), path.encode())
        if locks
        else strip(message, only(message, path), NOTICE)
        for path, locks in sorted(chosen.items())
    ]
    plans.append((prepend_field(message, b"X-Own", b"1"),))
    outcomes = {
        result(message, *itertools.chain.from_iterable(order))
        for order in itertools.permutations(plans)
    }
    (outcome,) = outcomes
    holders = {message.holder(only(message, path)).path for path in chosen}
    after = parse(outcome)
    if len(holders) == len(chosen):
        locks = sorted(path.encode() for path, locks in chosen.items() if locks)
        assert sorted(files(after)) == locks


@given(TREES, st.integers(0, 100))
def test_of_two_plans_for_one_part_the_first_counts(tree: Node, choice: int) -> None:
    message = parse(tree.octets)
    parts = list(message.parts())
    part = parts[choice % len(parts)]
    one, other = planned(message, part), strip(message, part, Notice("gone"))
    assert result(message, *one, *other) == result(message, *one)
    assert result(message, *other, *one) == result(message, *other)


SIGNED = 'Content-Type: multipart/signed; boundary="s"; protocol="a/b"; micalg=x'


@given(TREES, TREES, TREES, st.integers(0, 100), st.booleans())
def test_an_edit_outside_leaves_what_is_signed_as_it_was_signed(
    first: Node, signed: Node, last: Node, choice: int, locks: bool
) -> None:
    """RFC 1847 2.1: the signature is over the octets of the first part."""
    part = signed.octets
    proof = mail("Content-Type: a/b", "", "signature")
    whole = mail(SIGNED, "", "--s", part, "--s", proof + b"--s--")
    text = mail(
        'Content-Type: multipart/mixed; boundary="m"',
        "",
        *("--m", first.octets, "--m", whole, "--m", last.octets, "--m--"),
    )
    message = parse(text)
    assert text.count(whole) == 1
    outside = [one for one in message.parts() if one.path.startswith(("1.1", "1.3"))]
    chosen = outside[choice % len(outside)]
    edits = (planned(message, chosen) if locks else strip(message, chosen, NOTICE)) + (
        prepend_field(message, b"X-Own", b"1"),
    )
    text = result(message, *edits)
    assert text.count(whole) == 1
    after = parse(text)
    (found,) = (
        one
        for one in after.root.children
        if one.content_type == "multipart/signed" and one.claims.boundary == b"s"
    )
    assert found.children[0].span.of(after.buffer) == part
    assert content(found.children[1]) == b"signature"


def test_text_mail_is_not_destroyed() -> None:
    """The model's "SMTP proxy destroys text mails" bug: the body is no attachment."""
    body = mail(
        "Content-Type: text/plain; charset=iso-8859-1",
        "Content-Transfer-Encoding: 8bit",
        "",
        b"Gr\xfc\xdfe  \t",
        "-- ",
        ".",
        "--bb",
        "From here",
        "begin 644 no file",
        "x" * 990,
        "",
    )
    message = read(
        "Subject: x",
        MIXED,
        "",
        "--b",
        body + b"--b",
        "Content-Type: application/zip; name=a.zip",
        "Content-Transfer-Encoding: base64",
        "",
        "UEsDBA==",
        "--b--",
    )
    attachment = only(message, "1.2")
    plans = (strip(message, attachment, NOTICE), planned(message, attachment))
    for edits in plans:
        found = result(message, *edits)
        at = attachment.span.start
        assert found[:at] == message.buffer[:at]
        assert only(parse(found), "1.1").span.of(found) + b"\r\n" == body


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_a_text_mail_with_nothing_to_edit_is_the_same_mail(lines: list[bytes]) -> None:
    head = mail("Subject: x", "Content-Type: text/plain", "")
    message = parse(head + b"\r\n".join(lines))
    edited = apply(message, ())
    assert edited.pieces == ((0, len(message.buffer)),)
    assert result(message) == message.buffer
    # A field on top is all that is new where no part is edited.
    tagged = result(message, prepend_field(message, b"X-Own", b"1"))
    assert tagged == b"X-Own: 1\r\n" + message.buffer
