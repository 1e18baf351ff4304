from __future__ import annotations

import base64
import binascii
import quopri
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime import Span
from smtpguard.mime.transferencoding import (
    ALPHABET,
    base64_pieces,
    decode,
    decode_base64,
    encode_base64,
    encode_quoted_printable,
)
from smtpguard.model.content import CHUNK_OCTETS


def decoded(encoding: str, text: bytes) -> bytes:
    return b"".join(decode(encoding, text, Span(0, len(text))))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"", b""),
        (b"SGVsbG8=", b"Hello"),
        (b"SGVs\r\nbG8=\r\n", b"Hello"),
        (b"SGVsbG8", b"Hello"),
        (b"S.G-V#s_b G 8=", b"Hello"),
        (b"SGVsbG8=SGVsbG8=", b"HelloHello"),
        (b"SGVsbA==\r\nSGVsbG8=", b"HellHello"),
        (b"=SGVsbG8=", b"Hello"),
        (b"A", b""),
        (b"A=A=", b""),
        (b"AA=", b"\0"),
        (b"QUJDRA", b"ABCD"),
        (b"\xff\x00", b""),
    ],
)
def test_base64_is_read_as_far_as_any_reader_would(text: bytes, content: bytes) -> None:
    assert decoded("base64", text) == content
    assert decode_base64(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"a=3Db", b"a=b"),
        (b"a=3db=c3=bc", b"a=b\xc3\xbc"),
        (b"a=\r\nb", b"ab"),
        (b"a=\nb", b"ab"),
        (b"a= \t\r\nb", b"ab"),
        (b"a \t\r\nb", b"a\r\nb"),
        (b"a=zz", b"a=zz"),
        (b"a=", b"a"),
        (b"a=\rbc\ndone", b"a=\rbc\ndone"),
        (b"a b\tc", b"a b\tc"),
        (b"\xff", b"\xff"),
    ],
)
def test_quoted_printable_is_read_as_far_as_any_reader_would(
    text: bytes, content: bytes
) -> None:
    """RFC 2045 6.7."""
    assert decoded("quoted-printable", text) == content


@pytest.mark.parametrize("encoding", ["7bit", "8bit", "binary", "x-unknown", ""])
def test_other_encodings_change_nothing(encoding: str) -> None:
    assert decoded(encoding, b"a=3D\0\r\n") == b"a=3D\0\r\n"


def test_only_the_span_is_decoded() -> None:
    assert b"".join(decode("base64", b"xxQUJDyy", Span(2, 6))) == b"ABC"


@pytest.mark.parametrize("shift", range(5))
def test_base64_is_decoded_across_chunks(shift: int) -> None:
    content = bytes(range(256)) * 2500
    text = b"\r\n" * shift + base64.encodebytes(content).replace(b"\n", b"\r\n")
    assert len(text) > 2 * CHUNK_OCTETS
    assert decoded("base64", text) == content


@pytest.mark.parametrize("shift", range(4))
def test_quoted_printable_is_decoded_across_chunks(shift: int) -> None:
    text = b"x" * shift + b"=C3=BC" * CHUNK_OCTETS
    assert (
        decoded("quoted-printable", text) == b"x" * shift + b"\xc3\xbc" * CHUNK_OCTETS
    )


