"""What stays bounded: time by size, memory by mails, CPU by mails on a connection.

Each check measures one way (``addon`` by default) and returns rows and a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.crowd import CrowdResult, send_at_once, slow_sink
from benchmarks.generator import Load
from benchmarks.speed import KIB, MIB, settled_cpu
from tests.integration.bed.process import BedError, Process


if TYPE_CHECKING:
    from benchmarks.ways import Ground, Stand, Way


type Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check over one way."""

    name: str
    way: str
    rows: Sequence[dict[str, Any]]
    verdict: str
    """What was asked and what was seen, in words."""
    ok: bool

    def to_json(self) -> dict[str, Any]:
        """Return the object of the JSON report."""
        return {
            "check": self.name,
            "way": self.way,
            "rows": list(self.rows),
            "verdict": self.verdict,
            "ok": self.ok,
        }


def linearity(ground: Ground, way: Way, *, quick: bool, tell: Tell) -> Check:
    """Time and CPU of one message, by its size up to 50 MiB.

    A message of n times the size may take 1.3 n times the time; the base is 5 MiB,
    where the session's own cost no longer shows.
    """
    sizes = (1, 5, 10, 20) if quick else (1, 5, 10, 20, 30, 40, 50)
    rows = []
    with ground.open(way) as stand:
        ground.warm(stand)
        for size in sizes:
            # Just under the limit of 50 MiB together with the header section.
            load = Load(1, 1 if quick else 3, 1, size * MIB - 4 * KIB)
            row = {"mib": size, **_cost(ground, stand, load, 180)}
            tell(f"linearity: {size} MiB over {way.name}")
            rows.append(row)
    base = next(row for row in rows if row["mib"] == 5)
    last = rows[-1]
    growth = (last["ms"] / last["mib"]) / (base["ms"] / base["mib"])
    return Check(
        "linearity",
        way.name,
        rows,
        f"a MiB of {last['mib']} costs {growth:.2f} times a MiB of 5 (at most 1.3)",
        growth <= 1.3 and not any(row["failed"] for row in rows),
    )


def crowd(ground: Ground, way: Way, *, quick: bool, tell: Tell) -> Check:
    """Peak memory with 50 messages of 20 MiB at once, to a fast and a slow upstream."""
    clients, size = (10, 4 * MIB) if quick else (50, 20 * MIB)
    rows = []
    for name, rate in (("fast", 0), ("slow", 2 * MIB)):
        with (
            slow_sink(
                ground.folder, ground.pem, rate, implicit=way.implicit_sink
            ) as port,
            ground.open_to(way, port) as stand,
        ):
            result = send_at_once(stand.port, way.tls, clients, size, seconds=400)
            rows.append({"upstream": name, **_crowd_row(result, stand.proxy)})
            tell(f"crowd: {name} upstream over {way.name}")
    worst = max(row["peak_mib"] for row in rows)
    return Check(
        "crowd",
        way.name,
        rows,
        f"{clients} x {size // MIB} MiB at once: peak {worst:.0f} MiB (at most 600)",
        worst <= 600 and not any(row["failed"] for row in rows),
    )


def _crowd_row(result: CrowdResult, proxy: Process | None) -> dict[str, Any]:
    return {
        "accepted": result.accepted,
        "failed": result.failed,
        "first_error": result.first_error,
        "seconds": round(result.seconds, 1),
        "peak_mib": round(proxy.peak_memory() / MIB, 1) if proxy else 0.0,
    }


def soak(ground: Ground, way: Way, *, quick: bool, tell: Tell) -> Check:
    """Resident memory after 2,000 mails and after 20,000, five a session."""
    early, late = (200, 2_000) if quick else (2_000, 20_000)
    rows: list[dict[str, Any]] = []
    sent = failed = 0
    with ground.open(way) as stand:
        proxy = _proxy(stand)
        for mails in (early, *(late * part // 4 for part in (1, 2, 3, 4))):
            load = Load(8, (mails - sent) // 5, 5, 4 * KIB)
            result = ground.load(stand, load, 600)
            settled_cpu(proxy)
            sent, failed = mails, failed + result.failed
            resident = round(proxy.resident_memory() / MIB, 1)
            rows.append({"mails": mails, "resident_mib": resident, "failed": failed})
            tell(f"soak: {mails} mails over {way.name}")
    growth = rows[-1]["resident_mib"] - rows[0]["resident_mib"]
    return Check(
        "soak",
        way.name,
        rows,
        f"from {early} to {late} mails {growth:+.1f} MiB (at most +20)",
        growth <= 20 and not failed,
    )


def mitmweb(ground: Ground, way: Way, *, quick: bool, tell: Tell) -> Check:
    """CPU of mitmweb a mail, by the number of mails on one connection.

    A mail may cost 1.25 times as much among 3,200 as among 50; each number has a
    mitmweb of its own, since flows of earlier runs would stay in its view.
    """
    counts = (50, 200, 800) if quick else (50, 200, 800, 3_200)
    rows = []
    for mails in counts:
        with ground.open(way, "mitmweb") as stand:
            ground.warm(stand)
            row = _cost(ground, stand, Load(1, 1, mails, 4 * KIB), 300)
            rows.append({"mails": mails, **row})
        tell(f"mitmweb: {mails} mails over {way.name}")
    growth = rows[-1]["cpu_ms"] / max(rows[0]["cpu_ms"], 0.001)
    return Check(
        "mitmweb",
        way.name,
        rows,
        f"a mail among {counts[-1]} costs {growth:.2f} times one among {counts[0]} "
        "(at most 1.25)",
        growth <= 1.25 and not any(row["failed"] for row in rows),
    )


CHECKS: dict[str, Callable[..., Check]] = {
    "linearity": linearity,
    "crowd": crowd,
    "soak": soak,
    "mitmweb": mitmweb,
}


def run_check(name: str, ground: Ground, way: Way, *, quick: bool, tell: Tell) -> Check:
    """Run one check; one whose way breaks down is a check that was missed."""
    try:
        return CHECKS[name](ground, way, quick=quick, tell=tell)
    except BedError as error:
        return Check(name, way.name, [], f"not measured: {error}", ok=False)


def _cost(ground: Ground, stand: Stand, load: Load, seconds: float) -> dict[str, Any]:
    proxy = _proxy(stand)
    proxy.reset_peak_memory()
    before = settled_cpu(proxy)
    result = ground.load(stand, load, seconds)
    spent = settled_cpu(proxy) - before
    return {
        "ms": round(result.p50_ms, 1),
        "cpu_ms": round(spent / load.total * 1000, 3),
        "peak_mib": round(proxy.peak_memory() / MIB, 1),
        "failed": result.failed,
        "first_error": result.first_error,
    }


def _proxy(stand: Stand) -> Process:
    if stand.proxy is None:
        raise BedError(f"{stand.way.name} has no proxy to measure")
    return stand.proxy


def check_table(check: Check) -> str:
    """Return one check as text."""
    columns = list(check.rows[0]) if check.rows else []
    lines = ["", f"{check.name} over {check.way}"]
    lines.append("  " + "".join(f"{name:>14}" for name in columns))
    lines += [
        "  " + "".join(f"{row[name]!s:>14}" for name in columns) for row in check.rows
    ]
    return "\n".join([*lines, f"  {check.verdict}: {'ok' if check.ok else 'MISSED'}"])
