"""What other readers make of contents (attacks M2, M3)."""

from __future__ import annotations

import base64
import binascii
import quopri
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from smtpguard.mime.octets import Span
from smtpguard.mime.otherreadings import (
    MAX_BOUNDARIES,
    MAX_OCTETS,
    any_encoding,
    distinct,
    has_delimiter,
    hidden_boundaries,
    is_clean_base64,
    is_clean_quoted_printable,
    other_base64,
    other_quoted_printable,
)
from smtpguard.mime.transferencoding import decode_base64


TOOL = b"MZ\x90\0 tool \xff\xfe" + bytes(range(256))
TEXT = base64.encodebytes(TOOL).replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("octets", "clean"),
    [
        (b"", True),
        (TEXT, True),
        (TEXT.rstrip(), True),
        (TEXT + b"\r\n \r\n", True),
        (b"QUJD\r\n", True),
        (b"QUI=\r\n", True),
        (b"QQ==", True),
        # Not whole groups, padding that goes on, words behind it, foreign characters.
        (b"QUJDR", False),
        (b"QUI", False),
        (b"Q===", False),
        (b"QUI=QUI=", False),
        (b"QQ==\r\nlist footer\r\n", False),
        (b"QU#JD", False),
        (b"QU JD", False),
        (b"Q=UI", False),
        (b"=QUI", False),
        (b"QUJD\0", False),
    ],
)
def test_base64_is_clean_where_all_read_it_alike(octets: bytes, clean: bool) -> None:
    assert is_clean_base64(octets, Span(0, len(octets))) is clean
    around = b"QU#JD" + octets + b"QU#JD"
    assert is_clean_base64(around, Span(5, 5 + len(octets))) is clean


def test_clean_base64_has_one_reading() -> None:
    assert list(other_base64(TEXT)) == []


def test_padding_may_end_a_group_or_nothing() -> None:
    """Each group of three characters, as a reader takes it that pads by itself."""
    groups = [TOOL[at : at + 2] for at in range(0, 20, 2)]
    coded = [base64.b64encode(group) for group in groups]
    at_the_end = b"".join(coded)
    assert b"".join(groups) in other_base64(at_the_end)
    # noxxi: the padding stands within the group.
    within = b"".join(code[:1] + b"=" + code[1:3] for code in coded)
    assert list(other_base64(within)) == [b"".join(groups)]


def test_a_reader_may_give_a_line_up_at_what_is_foreign() -> None:
    lines = TEXT.split(b"\r\n")
    junk = b"\r\n".join(line + b"#abcd0123" if line else line for line in lines)
    assert decode_base64(junk) != TOOL
    assert TOOL in other_base64(junk)


def test_what_is_no_base64_at_all_may_be_left_as_it_is() -> None:
    """stalwart shows it as text; others show nothing, or what its letters decode to."""
    script = b"<script>location = 'https://phish.example/'</script>\r\n"
    assert script in other_base64(script)
    assert TEXT not in other_base64(TEXT)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (b"", True),
        (b"a=3Db=\r\nc=3d", True),
        (b"a= \t\r\nb=", True),
        (b"a=3", False),
        (b"a==3D", False),
        (b"a=GGb", False),
        (b"a= b", False),
    ],
)
def test_quoted_printable_is_clean_where_each_mark_begins_something(
    text: bytes, clean: bool
) -> None:
    assert is_clean_quoted_printable(text) is clean
    assert bool(list(other_quoted_printable(text))) is not clean


def test_a_mark_that_begins_nothing_is_dropped_alone_or_with_what_follows() -> None:
    assert list(other_quoted_printable(b"=P=K==03==04=0Xz")) == [
        b"PK\x03\x04=0Xz".replace(b"=", b""),
        b"\x03\x04z",
    ]


def test_content_is_read_by_its_looks_where_its_encoding_is_not_known() -> None:
    short = b"MZ\x90\0=tool\xff\xfe"
    assert short in any_encoding(quopri.encodestring(short))
    assert TOOL in any_encoding(TEXT)
    rows = [binascii.b2a_uu(TOOL[at : at + 45]) for at in range(0, len(TOOL), 45)]
    assert TOOL in any_encoding(b"".join(rows).replace(b"\n", b"\r\n"))
    assert list(any_encoding(b"Dear all,\r\n\r\nthis is no encoding.\r\n")) == []
    assert list(any_encoding(b"")) == []


