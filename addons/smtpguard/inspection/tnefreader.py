"""TNEF (MS-OXTNEF): the attachments of what Outlook sends as ``winmail.dat``.

A reader of our own: tnefparse 1.4 loses every attachment where one attribute is not as
it expects, copies the rest of the file for each attribute, and counts to 2^32 where 16
octets tell it to. Takes linear time, never raises, believes no length and no checksum.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.inspection.members import Member, Oddity
from smtpguard.inspection.octets import little


if TYPE_CHECKING:
    from collections.abc import Iterator


SIGNATURE = b"\x78\x9f\x3e\x22"

MAX_READINGS = 100
"""Names, and contents, of one attachment; Outlook writes four and one."""

_FIRST = 6
"""Octets of signature and key (2.1.3.1)."""
_ATTRIBUTE = 9
"""Octets of level, id, type and length; two of checksum follow the data (2.1.3.2)."""

# Attributes (2.1.3.3): an attachment begins; data, names, properties of one.
_BEGINS = 0x9002
_DATA = 0x800F
_TITLES = frozenset({0x8010, 0x9001})
_PROPERTIES = 0x9005

# Properties (MS-OXPROPS 2): data, binary or an object; file names, short, long and as
# shown, also with their folder or as they were sent.
_CONTENT = 0x3701
_NAMES = frozenset({0x3001, 0x3704, 0x3707, 0x3708, 0x370C, 0x370D})

# Types (MS-OXCDATA 2.11.1): octets that each takes, padded to four.
_FIXED = {
    **dict.fromkeys((0x02, 0x03, 0x04, 0x0A, 0x0B), 4),
    **dict.fromkeys((0x05, 0x06, 0x07, 0x14, 0x40), 8),
    0x01: 0,
    0x48: 16,
}
_UNICODE = 0x1F
_VARIABLE = frozenset({0x00, 0x0D, 0x1E, _UNICODE, 0x102})
_MANY = 0x1000
_NAMED = 0x8000
# What an object begins with, {...-0000-0000-C000-000000000046}: message or storage.
_INTERFACE = re.compile(rb".{4}\0{4}\xc0\0{6}\x46", re.DOTALL)


@dataclass(slots=True)
class _Attachment:
    names: list[bytes | str] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)

    def is_full(self) -> bool:
        return max(len(self.names), len(self.contents)) >= MAX_READINGS

    def add_property(self, name: int, kind: int, value: bytes) -> None:
        if name == _CONTENT:
            found = _INTERFACE.match(value)
            self.contents.append(value[found.end() :] if found else value)
        elif name in _NAMES and kind == _UNICODE:
            self.names.append(value.decode("utf-16-le", "replace").rstrip("\0"))
        elif name in _NAMES:
            self.names.append(value.rstrip(b"\0"))


def tnef_members(octets: bytes) -> Iterator[Member | Oddity]:
    """Yield the attachments; of one with two contents, both under all its names."""
    attachment: _Attachment | None = None
    at = _FIRST
    while at + _ATTRIBUTE <= len(octets):
        # The level is not asked: readers find what is at the wrong one.
        name, size = little(octets, at + 1, 2), little(octets, at + 5, 4)
        end = at + _ATTRIBUTE + size
        data = octets[at + _ATTRIBUTE : end]
        at = end + 2
        if name == _BEGINS:
            yield from _members(attachment)
            attachment = _Attachment()
        elif name in _TITLES or name in (_DATA, _PROPERTIES):
            attachment = attachment or _Attachment()
            if not _add(attachment, name, data):
                yield Oddity("archive-damaged", "tnef properties", unseen=True)
        if end > len(octets):
            yield Oddity("archive-damaged", "tnef is cut off", unseen=True)
    yield from _members(attachment)


def _members(attachment: _Attachment | None) -> Iterator[Member]:
    if attachment is None:
        return
    names = tuple(dict.fromkeys(attachment.names)) or ("",)
    for content in dict.fromkeys(attachment.contents) or (b"",):
        yield Member(names, len(content), iter((content,)))


def _add(attachment: _Attachment, name: int, data: bytes) -> bool:
    """Add what an attribute says of an attachment; say whether it was read."""
    if attachment.is_full():
        return False
    if name == _DATA:
        attachment.contents.append(data)
        return True
    if name in _TITLES:
        attachment.names.append(data.rstrip(b"\0"))
        return True
    return _add_properties(attachment, data)


def _add_properties(attachment: _Attachment, data: bytes) -> bool:
    at = 4
    for _ in range(little(data, 0, 4)):
        if at >= len(data):
            return False
        kind, name = little(data, at, 2), little(data, at + 2, 2)
        at += 4
        if name >= _NAMED:
            at = _behind_name(data, at)
        count = 1
        if kind & _MANY or kind in _VARIABLE:
            count, at = little(data, at, 4), at + 4
        kind &= ~_MANY
        if kind in _FIXED:
            at += count * _FIXED[kind]
            continue
        if kind not in _VARIABLE:
            return False
        for _ in range(count):
            if at >= len(data) or attachment.is_full():
                return False
            size = little(data, at, 4)
            attachment.add_property(name, kind, data[at + 4 : at + 4 + size])
            at += 4 + size + -size % 4
    return at <= len(data)


def _behind_name(data: bytes, at: int) -> int:
    """Return where a property begins that has a name of its own: a GUID and a number,
    or one and a text.
    """
    number = little(data, at + 20, 4)
    if little(data, at + 16, 4) == 0:
        return at + 24
    return at + 24 + number + -number % 4
