"""Files in text (attacks M8)."""

from __future__ import annotations

import binascii
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime.embedded import (
    MAX_FILES,
    Embedded,
    begins_in,
    decode_binhex,
    decode_uu,
    embedded_files,
    has_embedded,
)
from smtpguard.mime.octets import Span
from smtpguard.model.content import CHUNK_OCTETS


MANY = 10_000_000
TOOL = b"MZ\x90\0" + bytes(random.Random(3).randbytes(2000)) + b"\r\n.\r\n\x90\x90\0"


def uu(octets: bytes, name: str = "a.exe", end: bytes = b"`\r\nend") -> bytes:
    rows = [binascii.b2a_uu(octets[at : at + 45]) for at in range(0, len(octets), 45)]
    body = b"".join(row.rstrip(b"\n") + b"\r\n" for row in rows)
    return b"begin 644 " + name.encode() + b"\r\n" + body + end + b"\r\n"


def uu64(octets: bytes, name: str) -> bytes:
    rows = [
        binascii.b2a_base64(octets[at : at + 45], newline=False)
        for at in range(0, len(octets), 45)
    ]
    head = b"begin-base64 644 " + name.encode() + b"\r\n"
    return head + b"\r\n".join(rows) + b"\r\n====\r\n"


def yenc(octets: bytes, name: str, part: bytes = b"") -> bytes:
    """yEnc 1.3: every octet plus 42, the critical ones escaped."""
    coded = bytearray()
    for octet in octets:
        value = (octet + 42) % 256
        critical = value in b"\0\r\n="
        coded += bytes([ord("="), (value + 64) % 256]) if critical else bytes([value])
    rows = [bytes(coded)]
    head = b"=ybegin line=128 size=%d name=%s\r\n" % (len(octets), name.encode())
    return head + part + b"\r\n".join(rows) + b"\r\n=yend size=%d\r\n" % len(octets)


def binhex(octets: bytes, name: bytes) -> bytes:
    """RFC 1741, without runs but for the escape of 0x90 itself; sums are not read."""
    head = bytes([len(name)]) + name + b"\0" + b"TYPECREA" + b"\0\0"
    head += len(octets).to_bytes(4) + (0).to_bytes(4) + b"\0\0"
    plain = (head + octets + b"\0\0").replace(b"\x90", b"\x90\0")
    alphabet = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    coded = binascii.b2a_base64(plain, newline=False).rstrip(b"=")
    coded = coded.translate(bytes.maketrans(base64, alphabet))
    rows = [coded[at : at + 64] for at in range(0, len(coded), 64)]
    told = b"(This file must be converted with BinHex 4.0)\r\n:"
    return told + b"\r\n".join(rows) + b":\r\n"


def files(text: bytes, limit: int = MANY) -> list[Embedded | None]:
    return list(embedded_files(text, limit))


@pytest.mark.parametrize("octets", [TOOL, b"", b"a", b"ab", b"abc", bytes(range(256))])
@pytest.mark.parametrize("write", [uu, uu64, yenc, lambda o, n: binhex(o, n.encode())])
def test_a_file_in_text_is_found_with_its_name(write: object, octets: bytes) -> None:
    assert callable(write)
    text = b"Hello,\r\n\r\n" + write(octets, "a tool.exe") + b"\r\nbye\r\n"
    assert has_embedded(text, Span(0, len(text)))
    # The first line of a body is one, whatever octet is before it.
    assert has_embedded(b"x" + text[10:], Span(1, len(text) - 9))
    assert not has_embedded(text, Span(0, 10))
    assert not has_embedded(text, Span(11, len(text)))
    assert files(text) == [Embedded("a tool.exe", octets, 10)]
    # As files are kept that inspect reads.
    bare = text.replace(b"\r\n", b"\n") if b"\r\n" not in octets else text
    [found] = files(bare)
    assert found is not None
    assert found.content == octets


def test_several_files_and_one_without_an_end_are_found() -> None:
    text = uu(b"one", "1") + b"text\r\n" + yenc(b"two", "2") + uu(b"three", "3", b"")
    found = files(text)
    assert [one and (one.name, one.content) for one in found] == [
        ("1", b"one"),
        ("2", b"two"),
        ("3", b"three"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"begin with this\r\n",
        b"we begin 644 a\r\n",
        b"begin 9999 a\r\n",
        b"begin 644\r\n",
        b"=ybegi line=1\r\n",
        b"converted with BinHex\r\n",
    ],
)
def test_prose_is_no_file(text: bytes) -> None:
    assert not has_embedded(text, Span(0, len(text)))
    assert files(text) == []


@pytest.mark.parametrize("step", [1, 7, 100, CHUNK_OCTETS])
def test_a_file_begins_across_pieces(step: int) -> None:
    def pieces(text: bytes) -> list[bytes]:
        return [text[at : at + step] for at in range(0, len(text), step)]

    assert begins_in(pieces(uu(TOOL)))
    assert begins_in(pieces(b"Hello\r\n" * 20 + uu(TOOL)))
    assert begins_in(pieces(b"=ybegin " + b"x" * 1000 + b" name=a\r\n"))
    assert not begins_in(pieces(b"x" * 3000 + b"begin 644 a.exe\r\n"))
    assert not begins_in(pieces(b"> begin 644 a.exe\r\n" * 20))
    assert not begins_in([])


