"""S/MIME, signed and not encrypted: what was signed lies within (RFC 8551 3.5.2).

CMS (RFC 5652) in DER or BER; no signature is verified. Readers show what lies in there
as the mail, with its attachments. Rules see it as far as it is read here; that others
may read more or something else stays to be told by who asks what CMS is (``limit``).
"""

from __future__ import annotations

import re
from typing import Final

from smtpguard.mime.transferencoding import decode_base64


TYPES: Final = frozenset(
    {
        "application/pkcs7-mime",
        "application/x-pkcs7-mime",
        "application/pkcs7",
        "application/x-pkcs7",
        "application/cms",
    }
)
"""Of what readers take for S/MIME, or a tool opens as such (RFC 8551, RFC 7193)."""
PKCS7: Final = bytes.fromhex("2a864886f70d0107")
DATA: Final = PKCS7 + b"\x01"
SIGNED_DATA: Final = PKCS7 + b"\x02"

SEQUENCE, SET, OBJECT_ID, INTEGER, CONTENT = 0x30, 0x31, 0x06, 0x02, 0xA0
_OCTET_STRING, _OCTET_STRINGS = 0x04, 0x24
_INDEFINITE = 0x80
END_OF_CONTENT: Final = b"\x00\x00"
MAX_PIECES = 100_000
"""Of one content; a writer's are a KiB or more."""
_NAME = re.compile(r"(?is)(.*)\.(?:p7[mz]?|cms)(?:[^a-z0-9.][^.]*|[\s.]*)")
_NARROW = {wide: wide - 0xFF01 + ord("!") for wide in range(0xFF01, 0xFF5F)}
_PEM = re.compile(rb"\s*-----BEGIN (?:PKCS ?#?7|CMS)[^\r\n-]{0,32}-----\r?\n")


def is_claimed(content_type: str, names: tuple[str, ...]) -> bool:
    """Whether readers take a content for S/MIME by what it claims (RFC 8551 3.9)."""
    return content_type in TYPES or any(name_within(name) != name for name in names)


def name_within(name: str) -> str:
    """Return the name of what ``name`` encloses: without its ``.p7m``.

    A name without such an ending is returned as it is.
    """
    matched = _NAME.fullmatch(_plain(name))
    return matched[1] if matched else name


def _plain(name: str) -> str:
    """Return a name as eyes have it: nothing invisible, no full-width letters."""
    if name.isascii() and name.isprintable():
        return name
    return "".join(filter(str.isprintable, name.translate(_NARROW)))


def without_armor(octets: bytes) -> bytes:
    """Return CMS decoded where it is PEM, as it is where it is not."""
    armor = _PEM.match(octets)
    return decode_base64(octets[armor.end() :]) if armor else octets


def is_signed(head: bytes) -> bool:
    """Whether octets begin as signed data."""
    at, size = content_type(head)
    return head[at : at + size] == SIGNED_DATA


def signed_content(octets: bytes) -> bytes | None:
    """Return what was signed and lies in ``octets``.

    None where they are no signed data that can be read, or the signature is beside
    what it signs.
    """
    at, size = content_type(octets)
    if octets[at : at + size] != SIGNED_DATA:
        return None
    at, size, _ = signed_type(octets, at + size)
    if octets[at : at + size] != DATA:
        return None
    at, _ = element(octets, at + size, CONTENT)
    return _octet_string(octets, at)


def content_type(octets: bytes) -> tuple[int, int]:
    """Return where the type of CMS begins and its length; -1 where it is no CMS."""
    at, _ = element(octets, 0, SEQUENCE)
    return element(octets, at, OBJECT_ID)


def signed_type(octets: bytes, at: int) -> tuple[int, int, int]:
    """Return where the type of what was signed begins, its length, and where the
    sequence ends that it is in; -1 for what cannot be read or is not told.

    SignedData, which begin at ``at``, are version, digest algorithms, and the content
    with its type (RFC 5652 5.1).
    """
    at, _ = element(octets, at, CONTENT)
    at, _ = element(octets, at, SEQUENCE)
    for tag in (INTEGER, SET):
        at, size = element(octets, at, tag)
        at = at + size if size >= 0 else -1
    start, size = element(octets, at, SEQUENCE)
    at, type_size = element(octets, start, OBJECT_ID)
    return at, type_size, start + size if size >= 0 else -1


def element(octets: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the content of an element begins, and its length.

    (-1, -1) if there is no such element at ``at``; a length of -1 if it is not told.
    """
    if at < 0 or len(octets) < at + 2 or octets[at] != tag:
        return -1, -1
    first = octets[at + 1]
    if first < _INDEFINITE:
        return at + 2, first
    if first == _INDEFINITE:
        return at + 2, -1
    more = first & 0x7F
    size = octets[at + 2 : at + 2 + more]
    if len(size) < more:
        return -1, -1
    return at + 2 + more, int.from_bytes(size, "big")


def _octet_string(octets: bytes, at: int) -> bytes | None:
    """Return what an octet string holds; None if it is none.

    Streaming writers produce it in pieces, and tell no length.
    """
    start, size = element(octets, at, _OCTET_STRING)
    if start >= 0:
        return (
            octets[start : start + size] if 0 <= size <= len(octets) - start else None
        )
    at, size = element(octets, at, _OCTET_STRINGS)
    end = at + size
    content = bytearray()
    for _ in range(MAX_PIECES):
        if at < 0 or (size >= 0 and at >= end):
            break
        if size < 0 and octets[at : at + 2] == END_OF_CONTENT:
            return bytes(content)
        start, length = element(octets, at, _OCTET_STRING)
        at = start + length
        if length < 0 or at > len(octets):
            return None
        content += octets[start:at]
    return bytes(content) if at >= 0 and size >= 0 and at == end else None
