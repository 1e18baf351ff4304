"""The command line of the benchmarks.

    python -m benchmarks                     speed of all ways, then inspect
    python -m benchmarks speed --quick       the ways alone, in a minute
    python -m benchmarks inspect             mails read, beside CPython's ``email``
    python -m benchmarks bombs               what each bomb costs a gateway
    python -m benchmarks scan                rates with clamd, without, and with it gone
    python -m benchmarks linearity           time by message size, up to 50 MiB
    python -m benchmarks crowd               50 messages of 20 MiB at once: memory
    python -m benchmarks soak                memory after 2,000 and 20,000 mails
    python -m benchmarks mitmweb             CPU a mail on a long connection
    python -m benchmarks all

Exit status: 0 measured; 1 an accepted message never arrived, or a bar was missed and
``--check`` was given; 2 usage, no load generator or no mails. Everything listens on
loopback, lies in a temporary folder and is ended by pid.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import blasts, reading, report, scanning, speed
from benchmarks.endurance import CHECKS, check_table, run_check
from benchmarks.generator import UnavailableError, build
from benchmarks.ways import WAYS, Ground, Way, ground


if TYPE_CHECKING:
    from collections.abc import Sequence


MODES = ("speed", "inspect", "bombs", "scan", *CHECKS, "all")
ON_GROUND = frozenset({"speed", "scan", *CHECKS})
"""Those that need the load generator and its sinks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return the exit status."""
    arguments = _arguments(argv)
    modes = _modes(arguments.mode)
    result: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": report.machine(),
        "quick": arguments.quick,
    }
    try:
        with tempfile.TemporaryDirectory(prefix="smtpguard-bench-") as folder:
            if not ON_GROUND.isdisjoint(modes):
                result |= _on_ground(Path(folder), modes, arguments)
            if "inspect" in modes:
                result["inspect"] = _inspect(Path(folder), arguments)
            if "bombs" in modes:
                result["bombs"] = _bombs(Path(folder))
    except UnavailableError as error:
        print(f"skipped: {error}", file=sys.stderr)
        return 2
    result["load_average_after"] = report.machine()["load_average"]
    if arguments.json:
        text = json.dumps(result, indent=2) + "\n"
        arguments.json.write_text(text, encoding="utf-8")
    is_lost = bool(result.get("lost"))
    return 1 if is_lost or (arguments.check and not _all_ok(result)) else 0


def _modes(asked: str | None) -> list[str]:
    if asked is None:
        return ["speed", "inspect"]
    return [*MODES[:-1]] if asked == "all" else [asked]


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="What smtpguard costs."
    )
    parser.add_argument("mode", nargs="?", choices=MODES, default=None)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--rounds", type=int, default=0, help="default: 5, quick: 2")
    parser.add_argument("--seconds", type=float, default=900.0, help="bound of speed")
    parser.add_argument("--ways", type=_ways, default=None, metavar="A,B")
    parser.add_argument("--cases", type=_cases, default=None, metavar="A,B")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="a missed bar is status 1")
    return parser.parse_args(argv)


def _ways(text: str) -> list[Way]:
    return [_named(WAYS, name, "way") for name in text.split(",")]


def _cases(text: str) -> list[speed.Case]:
    return [_named(speed.CASES, name, "case") for name in text.split(",")]


def _named[Value](table: dict[Any, Value], name: str, what: str) -> Value:
    if name not in table:
        known = ", ".join(table)
        raise argparse.ArgumentTypeError(f"no {what} {name!r}; there are {known}")
    return table[name]


def _present(ways: Sequence[Way]) -> list[Way]:
    for way in ways:
        if way.missing:
            print(f"left out: {way.name} ({way.title}), no {way.missing}")
    return [way for way in ways if not way.missing]


def _on_ground(
    folder: Path, modes: Sequence[str], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measure what goes from the load generator to its sinks."""
    found: dict[str, Any] = {}
    with ground(folder, build()) as place:
        if "speed" in modes:
            found["speed"] = _speed(place, arguments)
        if "scan" in modes:
            found["scan"] = _scan(place, arguments)
        if checks := [mode for mode in modes if mode in CHECKS]:
            found["checks"] = _checks(place, checks, arguments)
        found["lost"] = place.finish()
    print(f"\naccepted messages that never arrived at the sink: {found['lost']}")
    return found


def _inspect(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rounds = arguments.rounds or (3 if arguments.quick else 11)
    rows = reading.measure(reading.corpus(), rounds, folder, _tell)
    print(reading.table(rows))
    return rows


def _bombs(folder: Path) -> list[dict[str, Any]]:
    rows = blasts.measure(folder, _tell)
    print(blasts.table(rows))
    return rows


def _speed(place: Ground, arguments: argparse.Namespace) -> dict[str, Any]:
    found = speed.measure(
        place,
        _present(arguments.ways or [*WAYS.values()]),
        arguments.cases or [*speed.CASES.values()],
        rounds=arguments.rounds or (2 if arguments.quick else 5),
        quick=arguments.quick,
        seconds=arguments.seconds,
        tell=_tell,
    )
    rows, ratios = report.summary(found), speed.ratios(found)
    print(report.speed_table(rows))
    if ratios:
        print(report.ratio_table(ratios))
    return {"cases": rows, "ratios": report.ratio_rows(ratios)}


def _scan(place: Ground, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    rounds = arguments.rounds or (2 if arguments.quick else 5)
    rows = scanning.measure(place, rounds, quick=arguments.quick, tell=_tell)
    print(scanning.table(rows))
    return [row.to_json() for row in rows]


def _checks(
    place: Ground, names: Sequence[str], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    ways = _present(arguments.ways or [WAYS["addon"]])
    found = []
    for name in names:
        for way in ways:
            check = run_check(name, place, way, quick=arguments.quick, tell=_tell)
            print(check_table(check))
            found.append(check.to_json())
    return found


def _all_ok(result: dict[str, Any]) -> bool:
    rows = [*result.get("speed", {}).get("ratios", [])]
    for key in ("checks", "inspect", "bombs", "scan"):
        rows += result.get(key, [])
    failed = sum(
        row["failed_sessions"] for row in result.get("speed", {}).get("cases", [])
    )
    return all(row["ok"] for row in rows) and not failed


def _tell(text: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
