"""What every scanner has in common: what it is asked, how it fails.

``guard`` is the one place where whatever a scanner does becomes a verdict.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from smtpguard.errors import ScanError, ScannerUnavailableError
from smtpguard.model.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from collections.abc import Awaitable

    from smtpguard.model.scan import Subject


MAX_REASON = 200
"""Characters of a reason; a scanner could send any number."""


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


async def guard(name: str, verdict: Awaitable[Verdict], seconds: float) -> Verdict:
    """Return a verdict within so many seconds, whatever the scanner does."""
    began = time.monotonic()
    said = await _guarded(name, verdict, seconds)
    return replace(said, seconds=time.monotonic() - began)


async def _guarded(name: str, verdict: Awaitable[Verdict], seconds: float) -> Verdict:
    try:
        async with asyncio.timeout(max(seconds, 0)):
            said = await verdict
        return replace(said, name=printable(said.name), reason=printable(said.reason))
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
