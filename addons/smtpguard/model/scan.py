"""What scanners are asked, and their answers, between rules and scanners (contract 7).

``pipeline`` makes the questions of a message, ``scanners`` answers all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.model.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Told:
    """What a spam engine is told of a message beside its octets."""

    client: str = ""
    """The client's address; "" where it is not known."""
    helo: str = ""
    reverse_path: str = ""
    """Without angle brackets; "" is the null reverse-path."""
    forward_paths: tuple[str, ...] = ()
    authenticated: bool = False
    tls: str = ""
    """Version of TLS towards the client, "" in the clear."""
    id: str = ""
    """Of the transaction, for the engine's own log."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is to be scanned."""

    chunks: Callable[[], Iterator[bytes]]
    """Gives the octets in pieces, each time anew. May raise OSError."""
    size: int
    """Octets of all of them."""
    sha256: str
    """Of the octets, in hexadecimal."""
    told: Told | None = None
    """Of a whole message, for spam engines."""


@dataclass(frozen=True, slots=True)
class Question:
    """One subject for several scanners."""

    subject: Subject
    scanners: tuple[ScannerSpec, ...]
    """In order: the first that says something of the content is believed."""


type Questions = Mapping[str, Question]
"""By what they are about: path of a part, or a word for the whole message."""

type Verdicts = Mapping[str, tuple[Verdict, ...]]
"""By the same; of each scanner that was asked, the last one counts."""
