"""RAR archives: whether their entries or their headers are encrypted.

Walks from header to header, both formats: that of RAR 1.5 to 4 (``technote.txt`` of
RAR 4) and RAR 5. Reads at most ``MAX_BLOCKS`` headers of up to 64 KiB; packed data is
jumped over.
"""

from __future__ import annotations

from smtpguard.inspection.octets import little
from smtpguard.inspection.signatures import RAR
from smtpguard.model.contents import Contents, Fact, Finding


MAGIC_4 = b"Rar!\x1a\x07\x00"
MAGIC_5 = b"Rar!\x1a\x07\x01\x00"
MAX_BLOCKS = 100_000
_MAX_HEADER = 64 * 1024

_MAIN_4, _FILE_4, _SERVICE_4, _END_4 = 0x73, 0x74, 0x7A, 0x7B
_HEADERS_ENCRYPTED_4 = 0x0080
_FILE_ENCRYPTED_4 = 0x0004
_HAS_DATA_4 = 0x8000
_HAS_HIGH_SIZE_4 = 0x0100

_MAIN_5, _FILE_5, _SERVICE_5, _ENCRYPTION_5, _END_5 = 1, 2, 3, 4, 5
_HAS_EXTRA_5, _HAS_DATA_5 = 0x01, 0x02
_EXTRA_ENCRYPTION = 1
_MAX_NUMBER = 10
"""Octets of a number (RAR 5.0 archive format, "vint")."""

_PLAIN = Contents(RAR, frozenset({Fact.ARCHIVE}))
_ENCRYPTED = Contents(RAR, frozenset({Fact.ARCHIVE, Fact.ENCRYPTED}))


def is_rar(octets: bytes, at: int) -> bool:
    """Whether an archive begins there, followed by the header that comes first."""
    head = octets[at : at + 32]
    if head.startswith(MAGIC_4):
        return head[9:10] == bytes([_MAIN_4])
    if not head.startswith(MAGIC_5):
        return False
    _, body = _number(head, len(MAGIC_5) + 4)
    kind, _ = _number(head, body)
    return kind in (_MAIN_5, _ENCRYPTION_5)


def look_at_rar(octets: bytes, start: int = 0) -> Contents:
    """Return the facts of the archive that begins at ``start``."""
    if octets[start : start + len(MAGIC_5)] == MAGIC_5:
        return _walk_5(octets, start + len(MAGIC_5))
    if octets[start : start + len(MAGIC_4)] == MAGIC_4:
        return _walk_4(octets, start + len(MAGIC_4))
    return _unread("unknown version")


def _unread(reason: str) -> Contents:
    return Contents(
        RAR,
        frozenset({Fact.ARCHIVE, Fact.LIMIT}),
        findings=(Finding("not-inspectable", f"rar headers: {reason}"),),
    )


def _walk_4(octets: bytes, at: int) -> Contents:
    for _ in range(MAX_BLOCKS):
        if at + 7 > len(octets):
            return _PLAIN
        kind, flags = little(octets, at + 2, 1), little(octets, at + 3, 2)
        size = little(octets, at + 5, 2)
        if kind == _MAIN_4 and flags & _HEADERS_ENCRYPTED_4:
            return _ENCRYPTED
        if kind in (_FILE_4, _SERVICE_4) and flags & _FILE_ENCRYPTED_4:
            return _ENCRYPTED
        if kind == _END_4:
            return _PLAIN
        if size < 7:
            return _unread("damaged")
        data = 0
        if kind in (_FILE_4, _SERVICE_4) or flags & _HAS_DATA_4:
            data = little(octets, at + 7, 4)
        if kind in (_FILE_4, _SERVICE_4) and flags & _HAS_HIGH_SIZE_4:
            data += little(octets, at + 32, 4) << 32
        at += size + data
    return _unread(f"more than {MAX_BLOCKS}")


def _walk_5(octets: bytes, at: int) -> Contents:
    for _ in range(MAX_BLOCKS):
        # Checksum (four octets), size of what follows the size, type, flags.
        head = octets[at : at + 64]
        if len(head) < 7:
            return _PLAIN
        size, body = _number(head, 4)
        kind, next_field = _number(head, body)
        flags, next_field = _number(head, next_field)
        if kind == _ENCRYPTION_5:
            return _ENCRYPTED
        if kind == _END_5:
            return _PLAIN
        extra = data = 0
        if flags & _HAS_EXTRA_5:
            extra, next_field = _number(head, next_field)
        if flags & _HAS_DATA_5:
            data, next_field = _number(head, next_field)
        end = at + body + size
        if size == 0 or extra > size:
            return _unread("damaged")
        if kind in (_FILE_5, _SERVICE_5) and extra:
            area = octets[end - min(extra, _MAX_HEADER) : end]
            if _has_encryption_record(area):
                return _ENCRYPTED
        at = end + data
    return _unread(f"more than {MAX_BLOCKS}")


def _has_encryption_record(area: bytes) -> bool:
    at = 0
    while at < len(area):
        size, body = _number(area, at)
        kind, _ = _number(area, body)
        if kind == _EXTRA_ENCRYPTION:
            return True
        at = body + size
    return False


def _number(octets: bytes, at: int) -> tuple[int, int]:
    """Return a number of seven bits an octet, and the offset behind it."""
    value = 0
    for count, octet in enumerate(octets[at : at + _MAX_NUMBER]):
        value |= (octet & 0x7F) << 7 * count
        if not octet & 0x80:
            return value, at + count + 1
    return value, min(len(octets), at + _MAX_NUMBER)
