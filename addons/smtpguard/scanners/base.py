"""What every scanner has in common: what it is asked, how it fails.

``guard`` is the one place where whatever a scanner does becomes a verdict.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from smtpguard.errors import ScanError, ScannerUnavailableError
from smtpguard.model.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MAX_REASON = 200
"""Characters of a reason; a scanner could send any number."""


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


class Scanner(Protocol):
    """One scanner at one address."""

    async def scan(self, subject: Subject) -> Verdict:
        """Return what it says of a subject.

        Bounded by whoever calls. Raises ScanError where there is no whole answer,
        ScannerUnavailableError where nobody could be asked, OSError.
        """
        ...

    async def ping(self) -> None:
        """Ask whether somebody is there. Raises what ``scan`` raises."""
        ...


async def guard(
    name: str, scanner: Scanner, subject: Subject, seconds: float
) -> Verdict:
    """Return a scanner's verdict within so many seconds, whatever it does."""
    began = time.monotonic()
    verdict = await _guarded(name, scanner, subject, seconds)
    return replace(verdict, seconds=time.monotonic() - began)


async def _guarded(
    name: str, scanner: Scanner, subject: Subject, seconds: float
) -> Verdict:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            return await scanner.scan(subject)
    except ScannerUnavailableError as error:
        return Verdict(name, VerdictKind.UNAVAILABLE, reason=printable(str(error)))
    except ScanError as error:
        return Verdict(name, VerdictKind.FAILED, reason=printable(str(error)))
    except TimeoutError:
        return Verdict(name, VerdictKind.FAILED, reason=f"no answer in {seconds:.3g} s")
    except Exception as error:  # noqa: BLE001 - a scanner's bug must not lose the mail
        return Verdict(name, VerdictKind.FAILED, reason=printable(repr(error)))


def printable(text: str) -> str:
    """Return a text that can stand in logs: printable ASCII, not too long."""
    escaped = text.encode("ascii", "backslashreplace").decode()
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in escaped)
    return shown[:MAX_REASON]
