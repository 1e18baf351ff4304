"""What spam engines are told, and what of their answers is believed.

Owns the two rules that every spam engine's client keeps. What a peer said of itself
comes out as harmless ASCII: no octet of it ends a line, a word or a comment of the
engine's protocol. What an engine says must be a finite number or a printable name.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits
from typing import TYPE_CHECKING

from smtpguard.errors import ScanError
from smtpguard.model.addresses import parse_ip


if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from smtpguard.model.scan import Subject


MAX_TOLD = 1000
"""Octets of one escaped text; longer ones are not told. A path has 256 at most (RFC
5321 4.5.3.1.3), thrice as many where each is escaped."""
MAX_SCORE = 1_000_000.0
"""Points either way; SpamAssassin gives GTUBE 1000, the most that anything has."""
MAX_SYMBOLS = 1000
"""Of one answer; the engines know a few thousand tests, and some dozens are met."""
MAX_NAME = 200
"""Characters of a symbol or an action; the longest known have some forty."""

VISIBLE = frozenset(chr(code) for code in range(0x21, 0x7F)) - {"%"}
"""Visible ASCII but ``%``, which begins an escape."""
_LOCAL_PART = frozenset(ascii_letters + digits + "!#$&'*+-./=?^_`{|}~")
"""What needs no quotes (RFC 5322 3.2.3). With a quote or a comma rspamd would take one
recipient for two, and a sender for none."""
_STRAY_DOT = re.compile(r"^\.|\.(?=\.|\Z)")
"""A dot that stands between no two atoms, which only quotes allow."""
_DOMAIN = frozenset(ascii_letters + digits + "-._[]:")


def escaped(text: str, kept: Container[str] = VISIBLE) -> str:
    """Return a text of which nothing but ``kept`` is left: ``%`` and two hexadecimal
    digits stand for each octet of the rest (UTF-8). "" where that is too long."""
    out = "".join(c if c in kept else _percent(c) for c in text[: MAX_TOLD + 1])
    return out if len(out) <= MAX_TOLD else ""


def escaped_path(path: str) -> str | None:
    """Return a mailbox of the envelope that needs no quotes, else as ``escaped``.

    "" for the null reverse-path; None for what is no mailbox to an engine: a
    ``<Postmaster>`` without a domain, or one that is too long.
    """
    if not path:
        return ""
    local_part, at, domain = path.rpartition("@")
    if not (at and domain) or not _DOMAIN.issuperset(domain):
        return None
    plain = _STRAY_DOT.sub("%2E", escaped(local_part or '""', _LOCAL_PART))
    out = f"{plain}@{domain}"
    return out if plain and len(out) <= MAX_TOLD else None


def told_ip(client: str) -> str:
    """Return a client's address as engines read it, "" for what is none."""
    try:
        return str(parse_ip(client))
    except ValueError:
        return ""


def announced(subject: Subject) -> Iterator[bytes]:
    """Yield a subject's octets; raises ScanError where their number is not its size,
    which both protocols tell first, and what ``Subject.chunks`` does."""
    left = subject.size
    for chunk in subject.chunks():
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise ScanError("the message has another size than was said")


def _percent(character: str) -> str:
    # A lone surrogate has no octets; its backslash form is escaped like any text.
    octets = character.encode("utf-8", "backslashreplace")
    return "".join(f"%{octet:02X}" for octet in octets)


def believed_score(value: object) -> float:
    """Return a score, or a symbol's part in it; raises ScanError."""
    # A bool is an int to Python, never a score.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScanError(f"a score that is no number: {str(value)[:50]!r}")
    if not -MAX_SCORE <= value <= MAX_SCORE:  # nor is NaN between them
        raise ScanError("a score beyond all bounds")
    return float(value)


def believed_name(value: object) -> str:
    """Return the name of a symbol or an action, printable ASCII; raises ScanError."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ScanError(f"a name that is none: {str(value)[:50]!r}")
    if not (value.isascii() and value.isprintable()):
        raise ScanError(f"a name that is not printable: {value[:50]!r}")
    return value
