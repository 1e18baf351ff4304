"""Lists of ``tag=value``, which signatures and key records are (RFC 6376 3.2)."""

from __future__ import annotations

import base64
import binascii
import re

from smtpguard.dkim.result import broken_syntax


_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")
_BLANK = re.compile(rb"[ \t\r\n]+")
BLANKS = b" \t\r\n"


def parse_tags(text: bytes) -> dict[bytes, bytes]:
    """Return the tags, outer blanks of the values gone.

    Raises NotVerifiedError where one is no tag or stands twice.
    """
    specs = text.split(b";")
    if not specs[-1].strip(BLANKS):
        specs.pop()
    tags: dict[bytes, bytes] = {}
    for spec in specs:
        name, equals, value = spec.partition(b"=")
        name = name.strip(BLANKS)
        if not equals or not _NAME.fullmatch(name):
            raise broken_syntax("not a list of tags")
        if name in tags:
            raise broken_syntax("a tag stands twice")
        tags[name] = value.strip(BLANKS)
    return tags


def without_signature(field: bytes) -> bytes:
    """Return a DKIM-Signature field, as it was received, with an empty ``b=``."""
    name, colon, value = field.partition(b":")
    specs = value.split(b";")
    for number, spec in enumerate(specs):
        tag, equals, _ = spec.partition(b"=")
        if tag.strip(BLANKS) == b"b":
            specs[number] = tag + equals
    return name + colon + b";".join(specs)


def words(value: bytes) -> list[bytes]:
    """Return what stands between the colons of a value, in lower case."""
    return [word.strip(BLANKS).lower() for word in value.split(b":")]


def decode_base64(value: bytes) -> bytes:
    """Return the octets; blanks may stand anywhere. Raises NotVerifiedError."""
    try:
        return base64.b64decode(_BLANK.sub(b"", value), validate=True)
    except binascii.Error:
        raise broken_syntax("broken base64") from None