def test_each_content_is_seen_once() -> None:
    assert list(distinct(b"a", [b"b", b"", b"a", b"c", b"b"])) == [b"b", b"c"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", ()),
        (b"text -- \r\nname\r\n", ()),
        (b"\r\n-- \r\nContent is king\r\n", ()),
        (b"\r\n--X\r\nContent-Type: a/b\r\n\r\nx\r\n--X--\r\n", (b"X",)),
        (b"\r\n--X \t\r\n\r\ncontent-disposition : a\r\n", (b"X",)),
        (b"\n--X\ncontent-type: a/b\n", (b"X",)),
        (
            b"\n--X\nContent-ID: b\n\n--Y\nContent-ID: c\n\n--X\nContent-ID: b",
            (b"X", b"Y"),
        ),
        (b"\r\n-- \r\nContent-Type: a/b\r\n", (b"",)),
        (b"\n--" + b"x" * 200 + b"  \r\nContent-ID: a\n", (b"x" * 200,)),
        (b"\n--" + b"x" * 201 + b"\nContent-ID: a\n", ()),
    ],
)
def test_parts_are_seen_by_their_delimiters(
    text: bytes, found: tuple[bytes, ...]
) -> None:
    assert hidden_boundaries(text) == found


def test_a_delimiter_is_looked_for_in_a_span() -> None:
    text = b"x\r\n--X\r\nContent-ID: b\r\n"
    assert has_delimiter(text, Span(0, len(text)))
    assert has_delimiter(text, Span(3, len(text)))
    assert not has_delimiter(text, Span(4, len(text)))
    assert not has_delimiter(text, Span(0, len(text) - 5))


def test_empty_lines_behind_dashes_are_read_once() -> None:
    """For each blank of the delimiter they were read again: 12 s for 4 MiB."""
    began = time.process_time()
    text = b"\n--" + b" " * 200 + b"\n" * 8_000_000
    assert hidden_boundaries(text) == ()
    assert time.process_time() - began < 2


def test_not_every_line_of_dashes_is_tried() -> None:
    text = b"".join(b"\r\n--%d\r\nContent-Type: a/b\r\n" % n for n in range(1000))
    assert len(hidden_boundaries(text)) == MAX_BOUNDARIES


@pytest.mark.parametrize(
    "unit",
    [b"=", b"=A", b"==", b"#a", b"QUI=", b"\r\n--x", b"\r\n--x\r\n ", b" \t", b"=0X="],
)
def test_time_grows_with_the_content_alone(unit: bytes) -> None:
    def seconds(count: int) -> float:
        text = unit * count
        taken = []
        for _ in range(5):
            began = time.process_time()
            is_clean_base64(text, Span(0, len(text)))
            list(any_encoding(text))
            list(other_base64(text))
            list(other_quoted_printable(text))
            hidden_boundaries(text)
            taken.append(time.process_time() - began)
        return min(taken)

    small, large = seconds(8000), seconds(64_000)
    assert large < max(small, 0.002) * 24


@pytest.mark.slow
@pytest.mark.parametrize(
    ("read", "unit"),
    [
        (other_quoted_printable, b"=zz"),
        (other_quoted_printable, b"="),
        (other_quoted_printable, b"=z xy \n"),
        (other_base64, b"AA="),
        (other_base64, b"A!A\n"),
        (any_encoding, b"AA=\n"),
        (any_encoding, b"!AAAA\n"),
    ],
)
def test_noise_takes_a_few_times_its_length(
    read: Callable[[bytes], Iterator[bytes]], unit: bytes
) -> None:
    """A list of all pieces of it would take forty times as much."""
    noise = (unit * MAX_OCTETS)[:MAX_OCTETS]
    tracemalloc.start()
    try:
        for _ in read(noise):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MAX_OCTETS
