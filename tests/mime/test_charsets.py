from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.mime.charsets import _CODECS, codec, decode


@pytest.mark.parametrize(
    ("octets", "charset", "text"),
    [
        (b"\xc3\xbc", "utf-8", "ü"),
        (b"\xc3\xbc", "UTF8", "ü"),
        (b"\xfc", "ISO-8859-1", "ü"),
        (b"\x80", "iso-8859-1", "€"),
        (b"\xa4", "ISO-8859-15", "€"),
        (b"\xef\xf0", "windows-1251", "пр"),
        (b"\xd0\xd2", "KOI8-R", "пр"),
        (b"\x1b$BF|K\\\x1b(B", "ISO-2022-JP", "日本"),
        (b"\x93\xfa\x96{", "Shift_JIS", "日本"),
        (b"\xc6\xfc\xcb\xdc", "EUC-JP", "日本"),
        (b"\xd6\xd0", "GB2312", "中"),
        (b"\xa4\xa4", "Big5", "中"),
        (b"\xc7\xd1", "EUC-KR", "한"),
        (b"\x00a\x00.", "UTF-16BE", "a."),
        (b"\x00a\x00.", "UTF-16", "a."),
        (b"a\x00.\x00", "UTF-16", "a."),
        (b"\xff\xfea\x00.\x00", "UTF-16", "a."),
        (b"\xfe\xff\x00a\x00.", "UTF-16", "a."),
        (b"\x00\x00\x00a", "UTF-32", "a"),
        (b"+AOQ-", "UTF-7", "ä"),
        (b"\x81", "cp437", "ü"),
        (b"\x81K\x85\xa7\x85", "cp037", "a.exe"),
        (b"\x81K\x85\xa7\x85", "IBM037", "a.exe"),
        (b"\x81K\x85\xa7\x85", "ebcdic-cp-be", "a.exe"),
        (b"\x81K\x85\xa7\x85", "cp875", "a.exe"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isascii() else "",
)
def test_charsets_of_real_mail_are_known(
    octets: bytes, charset: str, text: str
) -> None:
    assert decode(octets, charset) == text


@pytest.mark.parametrize(
    "charset",
    [
        "",
        "x-unknown",
        "idna",
        "punycode",
        "unicode_escape",
        "hex",
        "rot13",
        "zlib",
        "u" * 1000,
        "\0",
    ],
)
def test_what_is_no_charset_is_read_as_utf8_else_latin1(charset: str) -> None:
    assert decode("ü".encode(), charset) == "ü"
    assert decode(b"\xfc", charset) == "ü"


def test_octets_that_do_not_fit_the_charset_are_kept() -> None:
    assert decode(b"\xff\xfea", "us-ascii") == "\xff\xfea"
    assert decode("ü".encode(), "us-ascii") == "ü"


def test_unknown_names_do_not_reach_pythons_registry() -> None:
    """It would remember each of them for the life of the process."""
    assert codec("no-such-charset-in-any-mail") is None
    assert codec("../../etc") is None


@pytest.mark.parametrize("name", sorted(set(_CODECS.values())))
def test_every_codec_of_the_table_exists(name: str) -> None:
    assert codecs.lookup(name).name


@given(st.binary(max_size=60), st.sampled_from([*_CODECS, "x"]))
def test_decoding_never_raises(octets: bytes, charset: str) -> None:
    assert isinstance(decode(octets, charset), str)
