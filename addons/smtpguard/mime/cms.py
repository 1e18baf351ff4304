"""S/MIME, signed and not encrypted: what was signed lies within (RFC 8551 3.5.2).

CMS (RFC 5652) in DER, BER or PEM; no signature is verified. Readers show what lies in
there as the mail, with its attachments.
"""

from __future__ import annotations

import re
from typing import Final

from smtpguard.mime.transferencoding import decode_base64


TYPES: Final = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
PKCS7: Final = bytes.fromhex("2a864886f70d0107")
DATA: Final = PKCS7 + b"\x01"
SIGNED_DATA: Final = PKCS7 + b"\x02"

SEQUENCE, SET, OBJECT_ID, INTEGER, CONTENT = 0x30, 0x31, 0x06, 0x02, 0xA0
_OCTET_STRING, _OCTET_STRINGS = 0x04, 0x24
_INDEFINITE = 0x80
_NONE = (None, -1)
END_OF_CONTENT: Final = b"\x00\x00"
_PEM = re.compile(rb"\s*-----BEGIN (?:PKCS ?#?7|CMS)[^\r\n-]{0,32}-----\r?\n")


def without_armor(octets: bytes) -> bytes:
    """Return CMS decoded where it is PEM, as it is where it is not."""
    armor = _PEM.match(octets)
    return decode_base64(octets[armor.end() :]) if armor else octets


def signed_content(octets: bytes) -> bytes | None:
    """Return the MIME entity that was signed and lies in ``octets``.

    None where they are no signed data, where the signature is beside what it signs, and
    where two readers could read them differently or one could read more.
    """
    octets = without_armor(octets)
    at, size = content_type(octets)
    if octets[at : at + size] != SIGNED_DATA:
        return None
    at, size, _ = signed_type(octets, at + size)
    if octets[at : at + size] != DATA:
        return None
    at, size = element(octets, at + size, CONTENT)
    content, end = _octet_string(octets, at)
    ends = octets[end : end + 2] == END_OF_CONTENT if size < 0 else end == at + size
    return content if ends else None


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


def _octet_string(octets: bytes, at: int) -> tuple[bytes | None, int]:
    """Return what an octet string holds, and where it ends; None if it is none.

    Streaming writers produce it in pieces.
    """
    start, size = element(octets, at, _OCTET_STRING)
    if start >= 0:
        end = start + size
        return (octets[start:end], end) if 0 <= size <= len(octets) - start else _NONE
    at, size = element(octets, at, _OCTET_STRINGS)
    end = at + size
    pieces: list[bytes] = []
    while at >= 0 and (size < 0 or at < end):
        if size < 0 and octets[at : at + 2] == END_OF_CONTENT:
            return b"".join(pieces), at + 2
        start, length = element(octets, at, _OCTET_STRING)
        at = start + length
        if length < 0 or at > len(octets):
            return _NONE
        pieces.append(octets[start:at])
    return (b"".join(pieces), at) if at >= 0 and at == end else _NONE
