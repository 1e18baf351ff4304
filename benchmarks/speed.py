"""Speed: every way measured in turn, in several rounds, in one run.

Rounds are interleaved and begin with another way each, so that what else the machine
does hits all ways alike. Ratios are formed within a round and the median is taken over
rounds: a slow minute then moves both sides of a ratio.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.generator import Load, LoadResult
from tests.integration.bed.process import BedError, Process


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.ways import Ground, Stand, Way, WayName


type CaseName = Literal["single", "sessions", "kept", "large"]


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of traffic."""

    name: CaseName
    title: str
    load: Load
    quick: Load


KIB = 1024
MIB = 1024 * KIB

CASES: dict[CaseName, Case] = {
    case.name: case
    for case in (
        Case(
            "single",
            "1 client, one 4 KiB message a session",
            Load(1, 150, 1, 4 * KIB),
            Load(1, 30, 1, 4 * KIB),
        ),
        Case(
            "sessions",
            "32 clients, one 4 KiB message a session",
            Load(32, 640, 1, 4 * KIB),
            Load(32, 128, 1, 4 * KIB),
        ),
        Case(
            "kept",
            "8 clients, 20 messages of 4 KiB a session",
            Load(8, 80, 20, 4 * KIB),
            Load(8, 16, 20, 4 * KIB),
        ),
        Case(
            "large",
            "4 clients, 5 messages of 1 MiB a session",
            Load(4, 24, 5, MIB),
            Load(4, 4, 5, MIB),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """One case over one way, once."""

    round: int
    case: CaseName
    way: WayName
    result: LoadResult
    cpu_ms: float | None
    """Of the proxy's process tree, a message; None without a proxy."""
    peak_mib: float | None


@dataclass(frozen=True, slots=True)
class Bar:
    """A ratio that smtpguard must reach over the passthrough of the same run."""

    case: CaseName
    what: str
    value: Callable[[LoadResult], float]
    bound: float
    at_most: bool = False
    """False: the ratio must be at least ``bound``."""
    over: WayName = "tls"

    def holds(self, ratio: float) -> bool:
        """Whether ``ratio`` is on the right side."""
        return ratio <= self.bound if self.at_most else ratio >= self.bound


BARS = (
    Bar("sessions", "sessions a second", lambda r: r.sessions_per_second, 1.25),
    Bar("kept", "messages a second", lambda r: r.messages_per_second, 2.0),
    Bar("large", "messages a second", lambda r: r.messages_per_second, 1.0),
    Bar("single", "p50 of a session", lambda r: r.p50_ms, 0.85, at_most=True),
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A bar, measured for one way."""

    way: WayName
    bar: Bar
    value: float
    """Median over the rounds."""
    rounds: tuple[float, ...]


def measure(
    ground: Ground,
    ways: Sequence[Way],
    cases: Sequence[Case],
    *,
    rounds: int,
    quick: bool,
    seconds: float,
    tell: Callable[[str], None],
) -> list[Measurement]:
    """Measure every case over every way, ``rounds`` times, within ``seconds``.

    Stops early, with what it has, when the time is over; leaves out a way that does not
    come up.
    """
    found: list[Measurement] = []
    end = time.monotonic() + seconds
    with ExitStack() as stack:
        stands = [*_open(ground, ways, stack, tell)]
        for turn, case, stand in _schedule(stands, cases, rounds):
            left = end - time.monotonic()
            if left <= 0:
                tell(f"time is over in round {turn + 1}")
                return found
            load = case.quick if quick else case.load
            found.append(
                _once(ground, stand, case, load, turn=turn, seconds=min(left, 120))
            )
            tell(f"round {turn + 1}: {case.name} over {stand.way.name}")
    return found


def _open(
    ground: Ground, ways: Sequence[Way], stack: ExitStack, tell: Callable[[str], None]
) -> Iterator[Stand]:
    for way in ways:
        try:
            stand = stack.enter_context(ground.open(way))
            ground.warm(stand)
        except BedError as error:
            tell(f"left out: {way.name} ({way.title}): {error}")
        else:
            yield stand


def _schedule(
    stands: Sequence[Stand], cases: Sequence[Case], rounds: int
) -> list[tuple[int, Case, Stand]]:
    return [
        (turn, case, stands[(index + turn) % len(stands)])
        for turn in range(rounds)
        for case in cases
        for index in range(len(stands))
    ]


def _once(
    ground: Ground, stand: Stand, case: Case, load: Load, *, turn: int, seconds: float
) -> Measurement:
    proxy, way = stand.proxy, stand.way
    if proxy is None:
        result = ground.load(stand, load, seconds)
        return Measurement(turn, case.name, way.name, result, None, None)
    proxy.reset_peak_memory()
    before = settled_cpu(proxy)
    result = ground.load(stand, load, seconds)
    cpu_ms = (settled_cpu(proxy) - before) / load.total * 1000
    peak = proxy.peak_memory() / MIB
    return Measurement(turn, case.name, way.name, result, cpu_ms, peak)


def settled_cpu(proxy: Process, seconds: float = 5.0) -> float:
    """Return the CPU seconds of the proxy, once it idles."""
    end = time.monotonic() + seconds
    last = proxy.cpu_seconds()
    while time.monotonic() < end:
        time.sleep(0.1)
        now = proxy.cpu_seconds()
        if now == last:
            break
        last = now
    return last


def ratios(found: Sequence[Measurement]) -> list[Ratio]:
    """Return each bar's ratio for each of smtpguard's ways that was measured.

    A round counts where neither side had a failed session.
    """
    by_place = {(m.round, m.case, m.way): m.result for m in found}
    turns = sorted({m.round for m in found})
    answers = []
    names: tuple[WayName, ...] = ("addon", "run", "workers")
    for way in names:
        for bar in BARS:
            pairs = [
                (
                    by_place.get((t, bar.case, way)),
                    by_place.get((t, bar.case, bar.over)),
                )
                for t in turns
            ]
            values = tuple(
                bar.value(ours) / bar.value(theirs)
                for ours, theirs in pairs
                if ours and theirs and not ours.failed and not theirs.failed
            )
            if values:
                answers.append(Ratio(way, bar, statistics.median(values), values))
    return answers
