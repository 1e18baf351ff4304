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
from typing import TYPE_CHECKING, Any

from smtpguard.errors import ScannerUnavailableError
from smtpguard.model.verdict import UNDECIDED, Verdict
from smtpguard.scanners.base import guard
from smtpguard.scanners.clamd import Clamd
from smtpguard.scanners.rspamd import Rspamd
from smtpguard.scanners.spamassassin import SpamAssassin
from smtpguard.scanners.station import Post, Station
from smtpguard.scanners.yara import Yara


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from collections.abc import Set as AbstractSet

    from smtpguard.model.scan import Question, Questions, Subject, Verdicts
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.scanners.base import Scanner


SCAN_SECONDS = 100.0
"""For all scans of one message: of 240 s until its verdict, in which others have their
turn as well."""
AT_ONCE = 4
"""Scans of one message at the same time: however many parts it has, others have their
turn."""
THREADS = 4096
"""Scans in threads at the same time: as many as all scanners of the rules may have,
with the questions beside them. A thread is made when it is needed."""
HEALTH_SECONDS = 2.0
STOP_SECONDS = 5.0
"""For which scans under way are awaited at the end."""


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
        """So that nothing is handed to a desk after its end."""
        self._desk: _Desk | None = None

    def ask(self, questions: Questions) -> Future[Verdicts]:
        """Return the verdicts to come, within ``SCAN_SECONDS``; it never raises.

        Of each question those of the scanners that were asked, in their order.
        """
        with self._lock:
            if self._desk is None:
                self._desk = _Desk(self._makers)
            return self._desk.run(self._desk.ask(questions))

    def keep(self, specs: AbstractSet[ScannerSpec]) -> None:
        """Forget what is known of all scanners but these."""
        with self._lock:
            if self._desk is not None:
                self._desk.run(self._desk.keep(specs))

    def health(self) -> list[tuple[str, str, str, str]]:
        """Return name, address, state and reason of each scanner that was asked."""
        with self._lock:
            if self._desk is None:
                return []
            told = self._desk.run(self._desk.health())
        try:
            return told.result(HEALTH_SECONDS)
        except TimeoutError:
            return [("scanners", "", "open", "no answer in time")]

    def stop(self) -> None:
        """End all; questions under way are answered "unavailable".

        Who asks afterwards starts anew. Not for the thread in which scanners run.
        """
        with self._lock:
            desk, self._desk = self._desk, None
        if desk is not None:
            desk.stop()


class _Desk:
    """An event loop in a thread of its own, and the scanners that live in it.

    Its coroutines are for ``run`` alone, which is for any thread.
    """

    def __init__(
        self, makers: dict[str, Callable[[ScannerSpec, str], Scanner]]
    ) -> None:
        self._makers = makers
        self._stations: dict[ScannerSpec, Station] = {}
        self._is_ended = False
        self._loop = asyncio.new_event_loop()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="smtpguard scan")
        self._loop.set_default_executor(pool)
        self._thread = threading.Thread(
            target=self._run_loop, name="smtpguard scans", daemon=True
        )
        self._thread.start()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine in the thread, and return its result to come."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self) -> None:
        """Answer all that was asked, and end the thread."""
        self.run(self._end()).add_done_callback(
            lambda _: self._loop.call_soon_threadsafe(self._loop.stop)
        )
        self._thread.join(3 * STOP_SECONDS)

    async def ask(self, questions: Questions) -> Verdicts:
        """Answer questions, those about the same only once (``Stations.ask``)."""
        until = time.monotonic() + SCAN_SECONDS
        gate = asyncio.Semaphore(AT_ONCE)
        keys = {name: _key(question) for name, question in questions.items()}
        different = {_key(question): question for question in questions.values()}
        answers = await asyncio.gather(
            *(self._answer(question, until, gate) for question in different.values())
        )
        by_key = dict(zip(different, answers, strict=True))
        return {name: by_key[key] for name, key in keys.items()}

    async def keep(self, specs: AbstractSet[ScannerSpec]) -> None:
        """Forget all scanners but these."""
        unknown = [one for one in self._stations if one not in specs]
        for station in [self._stations.pop(one) for one in unknown]:
            await station.retire()

    async def health(self) -> list[tuple[str, str, str, str]]:
        """Return name, address, state and reason of each scanner."""
        return [
            (spec.name, *told)
            for spec, station in self._stations.items()
            for told in station.health()
        ]

    # -- in the loop's thread ----------------------------------------------------------

    async def _answer(
        self, question: Question, until: float, gate: asyncio.Semaphore
    ) -> tuple[Verdict, ...]:
        """Ask one scanner after the other, until one says something of the content."""
        async with gate:
            return await self._answer_now(question, until)

    async def _answer_now(
        self, question: Question, until: float
    ) -> tuple[Verdict, ...]:
        verdicts: list[Verdict] = []
        for spec in question.scanners:
            left = until - time.monotonic()
            asked = self._scan(spec, question.subject)
            verdicts.append(await guard(spec.name, asked, left))
            if verdicts[-1].kind not in UNDECIDED:
                break
        return tuple(verdicts)

    async def _scan(self, spec: ScannerSpec, subject: Subject) -> Verdict:
        if self._is_ended:
            raise ScannerUnavailableError("not asked: smtpguard ends")
        return await self._station(spec).scan(subject)

    def _station(self, spec: ScannerSpec) -> Station:
        found = self._stations.get(spec)
        if found is None:
            make = self._makers[spec.type]
            posts = tuple(Post(one, make(spec, one)) for one in spec.addresses or ("",))
            found = self._stations[spec] = Station(spec, posts)
        return found

    async def _end(self) -> None:
        """Close all scanners, and wait until all is answered."""
        self._is_ended = True
        for station in tuple(self._stations.values()):
            await station.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            _, rest = await asyncio.wait(rest, timeout=STOP_SECONDS)
        for stubborn in rest:
            stubborn.cancel()
        if rest:
            await asyncio.wait(rest, timeout=STOP_SECONDS)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


def _key(question: Question) -> tuple[object, ...]:
    """Return what two questions have in common that are about the same."""
    subject = question.subject
    return subject.sha256, subject.size, subject.told, question.scanners
