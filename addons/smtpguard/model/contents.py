"""What octets hold, beyond what is claimed of them (contract 6).

The nouns that whoever looks into contents and whoever judges them share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


type Doubt = Literal["limit", "ambiguous", "malformed"]
"""What can keep a message from being judged for sure; a policy has a word for each."""


class Fact(StrEnum):
    """What a rule can ask with ``is:``."""

    ENCRYPTED = "encrypted"
    MACRO = "macro"
    EXECUTABLE = "executable"
    ARCHIVE = "archive"
    SIGNED = "signed"
    """S/MIME or PGP."""
    MALFORMED = "malformed"
    LIMIT = "limit"
    """Not looked through: a bound came first, or nobody here can read it."""
    DKIM_SIGNED = "dkim_signed"
    """Of a part whose message carries a DKIM-Signature field, valid or not."""
    AMBIGUOUS = "ambiguous"
    """Two readers could see different things in it."""
    UNTYPED = "untyped"
    """Without a Content-Type field."""


IN_DOUBT: dict[Doubt, Fact] = {
    "limit": Fact.LIMIT,
    "ambiguous": Fact.AMBIGUOUS,
    "malformed": Fact.MALFORMED,
}
"""What a rule asks to hear of each doubt."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was noticed while looking; never an exception."""

    kind: str
    """A slug, as ``limit-entries``, ``archive-damaged``, ``not-inspectable``."""
    detail: str = ""
    """For logs and records; printable ASCII."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that an archive (or an archive in it) holds."""

    path: str
    """Where it lies: names from the outermost archive inwards, joined by ``!``."""
    names: tuple[str, ...]
    """Every reading of its own name, as written."""
    size: int
    """Octets, expanded; as claimed where it was not read."""
    detected: str = ""
    """``type/subtype`` by content; "" where it is not known."""
    facts: frozenset[Fact] = frozenset()
    sha256: str = ""
    """Of the expanded octets; "" where they were not read."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a look into some octets has found."""

    detected: str = ""
    """``type/subtype`` by content; "" where it is not known."""
    facts: frozenset[Fact] = frozenset()
    entries: tuple[Entry, ...] = ()
    findings: tuple[Finding, ...] = ()
    others: tuple[str, ...] = ()
    """Further types of a polyglot."""
    seconds: float = field(default=0.0, compare=False)
    """Of a processor, that it took to look into them."""
