"""What scanning costs: the same load with and without clamd, in one run.

Four gateways stand before one sink, loaded in turn, in several rounds: nothing is
scanned; everything is, by clamd; nothing of these mails is to be scanned by it, while
it is there and while it is gone. All have the same rules otherwise. clamd has a few
signatures of its own and remembers what it has seen: it is the way there and back that
is measured.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.generator import Load, LoadResult
from benchmarks.speed import settled_cpu
from benchmarks.ways import RULES, WAYS
from tests.integration.bed.clamd import clamd
from tests.integration.bed.process import free_port


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.ways import Ground, Stand, Way


LOAD = Load(32, 160, 2, 100 * 1024)
QUICK = Load(32, 64, 1, 100 * 1024)
UNTOUCHED = 0.8
"""Least share of the rate that mails keep which a missing clamd has nothing to do
with."""
TITLES = {
    "plain": "nothing is scanned",
    "scanned": "everything, by clamd",
    "there": "these mails are not for clamd",
    "gone": "the same, and clamd is gone",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One gateway, over all rounds."""

    name: str
    rate: float
    """Messages a second, median."""
    cpu_ms: float
    """Of the gateway, a message; without clamd's own."""
    ratio: float
    """Of the rate, to that of ``plain`` in the same round; median."""
    failed: int
    untouched: float | None = None
    """Of ``gone``: the same to ``there``."""

    def to_json(self) -> dict[str, Any]:
        """Return the row for ``--json``."""
        ok = not self.failed and (self.untouched or UNTOUCHED) >= UNTOUCHED
        return {
            "way": self.name,
            "messages_per_second": round(self.rate, 1),
            "cpu_ms": round(self.cpu_ms, 2),
            "ratio": round(self.ratio, 2),
            "untouched": self.untouched and round(self.untouched, 2),
            "failed": self.failed,
            "ok": ok,
        }


def measure(
    ground: Ground, rounds: int, *, quick: bool, tell: Callable[[str], None]
) -> list[Row]:
    """Measure the four gateways; raises ``BedError`` where one does not come up."""
    load = QUICK if quick else LOAD
    found: dict[str, list[tuple[LoadResult, float]]] = {name: [] for name in TITLES}
    with ExitStack() as stack:
        folder = ground.folder / "scanning"
        folder.mkdir()
        server = stack.enter_context(clamd(folder))
        stands = {
            name: stack.enter_context(ground.open(_way(ground, name, server.tcp)))
            for name in TITLES
        }
        for stand in stands.values():
            ground.warm(stand)
        names = [*TITLES]
        for turn in range(rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                found[name].append(_once(ground, stands[name], load))
                tell(f"round {turn + 1}: {TITLES[name]}")
    return [_row(name, found) for name in TITLES]


def _way(ground: Ground, name: str, address: str) -> Way:
    text = RULES.read_text("utf-8")
    rules = ["application/*", "*"]
    if name in ("there", "gone"):
        rules = ["application/*"]
    if name == "gone":
        address = f"127.0.0.1:{free_port()}"
    if name != "plain":
        first = "    content_types:\n"
        scans = "".join(f'      - {{match: "{one}", action: scan}}\n' for one in rules)
        table = "    antivirus: {scanner: clam}\n"
        text = text.replace(first, table + first + scans)
        where = f"scanners: {{clam: {{type: clamd, address: {address!r}}}}}\n"
        text = text.replace("version: 1\n", f"version: 1\n{where}")
    path = ground.folder / f"rules-{name}.yaml"
    path.write_text(text, "utf-8")
    way = WAYS["addon"]
    assert way.command is not None
    ordinary = way.command

    def command(program: str, port: int, sink: int, confdir: Path) -> list[str]:
        words = ordinary(program, port, sink, confdir)
        return [word.replace(str(RULES), str(path)) for word in words]

    return replace(way, command=command)


def _once(ground: Ground, stand: Stand, load: Load) -> tuple[LoadResult, float]:
    assert stand.proxy is not None
    before = settled_cpu(stand.proxy)
    result = ground.load(stand, load, 120)
    return result, (settled_cpu(stand.proxy) - before) / load.total * 1000


def _row(name: str, found: dict[str, list[tuple[LoadResult, float]]]) -> Row:
    return Row(
        name,
        statistics.median(one.messages_per_second for one, _ in found[name]),
        statistics.median(cpu for _, cpu in found[name]),
        _ratio(found[name], found["plain"]),
        sum(one.failed for one, _ in found[name]),
        _ratio(found[name], found["there"]) if name == "gone" else None,
    )


def _ratio(
    ours: Sequence[tuple[LoadResult, float]], theirs: Sequence[tuple[LoadResult, float]]
) -> float:
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(
        one.messages_per_second / other.messages_per_second
        for (one, _), (other, _) in pairs
    )


def table(rows: Sequence[Row]) -> str:
    """Return the table that is printed."""
    lines = [
        "",
        f"scanning: {LOAD.clients} clients, messages of {LOAD.octets // 1024} KiB",
        f"{'':42} {'msg/s':>8} {'ratio':>6} {'CPU ms/msg':>11} {'failed':>7}",
    ]
    lines += [
        f"{TITLES[row.name]:42} {row.rate:8.1f} {row.ratio:6.2f} {row.cpu_ms:11.2f} "
        f"{row.failed:7}"
        for row in rows
    ]
    lines += [
        f"the last: {row.untouched:.2f} of the one before, at least {UNTOUCHED}"
        for row in rows
        if row.untouched is not None
    ]
    return "\n".join(lines)