@pytest.mark.parametrize("length", range(6))
@pytest.mark.parametrize("end", [b"", b"C", b"C3", b"xyz"])
def test_equals_signs_are_read_in_pairs_wherever_a_chunk_ends(
    length: int, end: bytes
) -> None:
    """The book knows none of it; binascii takes two for one."""
    wanted = b"=" * (length // 2)
    if length % 2:
        wanted += {b"": b"", b"C": b"=C", b"C3": b"\xc3", b"xyz": b"=xyz"}[end]
    else:
        wanted += end
    for before in (0, *range(CHUNK_OCTETS - 6, CHUNK_OCTETS + 1)):
        text = b"x" * before + b"=" * length + end
        assert decoded("quoted-printable", text) == b"x" * before + wanted


def test_no_chunk_is_much_larger_than_the_others() -> None:
    text = b"x" * (3 * CHUNK_OCTETS)
    for encoding in ("7bit", "base64", "quoted-printable"):
        chunks = decode(encoding, text, Span(0, len(text)))
        assert max(map(len, chunks)) <= 2 * CHUNK_OCTETS


@given(st.binary(max_size=300))
def test_what_the_standard_library_encodes_is_decoded(content: bytes) -> None:
    assert decoded("base64", base64.encodebytes(content)) == content
    quoted = quopri.encodestring(content)
    assert decoded("quoted-printable", quoted) == quopri.decodestring(quoted)


@given(st.binary(max_size=300))
def test_decoding_never_raises(text: bytes) -> None:
    for encoding in ("base64", "quoted-printable"):
        assert isinstance(decoded(encoding, text), bytes)


def octet_of(group: bytes) -> bytes:
    """Decode up to four characters by shifting their six bits together."""
    bits = "".join(f"{ALPHABET.index(one):06b}" for one in group)
    whole = len(bits) // 8 * 8
    return bytes(int(bits[at : at + 8], 2) for at in range(0, whole, 8))


@given(st.lists(st.sampled_from(b"AQz/+09==="), max_size=60).map(bytes))
def test_padding_ends_a_group_and_decoding_goes_on(text: bytes) -> None:
    runs = text.split(b"=")
    groups = [run[at : at + 4] for run in runs for at in range(0, len(run), 4)]
    assert decode_base64(text) == b"".join(map(octet_of, groups))


@given(st.lists(st.sampled_from([b" ", b"\t", b"x", b"\r", b"\n", b"\r\n"])))
def test_only_blanks_at_the_end_of_a_line_go(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    lines = re.split(rb"(\r?\n)", text)
    # What ends with the text is not known to end a line.
    expected = [line.rstrip(b" \t") for line in lines[:-1]] + lines[-1:]
    assert decoded("quoted-printable", text) == b"".join(expected)


@given(st.binary(max_size=300))
def test_encoded_base64_has_short_lines_and_decodes_to_itself(content: bytes) -> None:
    text = encode_base64(content)
    assert all(len(line) <= 76 for line in text.split(b"\r\n"))
    assert text == b"" or text.endswith(b"\r\n")
    assert binascii.a2b_base64(text) == content


@given(
    st.lists(st.integers(0, 3 * CHUNK_OCTETS), max_size=4),
    st.integers(1, 2 * CHUNK_OCTETS),
)
def test_base64_of_chunks_is_that_of_all_of_them(sizes: list[int], cut: int) -> None:
    content = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    chunks = [content[at : at + cut] for at in range(0, len(content), cut)]
    pieces = list(base64_pieces(chunks))
    assert all(0 < len(piece) <= CHUNK_OCTETS for piece in pieces)
    expected = base64.encodebytes(content).replace(b"\n", b"\r\n")
    assert b"".join(pieces) == expected


LINES = st.lists(
    st.text(
        st.sampled_from("-. \tF=aü€😀\0\x7f")
        | st.characters(exclude_characters="\r\n", codec="utf-8"),
        max_size=120,
    )
    | st.sampled_from(["From here", "--boundary", ".", "", " ", "x" * 75, "x" * 76]),
    min_size=1,
    max_size=5,
)


@given(LINES)
def test_encoded_quoted_printable_is_safe_and_decodes_to_itself(
    lines: list[str],
) -> None:
    text = encode_quoted_printable("\n".join(lines) + "\n")
    assert text.isascii()
    rows = text.split(b"\r\n")
    assert rows.pop() == b""
    assert all(len(row) <= 76 for row in rows)
    assert not any(row.startswith((b"--", b".", b"From ")) for row in rows)
    assert not any(row.endswith((b" ", b"\t")) for row in rows)
    expected = "\r\n".join(lines) + "\r\n"
    assert quopri.decodestring(text).decode() == expected
    assert decoded("quoted-printable", text).decode() == expected


def test_crlf_and_lf_end_the_same_lines() -> None:
    assert encode_quoted_printable("a\r\nb\r\n") == b"a\r\nb\r\n"
    assert encode_quoted_printable("a\nb") == b"a\r\nb\r\n"


@pytest.mark.parametrize("start", ["--b", "From x", "."])
def test_a_row_after_a_soft_break_begins_safely_too(start: str) -> None:
    text = encode_quoted_printable("x" * 75 + start)
    first, second, end = text.split(b"\r\n")
    assert (first, end) == (b"x" * 75 + b"=", b"")
    assert second == b"=%02X" % ord(start[0]) + start[1:].encode()
