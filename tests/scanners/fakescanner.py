"""A scanner that does what a test says, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from smtpguard.errors import ScannerUnavailableError
from smtpguard.model.verdict import Verdict, VerdictKind


if TYPE_CHECKING:
    from smtpguard.model.scan import Subject


CLEAN = Verdict("fake", VerdictKind.CLEAN)
INFECTED = Verdict("fake", VerdictKind.INFECTED, "Win.Test")
OVERSIZE = Verdict("fake", VerdictKind.OVERSIZE)

type Deed = Verdict | Exception | Callable[[], Awaitable[Verdict]]


async def hangs() -> Verdict:
    """Never answer."""
    await asyncio.Event().wait()
    raise AssertionError


async def will_not_end() -> Verdict:
    """Never answer, and ignore that nobody waits any more."""
    try:
        return await hangs()
    except asyncio.CancelledError:
        return await hangs()


class FakeScanner:
    """Does one deed for each scan, the last one again and again."""

    def __init__(self, *deeds: Deed) -> None:
        self.deeds = list(deeds) or [CLEAN]
        self.scanned: list[str] = []
        """Digests, in order."""
        self.running = 0
        self.most = 0
        """Scans at the same time."""
        self.pings = 0
        self.pinging: Exception | Callable[[], Awaitable[object]] | None = None
        """What a ping does instead of being answered."""

    async def scan(self, subject: Subject) -> Verdict:
        self.scanned.append(subject.sha256)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            deed = self.deeds.pop(0) if len(self.deeds) > 1 else self.deeds[0]
            if isinstance(deed, Verdict):
                await asyncio.sleep(0)
                return deed
            if isinstance(deed, Exception):
                raise deed
            return await deed()
        finally:
            self.running -= 1

    async def ping(self) -> None:
        self.pings += 1
        if isinstance(self.pinging, Exception):
            raise self.pinging
        if self.pinging is not None:
            await self.pinging()

    def goes(self) -> None:
        """Be gone from now on."""
        self.deeds = [ScannerUnavailableError("refused")]
        self.pinging = ScannerUnavailableError("refused")

    def comes_back(self, *deeds: Deed) -> None:
        """Be there from now on."""
        self.deeds = list(deeds) or [CLEAN]
        self.pinging = None
