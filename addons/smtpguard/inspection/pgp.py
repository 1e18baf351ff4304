"""OpenPGP (RFC 9580): encrypted or signed, armored or as packets.

Armor is looked for at the beginning of each line of a text, ``MAX_ARMORS`` times:
people write before and after it. "PGP MESSAGE" may be encrypted or only signed; the
first packet tells. Compressed packets are unpacked as far as the first one in them.
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
_SIGNATURE, _ONE_PASS, _COMPRESSED = 2, 4, 8
_PUBLIC_KEYS = frozenset({1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28})
_CIPHERS = frozenset(range(1, 14))
_AEADS = frozenset({1, 2, 3})
_S2KS = frozenset({0, 1, 3, 4})
_SIGNED_AS = frozenset({0, 1, 2, *range(0x10, 0x14), 0x18, 0x19, 0x1F, 0x20, 0x28})
"""Signature types (5.2.1)."""
_UNPACKERS = {1: -zlib.MAX_WBITS, 2: zlib.MAX_WBITS}
"""ZIP and ZLIB (9.4); bzip2 is not unpacked."""

_NOTHING = Contents()
_IS_ENCRYPTED = Contents(MESSAGE, frozenset({Fact.ENCRYPTED}))
_IS_SIGNED = Contents(SIGNATURE, frozenset({Fact.SIGNED}))


def look_at_armor(octets: bytes) -> Contents:
    """Return facts of all armor in a text; a type if the text begins with it."""
    if octets.find(_ARMOR_BEGINS) < 0:
        return _NOTHING  # forty times as quick as the expression
    detected = ""
    facts: set[Fact] = set()
    findings: tuple[Finding, ...] = ()
    for number, found in enumerate(_ARMOR.finditer(octets)):
        if number >= MAX_ARMORS:
            facts.add(Fact.LIMIT)
            findings = (Finding("limit-armors", f"more than {MAX_ARMORS}"),)
            break
        seen = _IS_SIGNED
        if found[1].startswith(b"MESSAGE"):
            seen = _look_at_message(octets[found.end() : found.end() + _HEAD])
        facts |= seen.facts
        if not octets[: found.start()].strip():
            detected = "text/plain" if b"SIGNED" in found[1] else seen.detected
    return Contents(detected, frozenset(facts), findings=findings)


def _look_at_message(after: bytes) -> Contents:
    headers = _ARMOR_HEADERS.match(after)
    body = after[headers.end() :] if headers else after
    packets = decode_base64(body.partition(b"\n=")[0].partition(b"-----")[0])
    # What cannot be read is what it says: a message for somebody with a key.
    return look_at_packets(packets) or _IS_ENCRYPTED


def look_at_packets(octets: bytes) -> Contents | None:
    """Return what the first packet tells; None if there is none that does."""
    head = octets[:_HEAD]
    for _ in range(2):
        tag, at = _packet(head)
        body = head[at:]
        if tag != _COMPRESSED:
            break
        unpacked = _unpack(body)
        if unpacked is None:
            return None
        head = unpacked
    if not _is_plausible(tag, body):
        return None
    return _IS_ENCRYPTED if tag in (_KEY, _PASSWORD) else _IS_SIGNED


def _is_plausible(tag: int, body: bytes) -> bool:
    """Whether the first octets of a packet are numbers that exist.

    Two octets would fit too many files. Encrypted data (tags 9, 18, 20) begin with
    noise, but never a message: a packet with a key comes before them.
    """
    if len(body) < 10:
        return False
    version, second, third = body[0], body[1], body[2]
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


def _unpack(body: bytes) -> bytes | None:
    window = _UNPACKERS.get(body[0]) if body else None
    if window is None:
        return None
    try:
        return zlib.decompressobj(window).decompress(body[1:], _HEAD)
    except zlib.error:
        return None