def test_a_part_of_a_yenc_post_is_read_without_its_part_line() -> None:
    text = yenc(TOOL, "a.exe", b"=ypart begin=1 end=2009\r\n")
    assert files(text)[0] == Embedded("a.exe", TOOL, 0)


def test_uu_lines_that_lost_their_blanks_are_read_by_their_length() -> None:
    assert decode_uu(b"#8V%T\r\n") == b"cat"
    # The four characters stand for zeros, as blanks do that were cut off.
    assert decode_uu(b"#``\r\n") == b"\0\0\0"
    assert decode_uu(b"\x7f is no length\r\n\r\n#8V%T\n") == b"cat"


def test_runs_of_binhex_are_undone_and_bounded() -> None:
    # The writer escapes each 0x90, so that it comes back as it is.
    packed = b"a\x90\x05b\x90\0\x90\x03c\x90"
    assert decode_binhex(binhex(packed, b"n"), MANY) == ("n", packed)
    bomb = b"!" * 64 + b"\x90\xff" * 100_000
    head = b"\x01n\0TYPECREA\0\0" + (10**8).to_bytes(4) + b"\0\0\0\0\0\0"
    alphabet = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    coded = binascii.b2a_base64(head + bomb, newline=False).rstrip(b"=")
    text = b"(This file must be converted with BinHex 4.0)\r\n:" + coded.translate(
        bytes.maketrans(base64, alphabet)
    )
    name, content = decode_binhex(text, 1000)
    assert name == "n"
    assert content[:64] == b"!" * 64
    assert 900 < len(content) < 2000


def test_a_run_repeats_what_stands_before_it() -> None:
    head = b"\x01n\0TYPECREA\0\0" + (9).to_bytes(4) + b"\0\0\0\0\0\0"
    alphabet = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = b"a\x90\x05b\x90\0\x90\x02"
    coded = binascii.b2a_base64(head + body, newline=False).rstrip(b"=")
    text = b":" + coded.translate(bytes.maketrans(base64, alphabet))
    assert decode_binhex(text, MANY) == ("n", b"aaaaab\x90\x90")


def test_what_is_too_much_is_left_out_and_told() -> None:
    text = uu(b"x" * 100, "1") + uu(b"y" * 100, "2")
    found = files(text, limit=150)
    assert [one and one.name for one in found] == ["1", None]
    assert files(text, limit=200)[-1] is not None
    many = uu(b"x") * (MAX_FILES + 1)
    assert files(many)[-1] is None
    assert len(files(many)) == MAX_FILES + 1


@pytest.mark.parametrize(
    "unit",
    [
        b"begin 644 a\r\n",
        b"=ybegin a\r\n=yend\r\n",
        b"(This file must be converted with BinHex 4.0)\r\n",
        b"(This file must be converted with BinHex 4.0)\r\n:\r\n",
        b"begin-base64 644 a\r\n====\r\n",
        b"begin ",
        b"\r\n",
    ],
)
def test_time_grows_with_the_text_alone(unit: bytes) -> None:
    def seconds(count: int) -> float:
        text = unit * count
        taken = []
        for _ in range(5):
            began = time.process_time()
            files(text)
            taken.append(time.process_time() - began)
        return min(taken)

    small, large = seconds(4000), seconds(32_000)
    assert large < max(small, 0.002) * 24


def uu_line(line: bytes) -> bytes:
    """Decode as much of a line as its first character promises, six bits of each."""
    if not 32 <= line[0] <= 96:
        return b""
    size = (line[0] - 32) & 63
    body = line[1 : 1 + (size + 2) // 3 * 4].ljust((size + 2) // 3 * 4)
    bits = "".join(f"{(one - 32) & 63:06b}" for one in body)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, size * 8, 8))


@given(st.lists(st.sampled_from(b"!#&M\r\n `A_z\x00\xff"), max_size=60).map(bytes))
def test_each_line_is_as_long_as_it_says(text: bytes) -> None:
    lines = filter(None, re.split(rb"[\r\n]", text))
    assert decode_uu(text) == b"".join(map(uu_line, lines))


def unescaped(content: bytes) -> bytes:
    """Return what is read of a file in yEnc."""
    raw = bytes((one + 42) % 256 for one in content)
    text = b"".join(
        b"=" + bytes([(one + 64) % 256]) if one in b"\0\r\n=" else bytes([one])
        for one in raw
    )
    head = b"=ybegin line=128 size=%d name=a.exe\r\n" % len(content)
    (file,) = embedded_files(head + text + b"\r\n=yend size=1\r\n", MANY)
    assert file is not None
    return file.content


@given(st.binary(max_size=60))
def test_what_yenc_escapes_is_found_again(content: bytes) -> None:
    assert unescaped(content) == content


@pytest.mark.parametrize("shift", range(4))
def test_no_escape_of_yenc_is_cut(shift: int) -> None:
    """Text is read in pieces, whose ends may lie within an escape."""
    content = b"a" * (CHUNK_OCTETS - 5 + shift) + bytes([19, 214, 224]) * 5
    assert unescaped(content) == content
