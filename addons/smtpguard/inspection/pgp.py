"""OpenPGP (RFC 9580): encrypted or signed, armored or as packets.

Armor is looked for at the beginning of each line of a text, ``MAX_ARMORS`` times:
people write before and after it. "PGP MESSAGE" may be encrypted or only signed; the
first packets tell. Compressed ones are unpacked as far as the first one in them. What
is not encrypted is not looked through either: ``Fact.LIMIT``.
"""

from __future__ import annotations

import re
import zlib

from smtpguard.mime.transferencoding import decode_base64
from smtpguard.model.contents import Contents, Fact, Finding


MESSAGE = "application/pgp-encrypted"
SIGNATURE = "application/pgp-signature"
MAX_ARMORS = 100

_HEAD = 4096
_ARMOR_BEGINS = b"-----BEGIN PGP "
_ARMOR = re.compile(
    rb"^-----BEGIN PGP (MESSAGE(?:, PART [0-9/]+)?|SIGNED MESSAGE|SIGNATURE)-----",
    re.MULTILINE,
)
_ARMOR_HEADERS = re.compile(rb"[ \t]*\r?\n(?:[A-Za-z]{1,32}: [^\r\n]*\r?\n){0,16}")

# Packets with which a message begins (5.1 to 5.4, 5.6).
_KEY, _PASSWORD = 1, 3
_SIGNATURE, _ONE_PASS, _COMPRESSED, _LITERAL = 2, 4, 8, 11
_MARKERS = re.compile(rb"(?:[\xa8\xca]\x03PGP)*+")
"""Packets that every reader skips (5.8)."""
_FORMATS = frozenset(b"btulm1")
_NO_NAME = re.compile(rb"[\0-\x1f\x7f]")
_BZIP2 = re.compile(rb"\x03BZh[1-9]")
_PUBLIC_KEYS = frozenset({1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28})
_CIPHERS = frozenset(range(1, 14))
_AEADS = frozenset({1, 2, 3})
_S2KS = frozenset({0, 1, 3, 4})
_SIGNED_AS = frozenset({0, 1, 2, *range(0x10, 0x14), 0x18, 0x19, 0x1F, 0x20, 0x28})
"""Signature types (5.2.1)."""
_UNPACKERS = {1: -zlib.MAX_WBITS, 2: zlib.MAX_WBITS}
"""ZIP and ZLIB (9.4); 0 is as it is, bzip2 is not unpacked."""
_MAX_LEVELS = 4
"""Compressed packets in each other that are unpacked."""

_NOTHING = Contents()
_IS_ENCRYPTED = Contents(MESSAGE, frozenset({Fact.ENCRYPTED}))
_IS_SIGNED = Contents(SIGNATURE, frozenset({Fact.SIGNED}))
_UNREAD = (Finding("not-inspectable", "content of PGP"),)
_IS_UNREAD = Contents(facts=frozenset({Fact.LIMIT}), findings=_UNREAD)
_IS_SIGNED_UNREAD = Contents(
    SIGNATURE, frozenset({Fact.SIGNED, Fact.LIMIT}), findings=_UNREAD
)


def look_at_armor(octets: bytes) -> Contents:
    """Return facts of all armor in a text; a type if the text begins with it."""
    if octets.find(_ARMOR_BEGINS) < 0:
        return _NOTHING  # forty times as quick as the expression
    detected = ""
    facts: set[Fact] = set()
    findings: dict[Finding, None] = {}
    for number, found in enumerate(_ARMOR.finditer(octets)):
        if number >= MAX_ARMORS:
            facts.add(Fact.LIMIT)
            findings[Finding("limit-armors", f"more than {MAX_ARMORS}")] = None
            break
        # What cannot be read is what it says: a message for somebody with a key.
        seen = _IS_ENCRYPTED if found[1].startswith(b"MESSAGE") else _IS_SIGNED
        if not found[1].startswith(b"SIGNED"):
            seen = look_at_packets(_packets(octets, found.end())) or seen
        facts |= seen.facts
        findings |= dict.fromkeys(seen.findings)
        if not octets[: found.start()].strip():
            detected = "text/plain" if b"SIGNED" in found[1] else seen.detected
    return Contents(detected, frozenset(facts), findings=tuple(findings))


