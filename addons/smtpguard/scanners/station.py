"""One scanner of the rules: its addresses, each behind a breaker, and its turns.

Whoever asks gets an answer soon: an address that is gone is not asked again before
somebody has seen it answer, which is looked for all the while; one that stops answering
under a scan is found out by a question beside it, not by the scan's timeout.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from logging import getLogger
from typing import TYPE_CHECKING

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners.base import printable
from smtpguard.scanners.breaker import Breaker, Poison


if TYPE_CHECKING:
    from smtpguard.model.scan import Subject
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.scanners.base import Scanner


logger = getLogger(__name__)

QUIET_SECONDS = 2.0
"""A scan that takes longer has somebody ask beside it whether the scanner answers."""
PING_SECONDS = 2.0
"""For which an answer to that is awaited."""
PROBE_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Between questions to one that is gone; the last for good."""


@dataclass(slots=True)
class Post:
    """A scanner at one address."""

    address: str
    scanner: Scanner
    breaker: Breaker = field(default_factory=Breaker)
    probing: asyncio.Task[None] | None = None
    watching: asyncio.Task[None] | None = None
    scans: set[asyncio.Task[Verdict]] = field(default_factory=set)


class Station:
    """One scanner of the rules."""

    def __init__(self, spec: ScannerSpec, posts: tuple[Post, ...]) -> None:
        """Prepare; for one event loop."""
        self.spec = spec
        self.posts = posts
        self._poison = Poison()
        self._turns = asyncio.Semaphore(spec.concurrency)
        self._is_retired = False
        self._is_closed = False

    async def scan(self, subject: Subject) -> Verdict:
        """Return what the scanner says, asked at its addresses in their order.

        Raises ScanError and what a scanner raises; bounded by whoever calls.
        """
        self._refuse_poison(subject)
        self._first()
        await self._turn()
        try:
            self._refuse_poison(subject)
            while True:
                post = self._first()
                try:
                    return await self._ask(post, subject)
                except ScannerUnavailableError:
                    if not post.breaker.is_open:
                        raise
                except ScannerTimeoutError:
                    # Not "unavailable", if nobody else is: the file may be why.
                    if all(one.breaker.is_open for one in self.posts):
                        raise
                    if not post.breaker.is_open:
                        raise
        finally:
            self._turns.release()

    def health(self) -> list[tuple[str, str, str]]:
        """Return address, state and reason of each address."""
        return [
            (post.address, str(post.breaker.state), post.breaker.reason)
            for post in self.posts
        ]

    async def retire(self) -> None:
        """Look no more for whoever is gone; scans under way end as they would."""
        self._is_retired = True
        await _end([post.probing for post in self.posts])

    async def close(self) -> None:
        """End everything; scans under way end as if nobody were there."""
        await self.retire()
        self._is_closed = True
        await _end([post.watching for post in self.posts])
        for post in self.posts:
            for scan in tuple(post.scans):
                scan.cancel()

    # -- asking ------------------------------------------------------------------------

    def _first(self) -> Post:
        """Return the first address that is asked at all."""
        if self._is_closed:
            raise ScannerUnavailableError("not asked: it is stopped")
        for post in self.posts:
            if not post.breaker.is_open:
                return post
        reasons = "; ".join(
            f"{one.address}: {one.breaker.reason}" for one in self.posts
        )
        raise ScannerUnavailableError(f"not asked: {reasons}")

    def _refuse_poison(self, subject: Subject) -> None:
        if self._poison.is_guilty(subject.sha256, time.monotonic()):
            raise ScanError("not asked: it ended while it had this before")

    async def _turn(self) -> None:
        """Wait for a turn; no longer than for an answer, since another may be idle."""
        try:
            async with asyncio.timeout(self.spec.timeout):
                await self._turns.acquire()
        except TimeoutError:
            reason = f"not asked: it was busy for {self.spec.timeout:.3g} s"
            raise ScannerUnavailableError(reason) from None

    async def _ask(self, post: Post, subject: Subject) -> Verdict:
        digest, cleared = subject.sha256, False
        self._poison.begin(post.address, digest)
        try:
            async with asyncio.timeout(self.spec.timeout):
                verdict = await self._watched(post, subject)
            cleared = True
        except TimeoutError:
            late = ScannerTimeoutError(f"no answer in {self.spec.timeout:.3g} s")
            self._failed(post, late, is_gone=False)
            raise late from None
        except ScanError as error:
            is_dead = isinstance(error, ScannerDiedError)
            if is_dead:
                self._poison.died(post.address, digest, time.monotonic())
            is_gone = is_dead or isinstance(error, ScannerUnavailableError)
            self._failed(post, error, is_gone=is_gone)
            raise
        finally:
            self._poison.end(post.address, digest, cleared=cleared)
        if verdict.kind is not VerdictKind.OVERSIZE:
            self._answered(post)
        return verdict

    async def _watched(self, post: Post, subject: Subject) -> Verdict:
        """Scan, given up where the scanner answers nobody else either."""
        scan = asyncio.ensure_future(post.scanner.scan(subject))
        scan.add_done_callback(_take_note)
        post.scans.add(scan)
        if post.watching is None or post.watching.done():
            post.watching = asyncio.create_task(self._watch(post))
        try:
            # Not "await scan": whose end it is, the scan's or the caller's, must be
            # told apart, and a scanner that will not end keeps no caller waiting.
            await asyncio.wait((scan,))
        finally:
            post.scans.discard(scan)
            scan.cancel()
            if not post.scans and post.watching is not None:
                post.watching.cancel()
                post.watching = None
        if scan.cancelled():
            raise ScannerUnavailableError(post.breaker.reason or "given up")
        return scan.result()

    async def _watch(self, post: Post) -> None:
        """Ask beside scans that take long, as long as there are any."""
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            if (error := await _ping(post.scanner)) is not None:
                self._failed(post, error, is_gone=True)
                for scan in tuple(post.scans):
                    scan.cancel()
                return

    # -- the breaker -------------------------------------------------------------------

    def _failed(self, post: Post, error: ScanError, *, is_gone: bool) -> None:
        if self._is_closed:
            return
        was_open = post.breaker.is_open
        post.breaker.failed(printable(str(error)), is_gone=is_gone)
        if post.breaker.is_open and not was_open:
            logger.error(
                "scanner %s at %s is not asked any more: %s",
                *(self.spec.name, post.address, post.breaker.reason),
            )
            if not self._is_retired and (post.probing is None or post.probing.done()):
                post.probing = asyncio.create_task(self._probe(post))

    def _answered(self, post: Post) -> None:
        was_sound = not post.breaker.reason
        post.breaker.answered()
        if not was_sound:
            logger.info("scanner %s at %s answers", self.spec.name, post.address)

    async def _probe(self, post: Post) -> None:
        """Ask one that is gone until it answers."""
        waits = iter(PROBE_SECONDS)
        wait = 0.0
        while post.breaker.is_open:
            wait = next(waits, wait)
            await asyncio.sleep(wait)
            if await _ping(post.scanner) is None and post.breaker.is_open:
                post.breaker.seen()
                logger.info(
                    "scanner %s at %s is there again", self.spec.name, post.address
                )


async def _ping(scanner: Scanner) -> ScanError | None:
    """Return why a scanner does not answer in time, None if it does."""
    ping = asyncio.ensure_future(scanner.ping())
    ping.add_done_callback(_take_note)
    try:
        await asyncio.wait((ping,), timeout=PING_SECONDS)
    finally:
        ping.cancel()
    if not ping.done() or ping.cancelled():
        return ScannerTimeoutError("it answers nobody")
    error = ping.exception()
    if error is None or isinstance(error, ScanError):
        return error
    return ScanError(repr(error))


async def _end(tasks: list[asyncio.Task[None] | None]) -> None:
    """Cancel tasks, and wait until they are over."""
    some = [task for task in tasks if task is not None]
    for task in some:
        task.cancel()
    await asyncio.gather(*some, return_exceptions=True)


def _take_note(asked: asyncio.Task[Verdict] | asyncio.Task[None]) -> None:
    """Look at how a scan or a ping ended, though nobody waits for it any more."""
    if not asked.cancelled():
        asked.exception()
