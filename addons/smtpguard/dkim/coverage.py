"""Which header fields a signature speaks about, without asking whether it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.dkim.result import NotVerifiedError
from smtpguard.dkim.tags import parse_tags, words
from smtpguard.dkim.verify import FIELD


if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpguard.mime import Message, Span


def is_covered(
    message: Message, spans: Iterable[Span], added: Iterable[str] = ()
) -> bool:
    """Say whether one of these spans lies in a header field that is signed, or that is
    a signature, or one of the names of ``added`` fields is signed.

    A field is signed if a DKIM-Signature lists its name (``h=``); one whose list
    cannot be read is taken to list all.
    """
    starts = {span.start for span in spans}
    changed = {
        field.name.lower()
        for field in message.fields
        if any(field.span.start <= start < field.span.end for start in starts)
    }
    changed |= {name.lower() for name in added}
    if not changed:
        return False
    signed = {FIELD}
    for field in message.fields:
        if field.is_named(FIELD):
            names = _signed_names(field.raw)
            if not names:
                return True
            signed |= names
    return not changed.isdisjoint(signed)


def _signed_names(field: bytes) -> set[str]:
    try:
        tags = parse_tags(field.partition(b":")[2])
    except NotVerifiedError:
        return set()
    names = words(tags.get(b"h", b""))
    return {name.decode("ascii", "replace") for name in names if name}
