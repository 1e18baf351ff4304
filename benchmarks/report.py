"""Tables for people and one JSON object for programs, from the same values."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks.speed import CASES, Measurement, Ratio
from benchmarks.ways import WAYS


if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def machine() -> dict[str, Any]:
    """Return what a reader must know to compare numbers with another machine's."""
    return {
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "mitmproxy": version("mitmproxy"),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def summary(found: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Return medians over the rounds, one object for each case and way."""
    groups: dict[tuple[str, str], list[Measurement]] = {}
    for each in found:
        groups.setdefault((each.case, each.way), []).append(each)
    return [
        {
            "case": case,
            "way": way,
            "rounds": len(group),
            "messages_per_second": _median(g.result.messages_per_second for g in group),
            "sessions_per_second": _median(g.result.sessions_per_second for g in group),
            "p50_ms": _median(g.result.p50_ms for g in group),
            "p99_ms": _median(g.result.p99_ms for g in group),
            "cpu_ms_per_message": _median(g.cpu_ms for g in group),
            "peak_mib": _most(g.peak_mib for g in group),
            "failed_sessions": sum(g.result.failed for g in group),
            "first_error": next((e for g in group if (e := g.result.first_error)), ""),
        }
        for (case, way), group in groups.items()
    ]


def speed_table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the medians as text, one block a case."""
    lines: list[str] = []
    last = ""
    for row in rows:
        if row["case"] != last:
            last = row["case"]
            lines += ["", CASES[row["case"]].title, _HEAD]
        lines.append(
            f"  {WAYS[row['way']].title:<34}"
            f"{_number(row['messages_per_second'], 9, 1)}"
            f"{_number(row['p50_ms'], 9, 2)}{_number(row['p99_ms'], 9, 2)}"
            f"{_number(row['cpu_ms_per_message'], 9, 3)}"
            f"{_number(row['peak_mib'], 9, 0)}{row['failed_sessions']:>8}"
            f"{'  ' + row['first_error'] if row['first_error'] else ''}"
        )
    return "\n".join(lines)


_HEAD = (
    f"  {'':<34}{'msg/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'MiB':>9}"
    f"{'failed':>8}"
)


def ratio_table(found: Sequence[Ratio]) -> str:
    """Return the ratios over passthrough, each with its bar."""
    lines = ["", "ratio to mitmdump reverse:tls, median of rounds"]
    for each in found:
        bar = each.bar
        sign = "<=" if bar.at_most else ">="
        verdict = "ok" if bar.holds(each.value) else "MISSED"
        lines.append(
            f"  {WAYS[each.way].title:<34}{CASES[bar.case].name:<10}"
            f"{bar.what:<20}{each.value:>6.2f}  {sign} {bar.bound:<5g}{verdict}"
        )
    return "\n".join(lines)


def ratio_rows(found: Sequence[Ratio]) -> list[dict[str, Any]]:
    """Return the ratios for the JSON report."""
    return [
        {
            "way": each.way,
            "case": each.bar.case,
            "what": each.bar.what,
            "ratio": round(each.value, 3),
            "rounds": [round(value, 3) for value in each.rounds],
            "bound": each.bar.bound,
            "at_most": each.bar.at_most,
            "ok": each.bar.holds(each.value),
        }
        for each in found
    ]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), 3) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(max(known), 1) if known else None


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"
