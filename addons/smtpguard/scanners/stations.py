"""All scanners that the rules name, asked in a thread of their own.

That thread has an event loop: engines that speak asyncio are asked there, clamd in
threads of their own below it. mitmproxy's loop only waits for a future, so that reading
and encoding what is scanned keeps no session waiting.
"""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from smtpguard.model.verdict import UNDECIDED, Verdict
from smtpguard.scanners.base import guard
from smtpguard.scanners.clamd import Clamd
from smtpguard.scanners.rspamd import Rspamd
from smtpguard.scanners.spamassassin import SpamAssassin
from smtpguard.scanners.station import Post, Station
from smtpguard.scanners.yara import Yara


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from smtpguard.model.scan import Question, Questions, Verdicts
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.scanners.base import Scanner


SCAN_SECONDS = 100.0
"""For all scans of one message: of 240 s until its verdict, in which others have their
turn as well."""
THREADS = 64
"""Scans by clamd at the same time, of all scanners together."""


def _clamd(spec: ScannerSpec, address: str) -> Scanner:
    return Clamd(spec.name, address, spec.max_size, spec.timeout)


def _yara(spec: ScannerSpec, _: str) -> Scanner:
    return Yara(spec.name, spec.rules, spec.max_size, spec.timeout)


def _rspamd(spec: ScannerSpec, address: str) -> Scanner:
    return Rspamd(spec.name, address, spec.max_size)


def _spamassassin(spec: ScannerSpec, address: str) -> Scanner:
    return SpamAssassin(spec.name, address, spec.max_size)


MAKERS: dict[str, Callable[[ScannerSpec, str], Scanner]] = {
    "clamd": _clamd,
    "yara": _yara,
    "rspamd": _rspamd,
    "spamassassin": _spamassassin,
}
"""By the ``type`` in the rules: makes the scanner at one address."""


class Stations:
    """The scanners of one process; for any thread.

    Nothing is started before somebody asks.
    """

    def __init__(
        self, makers: dict[str, Callable[[ScannerSpec, str], Scanner]] = MAKERS
    ) -> None:
        self._makers = makers
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stations: dict[ScannerSpec, Station] = {}
        """Of the loop's thread alone."""

    def ask(self, questions: Questions) -> Future[Verdicts]:
        """Return the verdicts to come, within ``SCAN_SECONDS``; it never raises.

        Of each question those of the scanners that were asked, in their order.
        """
        return asyncio.run_coroutine_threadsafe(self._ask(questions), self._running())

    def keep(self, specs: AbstractSet[ScannerSpec]) -> None:
        """Forget what is known of all scanners but these."""
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(self._keep(specs), self._loop)

    def health(self) -> list[tuple[str, str, str, str]]:
        """Return name, address, state and reason of each scanner that was asked."""
        if self._loop is None:
            return []
        return asyncio.run_coroutine_threadsafe(self._health(), self._loop).result()

    def stop(self) -> None:
        """Ask nobody any more; questions under way end as they would."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(self._keep(frozenset()), loop).result()
            loop.call_soon_threadsafe(loop.stop)

    # -- in the loop's thread ----------------------------------------------------------

    async def _ask(self, questions: Questions) -> Verdicts:
        until = time.monotonic() + SCAN_SECONDS
        asked = [self._answer(question, until) for question in questions.values()]
        return dict(zip(questions, await asyncio.gather(*asked), strict=True))

    async def _answer(self, question: Question, until: float) -> tuple[Verdict, ...]:
        """Ask one scanner after the other, until one says something of the content."""
        verdicts: list[Verdict] = []
        for spec in question.scanners:
            station = self._station(spec)
            left = until - time.monotonic()
            verdicts.append(
                await guard(spec.name, station.scan(question.subject), left)
            )
            if verdicts[-1].kind not in UNDECIDED:
                break
        return tuple(verdicts)

    def _station(self, spec: ScannerSpec) -> Station:
        found = self._stations.get(spec)
        if found is None:
            make = self._makers[spec.type]
            posts = tuple(Post(one, make(spec, one)) for one in spec.addresses or ("",))
            found = self._stations[spec] = Station(spec, posts)
        return found

    async def _keep(self, specs: AbstractSet[ScannerSpec]) -> None:
        for spec in [one for one in self._stations if one not in specs]:
            await self._stations.pop(spec).close()

    async def _health(self) -> list[tuple[str, str, str, str]]:
        return [
            (spec.name, *told)
            for spec, station in self._stations.items()
            for told in station.health()
        ]

    # -- the thread --------------------------------------------------------------------

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                pool = ThreadPoolExecutor(THREADS, thread_name_prefix="smtpguard scan")
                self._loop.set_default_executor(pool)
                threading.Thread(
                    target=_run, args=(self._loop,), name="smtpguard scans", daemon=True
                ).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()
