"""S/MIME, signed and not encrypted: what was signed lies within (RFC 8551 3.5.2).

CMS (RFC 5652) in DER, BER or PEM; no signature is verified. Readers show what lies in
there as the mail, with its attachments.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from smtpguard.mime.embedded import has_embedded
from smtpguard.mime.octets import Span
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
_AFTER_CONTENT = frozenset({b"\xa0", b"\xa1", b"\x31"})
"""What follows the content: certificates, revocations, who signed."""
MAX_PIECES = 100_000
"""Of one content; a writer's are a KiB or more."""
_NAME = re.compile(r"(?is)(.*)\.p7[mz][\s.]*")
_MAX_HEADER = 64 << 10
_FIELD = re.compile(rb"[!-9;-~]{1,64}:[^\x00-\x08\n-\x1f]*")
_BLANK_LINE = re.compile(rb"\r\n[ \t]+(?:\r\n|$)")
_MAYBE_FIELD = re.compile(rb"(?i)content-[!-9;-~]{1,40}[ \t]*:")
"""What some reader could take for a field, whatever stands around it."""
_PEM = re.compile(rb"\s*-----BEGIN (?:PKCS ?#?7|CMS)[^\r\n-]{0,32}-----\r?\n")


@dataclass(frozen=True, slots=True)
class Signed:
    """What was signed and lies in CMS."""

    octets: bytes
    is_entity: bool
    """A MIME entity for every reader; else a file, and for no reader an entity."""


def is_claimed(content_type: str, names: tuple[str, ...]) -> bool:
    """Whether readers take a content for S/MIME by what it claims (RFC 8551 3.9)."""
    return content_type in TYPES or any(map(_NAME.fullmatch, names))


def name_within(name: str) -> str:
    """Return the name of what ``name`` encloses: without its ``.p7m``."""
    matched = _NAME.fullmatch(name)
    return matched[1] if matched else name


def without_armor(octets: bytes) -> bytes:
    """Return CMS decoded where it is PEM, as it is where it is not."""
    armor = _PEM.match(octets)
    return decode_base64(octets[armor.end() :]) if armor else octets


def is_signed(head: bytes) -> bool:
    """Whether octets begin as signed data."""
    at, size = content_type(head)
    return head[at : at + size] == SIGNED_DATA


def signed_content(octets: bytes) -> Signed | None:
    """Return what was signed and lies in ``octets``.

    None where they are no signed data, where the signature is beside what it signs, and
    where two readers could read them differently or one could read more: then nobody
    has looked at it.
    """
    at, size = content_type(octets)
    if octets[at : at + size] != SIGNED_DATA:
        return None
    at, size, sequence_end = signed_type(octets, at + size)
    if octets[at : at + size] != DATA:
        return None
    at, size = element(octets, at + size, CONTENT)
    content, end = _octet_string(octets, at, is_streamed=size < 0)
    for told in (at + size if size >= 0 else -1, sequence_end):
        # Some readers go by the lengths around it, and show what else is there.
        if told < 0 and octets[end : end + 2] == END_OF_CONTENT:
            end += 2
        elif told != end:
            return None
    if content is None or octets[end : end + 1] not in _AFTER_CONTENT:
        return None
    if _is_entity(content):
        return Signed(content, is_entity=True)
    could_be = _MAYBE_FIELD.search(content) or has_embedded(
        content, Span(0, len(content))
    )
    return None if could_be else Signed(content, is_entity=False)


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


def _is_entity(content: bytes) -> bool:
    """Whether content begins with a header as RFC 5322 and 2045 write it."""
    end = content.find(b"\r\n\r\n", 0, _MAX_HEADER)
    header = content[: max(end, 0)]
    if _BLANK_LINE.search(header):
        return False
    unfolded = header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    fields = unfolded.split(b"\r\n")
    return all(map(_FIELD.fullmatch, fields)) and any(
        field.lower().startswith(b"content-type:") for field in fields
    )


def _octet_string(
    octets: bytes, at: int, *, is_streamed: bool
) -> tuple[bytes | None, int]:
    """Return what an octet string holds, and where it ends; None if it is none.

    Streaming writers produce it in pieces, and tell no length.
    """
    start, size = element(octets, at, _OCTET_STRING)
    if start >= 0:
        end = start + size
        # One piece whose end is told, in something whose end is not: nobody writes so.
        is_whole = 0 <= size <= len(octets) - start and not is_streamed
        return (octets[start:end], end) if is_whole else _NONE
    at, size = element(octets, at, _OCTET_STRINGS)
    end = at + size
    content = bytearray()
    for _ in range(MAX_PIECES):
        if at < 0 or (size >= 0 and at >= end):
            break
        if size < 0 and octets[at : at + 2] == END_OF_CONTENT:
            return bytes(content), at + 2
        start, length = element(octets, at, _OCTET_STRING)
        at = start + length
        if length <= 0 or at > len(octets):
            return _NONE
        content += octets[start:at]
    return (bytes(content), at) if at >= 0 and size >= 0 and at == end else _NONE
