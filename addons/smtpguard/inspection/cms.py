"""S/MIME: what kind of CMS a content is (RFC 5652), DER, BER or PEM.

Reads 4 KiB: the tags and lengths of what comes first, never what is signed or
encrypted. Readers show what lies in there as the mail: where it is not encrypted it is
``Fact.LIMIT``.
"""

from __future__ import annotations

import re

from smtpguard.mime.transferencoding import decode_base64
from smtpguard.model.contents import Contents, Fact, Finding


CMS = "application/pkcs7-mime"
CMS_SIGNATURE = "application/pkcs7-signature"
"""Signed data without the content that was signed."""

_HEAD = 4096
_PEM = re.compile(rb"\s*-----BEGIN (?:PKCS ?#?7|CMS)[^\r\n-]{0,32}-----\r?\n")

_SEQUENCE, _SET, _OBJECT_ID, _INTEGER, _CONTENT = 0x30, 0x31, 0x06, 0x02, 0xA0
_INDEFINITE = 0x80
_END_OF_CONTENT = b"\x00\x00"
_PKCS7 = bytes.fromhex("2a864886f70d0107")
_SIGNED_DATA = _PKCS7 + b"\x02"
_ENCRYPTED_IDS = frozenset(
    {
        _PKCS7 + b"\x03",  # enveloped
        _PKCS7 + b"\x04",  # signed and enveloped
        _PKCS7 + b"\x06",  # encrypted
        bytes.fromhex("2a864886f70d0109100117"),  # authenticated and enveloped
    }
)
_OTHER_IDS = frozenset(
    {
        _PKCS7 + b"\x01",  # data
        _PKCS7 + b"\x05",  # digested
        bytes.fromhex("2a864886f70d0109100109"),  # compressed
    }
)
_UNREAD = Finding("not-inspectable", "content of S/MIME")


def look_at_cms(octets: bytes) -> Contents | None:
    """Return whether CMS is encrypted, signed, unread; None if ``octets`` are none."""
    head = octets[:_HEAD]
    if pem := _PEM.match(head):
        head = decode_base64(head[pem.end() :])
    at, _ = _element(head, 0, _SEQUENCE)
    at, size = _element(head, at, _OBJECT_ID)
    content_type = head[at : at + size]
    if content_type in _ENCRYPTED_IDS:
        return Contents(CMS, frozenset({Fact.ENCRYPTED}))
    if content_type in _OTHER_IDS:
        return Contents(CMS, frozenset({Fact.LIMIT}), findings=(_UNREAD,))
    if content_type != _SIGNED_DATA:
        return None
    if _holds_content(head, at + size):
        facts = frozenset({Fact.SIGNED, Fact.LIMIT})
        return Contents(CMS, facts, findings=(_UNREAD,))
    return Contents(CMS_SIGNATURE, frozenset({Fact.SIGNED}))


def _holds_content(head: bytes, at: int) -> bool:
    """Whether what was signed lies in the signed data that begin at ``at``.

    SignedData is version, digest algorithms, and the content with its type (5.1). What
    cannot be read counts as content: it is the more dangerous of the two.
    """
    at, _ = _element(head, at, _CONTENT)
    at, _ = _element(head, at, _SEQUENCE)
    for tag in (_INTEGER, _SET):
        at, size = _element(head, at, tag)
        at = at + size if size >= 0 else -1
    start, size = _element(head, at, _SEQUENCE)
    at, type_size = _element(head, start, _OBJECT_ID)
    end = at + type_size
    if size >= 0:
        return end < start + size
    return head[end : end + 2] != _END_OF_CONTENT


def _element(head: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the content of an element begins, and its length.

    (-1, -1) if there is no such element at ``at``; a length of -1 if it is not told.
    """
    if at < 0 or len(head) < at + 2 or head[at] != tag:
        return -1, -1
    first = head[at + 1]
    if first < _INDEFINITE:
        return at + 2, first
    if first == _INDEFINITE:
        return at + 2, -1
    more = first & 0x7F
    size = head[at + 2 : at + 2 + more]
    if len(size) < more:
        return -1, -1
    return at + 2 + more, int.from_bytes(size, "big")
