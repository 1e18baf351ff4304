from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.wire.text import MAX_LINE, TextReader
from tests.wire.feeding import cuts, octet_by_octet, of_words


PLENTY = 2**20


def read(
    chunks: list[bytes],
    *,
    limit: int = PLENTY,
    normalise: bool = False,
    binary: bool = False,
) -> tuple[TextReader, bytes]:
    reader = TextReader(limit=limit, normalise=normalise, binary=binary)
    written: list[bytes] = []
    for chunk in chunks:
        reader.write_chunk(chunk, written.append)
    reader.finish(written.append)
    return reader, b"".join(written)


def counts(reader: TextReader) -> tuple[int, int, int, int]:
    return reader.bare_cr, reader.bare_lf, reader.nul, reader.long_lines


def model_of_long_lines(text: bytes) -> int:
    return sum(len(line) > MAX_LINE for line in text.split(b"\r\n"))


TEXTS = [
    pytest.param(b"", (0, 0, 0, 0), b"", id="empty"),
    pytest.param(b"a\r\nb\r\n", (0, 0, 0, 0), b"a\r\nb\r\n", id="clean"),
    pytest.param(b"a\r\nb", (0, 0, 0, 0), b"a\r\nb", id="no-final-end"),
    pytest.param(b".\r\n..\r\n", (0, 0, 0, 0), b".\r\n..\r\n", id="dots-are-text"),
    pytest.param(b"a\nb", (0, 1, 0, 0), b"a\r\nb", id="bare-lf"),
    pytest.param(b"\n", (0, 1, 0, 0), b"\r\n", id="bare-lf-alone"),
    pytest.param(b"a\rb", (1, 0, 0, 0), b"a b", id="bare-cr"),
    pytest.param(b"a\r", (1, 0, 0, 0), b"a ", id="bare-cr-at-the-end"),
    pytest.param(b"a\r\r", (2, 0, 0, 0), b"a  ", id="two-at-the-end"),
    pytest.param(b"a\r\r\nb", (1, 0, 0, 0), b"a\r\nb", id="cr-cr-lf"),
    pytest.param(b"a\r\r\r\nb", (2, 0, 0, 0), b"a \r\nb", id="cr-cr-cr-lf"),
    pytest.param(b"a\n\rb", (1, 1, 0, 0), b"a\r\n b", id="lf-cr"),
    pytest.param(b"\0a\0\0b\0", (0, 0, 4, 0), b"ab", id="nul"),
    pytest.param(b"a\r\0\nb", (1, 1, 1, 0), b"a \r\nb", id="cr-nul-lf"),
    pytest.param(b"a\0\r\nb", (0, 0, 1, 0), b"a\r\nb", id="nul-crlf"),
    pytest.param(b"a\r\n\0\nb", (0, 1, 1, 0), b"a\r\n\r\nb", id="crlf-nul-lf"),
    pytest.param(b"a\r\0\r\nb", (1, 0, 1, 0), b"a \r\nb", id="cr-nul-crlf"),
]


@pytest.mark.parametrize(("text", "found", "repaired"), TEXTS)
def test_strays_are_counted_and_repaired_only_if_asked(
    text: bytes, found: tuple[int, int, int, int], repaired: bytes
) -> None:
    for chunks in ([text], octet_by_octet(text)):
        reader, written = read(chunks)
        assert (counts(reader), written) == (found, text)
        assert (reader.stray, reader.size) == (sum(found[:3]), len(text))
        reader, written = read(chunks, normalise=True)
        assert (counts(reader), written) == (found, repaired)
        assert (reader.stray, reader.size) == (sum(found[:3]), len(repaired))


@pytest.mark.parametrize(("text", "found", "repaired"), TEXTS)
def test_binary_passes_everything_uncounted(
    text: bytes, found: tuple[int, int, int, int], repaired: bytes
) -> None:
    reader, written = read(octet_by_octet(text), binary=True, normalise=True)
    assert (counts(reader), written, reader.size) == ((0, 0, 0, 0), text, len(text))


LENGTHS = [
    pytest.param(b"x" * 998 + b"\r\n", 0, id="998"),
    pytest.param(b"x" * 999 + b"\r\n", 1, id="999"),
    pytest.param(b"x" * 998, 0, id="998-without-end"),
    pytest.param(b"x" * 999, 1, id="999-without-end"),
    pytest.param(b"a\r\n" + b"x" * 998 + b"\r\nb\r\n", 0, id="998-among-short-ones"),
    pytest.param(b"a\r\n" + b"x" * 999 + b"\r\nb\r\n", 1, id="999-among-short-ones"),
    pytest.param((b"x" * 1000 + b"\r\n") * 3, 3, id="three"),
    pytest.param((b"x" * 998 + b"\r\n") * 3, 0, id="three-that-just-fit"),
    pytest.param(b"x" * 5000 + b"\r\na\r\n", 1, id="5000"),
    pytest.param(b"\0" + b"x" * 997 + b"\r\n", 0, id="998-with-nul"),
    pytest.param(b"\0" + b"x" * 998 + b"\r\n", 1, id="999-with-nul"),
    pytest.param(b"a\nb\r\n" + b"x" * 999 + b"\r\n", 1, id="after-a-bare-lf"),
]


@pytest.mark.parametrize(("text", "long_lines"), LENGTHS)
def test_a_line_may_have_998_octets(text: bytes, long_lines: int) -> None:
    for chunks in ([text], octet_by_octet(text), [text[:999], text[999:]]):
        reader, written = read(chunks)
        assert (reader.long_lines, written == text) == (long_lines, True)


@given(
    st.data(),
    of_words(b"x" * 997, b"y" * 500, b"z", b"\r\n", b"\n", b"\0", max_size=12),
)
def test_long_lines_are_what_the_model_says(data: st.DataObject, text: bytes) -> None:
    reader, written = read(data.draw(cuts(text)))
    assert (reader.long_lines, written) == (model_of_long_lines(text), text)


@given(
    st.data(),
    of_words(b"a", b"\r\n", b"\r", b"\n", b"\0", b"\r\r", b"bc"),
    st.booleans(),
    st.booleans(),
)
def test_any_split_gives_the_same(
    data: st.DataObject, text: bytes, normalise: bool, binary: bool
) -> None:
    whole, once = read([text], limit=9, normalise=normalise, binary=binary)
    split, pieces = read(
        data.draw(cuts(text)), limit=9, normalise=normalise, binary=binary
    )
    assert (counts(split), pieces) == (counts(whole), once)
    assert (split.size, split.too_large) == (whole.size, whole.too_large)
    assert split.overrun is whole.overrun


@pytest.mark.parametrize(
    ("size", "too_large", "overrun"),
    [(9, False, False), (10, False, False), (11, True, False), (21, True, True)],
)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_the_first_octets_up_to_the_limit_are_written(
    size: int, too_large: bool, overrun: bool, binary: bool
) -> None:
    for chunks in ([b"x" * size], [b"x"] * size):
        reader, written = read(chunks, limit=10, binary=binary)
        assert written == b"x" * min(size, 10)
        assert (reader.size, reader.too_large, reader.overrun) == (
            size,
            too_large,
            overrun,
        )