def _packets(text: bytes, at: int) -> bytes:
    """Return the first packets of an armor whose first line ends at ``at``."""
    headers = _ARMOR_HEADERS.match(text, at)
    start = headers.end() if headers else at
    body = text[start : start + _HEAD]
    return decode_base64(body.partition(b"\n=")[0].partition(b"-----")[0])


def look_at_packets(octets: bytes) -> Contents | None:
    """Return what the first packets tell; None if there is none that does."""
    head = octets[:_HEAD]
    for _ in range(_MAX_LEVELS):
        head = head[_MARKERS.match(head).end() :]  # type: ignore[union-attr]
        tag, at = _packet(head)
        body = head[at:]
        if tag != _COMPRESSED:
            break
        if _BZIP2.match(body):
            return _IS_UNREAD
        unpacked = _unpack(body)
        if unpacked is None:
            return None
        head = unpacked
    else:
        return _IS_UNREAD
    if not _is_plausible(tag, body):
        return None
    if tag in (_KEY, _PASSWORD):
        return _IS_ENCRYPTED
    if tag == _LITERAL:
        return _IS_UNREAD
    return _IS_SIGNED_UNREAD if _holds_content(head) else _IS_SIGNED


def _holds_content(head: bytes) -> bool:
    """Whether something comes behind the signatures that come first."""
    at = 0
    while True:
        tag, _ = _packet(head[at : at + 2])
        if tag != _SIGNATURE:
            return tag != -1
        size = _size(head[at : at + 6])
        if size < 0 or at + size > len(head):
            # Beyond what is looked at, if it is no signature that was cut off.
            return size < 0 or len(head) > _HEAD // 2
        at += size


def _is_plausible(tag: int, body: bytes) -> bool:
    """Whether the first octets of a packet are numbers that exist.

    Two octets would fit too many files. Encrypted data (tags 9, 18, 20) begin with
    noise, but never a message: a packet with a key comes before them.
    """
    if len(body) < 10:
        return False
    version, second, third = body[0], body[1], body[2]
    if tag == _LITERAL:
        return version in _FORMATS and _NO_NAME.search(body, 2, 2 + second) is None
    if tag == _KEY:
        if version == 6:
            return second in (0, 21, 33)
        return version in (2, 3) and body[9] in _PUBLIC_KEYS
    if tag == _PASSWORD:
        if version == 6:
            return third in _CIPHERS and body[3] in _AEADS
        if version == 5:
            return second in _CIPHERS and third in _AEADS
        return version == 4 and second in _CIPHERS and third in _S2KS
    if tag == _ONE_PASS:
        return version in (3, 6) and second in _SIGNED_AS and body[3] in _PUBLIC_KEYS
    if tag == _SIGNATURE:
        if version in (2, 3):
            return second == 5
        return version in (4, 5, 6) and second in _SIGNED_AS and third in _PUBLIC_KEYS
    return False


def _packet(head: bytes) -> tuple[int, int]:
    """Return tag and beginning of the body of the first packet (4.2); (-1, 0) if none.

    The length is not believed, only jumped over.
    """
    if len(head) < 2 or not head[0] & 0x80:
        return -1, 0
    if head[0] & 0x40:
        first = head[1]
        return head[0] & 0x3F, 3 if 192 <= first < 224 else 6 if first == 255 else 2
    return head[0] >> 2 & 0x0F, (2, 3, 5, 1)[head[0] & 3]


def _size(head: bytes) -> int:
    """Return the octets of the first packet, its header included; -1 if not told."""
    first = head[1]
    if not head[0] & 0x40:
        octets = (1, 2, 4, 0)[head[0] & 3]
        size = int.from_bytes(head[1 : 1 + octets])
        return 1 + octets + size if octets else -1
    if first < 192:
        return 2 + first
    if first < 224:
        return 3 + ((first - 192) << 8) + int.from_bytes(head[2:3]) + 192
    return 6 + int.from_bytes(head[2:6]) if first == 255 else -1


def _unpack(body: bytes) -> bytes | None:
    if body[:1] == b"\0":
        return body[1:]
    window = _UNPACKERS.get(body[0]) if body else None
    if window is None:
        return None
    try:
        return zlib.decompressobj(window).decompress(body[1:], _HEAD)
    except zlib.error:
        return None
