"""Octets to text by the charset a sender claims (RFC 2045, 2047, 2231).

A table made once rather than ``codecs.lookup``: Python's registry also knows encodings
that are not charsets (``idna`` and ``punycode`` need quadratic time), and remembers
every unknown name it was ever asked for. Never raises: what cannot be decoded
is read as UTF-8, else as Latin-1, so that no octet of a name gets lost.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases


_ALIASES = {
    "ascii": "utf-8",
    "usascii": "utf-8",
    "ansix341968": "utf-8",
    "iso646us": "utf-8",
    "utf8": "utf-8",
    "utf7": "utf-7",
    "unicode11utf7": "utf-7",
    "utf16": "utf-16",
    "utf16le": "utf-16-le",
    "utf16be": "utf-16-be",
    "utf32": "utf-32",
    "utf32le": "utf-32-le",
    "utf32be": "utf-32-be",
    "ucs2": "utf-16",
    "latin1": "cp1252",
    "l1": "cp1252",
    "iso88591": "cp1252",
    "iso88599": "cp1254",
    "koi8r": "koi8-r",
    "koi8u": "koi8-u",
    "iso2022jp": "iso2022_jp_ext",
    "iso2022jp1": "iso2022_jp_1",
    "iso2022jp2": "iso2022_jp_2",
    "iso2022jp3": "iso2022_jp_3",
    "iso2022kr": "iso2022_kr",
    "shiftjis": "cp932",
    "sjis": "cp932",
    "xsjis": "cp932",
    "windows31j": "cp932",
    "mskanji": "cp932",
    "cp932": "cp932",
    "eucjp": "euc_jp",
    "xeucjp": "euc_jp",
    "euckr": "cp949",
    "ksc56011987": "cp949",
    "ksc5601": "cp949",
    "ksc56011989": "cp949",
    "uhc": "cp949",
    "johab": "johab",
    "gb2312": "gb18030",
    "xgbk": "gb18030",
    "gbk": "gb18030",
    "euccn": "gb18030",
    "gb18030": "gb18030",
    "hzgb2312": "hz",
    "hz": "hz",
    "big5": "cp950",
    "big5hkscs": "big5hkscs",
    "tis620": "cp874",
    "macintosh": "mac_roman",
    "macroman": "mac_roman",
    "maccyrillic": "mac_cyrillic",
    "xmaccyrillic": "mac_cyrillic",
}
"""Wider relatives where browsers and mail readers use them (WHATWG Encoding)."""

_ISO = {f"iso8859{n}": f"iso8859_{n}" for n in (*range(2, 9), 10, 11, 13, 14, 15, 16)}
_DOS = (437, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 865, 866, 869)
_CODE_PAGES = {
    f"{prefix}{n}": f"cp{n}"
    for n in (*range(1250, 1259), 874, 949, 950, *_DOS)
    for prefix in ("cp", "windows", "ibm", "xcp")
}
_NO_CHARSETS = {
    *("base64_codec", "bz2_codec", "hex_codec", "quopri_codec", "rot_13", "uu_codec"),
    *("zlib_codec", "idna", "punycode", "unicode_escape", "raw_unicode_escape"),
    *("undefined", "mbcs", "oem"),
}
"""What Python calls encodings and no mail may ask for."""
_WITHOUT_ALIAS = (
    *("cp720", "cp856", "cp875", "cp1006", "koi8_t", "mac_arabic", "mac_croatian"),
    *("mac_farsi", "mac_romanian", "utf_8_sig"),
)

_SEPARATORS = re.compile(r"[^a-z0-9]+")


def _of_python() -> dict[str, str]:
    """Return every other charset that Python knows, EBCDIC for one: readers built on
    such a library read names in them."""
    known = {*aliases.items(), *((name, name) for name in _WITHOUT_ALIAS)}
    known |= {(name, name) for name in aliases.values()}
    return {
        _SEPARATORS.sub("", label.lower()): name
        for label, name in sorted(known)
        if name not in _NO_CHARSETS
    }


_CODECS = _of_python() | _ALIASES | _ISO | _CODE_PAGES

_BYTE_ORDERED = {"utf-16", "utf-32"}
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


def codec(charset: str) -> str | None:
    """Return Python's name of a charset, None for one we do not know."""
    return _CODECS.get(_SEPARATORS.sub("", charset.lower()))


def _is_big_endian(octets: bytes) -> bool:
    """Guess the order of text without a mark: RFC 2781 4.3 says big-endian, Windows
    programs write little-endian, and Latin text shows it by its zeros."""
    return octets[0::2].count(0) >= octets[1::2].count(0)


def decode(octets: bytes, charset: str = "") -> str:
    """Return ``octets`` as text, by ``charset`` where that is known and fits."""
    name = codec(charset) if charset else None
    marked = octets.startswith(_BYTE_ORDER_MARKS)
    if name is not None and name in _BYTE_ORDERED and not marked:
        name += "-be" if _is_big_endian(octets) else "-le"
    if name is not None:
        try:
            return octets.decode(name)
        except UnicodeError:
            pass
    try:
        return octets.decode("utf-8")
    except UnicodeError:
        return octets.decode("latin-1")
