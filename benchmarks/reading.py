"""Reading: ``smtpguard inspect``'s own code beside CPython's ``email``, in one process.

Each round goes through all mails in all ways and begins with another way; ratios are
formed within a round, and the median is taken over rounds.
"""

from __future__ import annotations

import email
import email.policy
import gc
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.generator import UnavailableError, shared_folder
from smtpguard.inspecting import Inspector, Question
from smtpguard.inspection.containers import containers
from smtpguard.loading import default_rules, load_pipeline
from smtpguard.mailfiles import Stored, Unreadable, stored_messages
from smtpguard.mime import parse


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


type WayName = Literal["scanned", "default", "silent", "email"]

TITLES: dict[WayName, str] = {
    "scanned": "inspect, rules/default.yaml",
    "default": "the same, nothing scanned",
    "silent": "inspect, rules that look at nothing",
    "email": "CPython: parse, walk, decode",
}
BOUND = 1.0
"""Times CPython's time that ours may take."""
LIMIT = 50 * 1024 * 1024
OWN = "domains: [own.example] "
SILENT = """\
version: 1
domains: [own.example]
policies:
  - name: silent
    rcpt_to: [{match: "*@own", action: allow}, {match: "*", action: deny}]
"""


def corpus() -> list[Stored]:
    """Return the real mails that hold no archive. Raises ``UnavailableError`` where
    there are none."""
    folder = shared_folder() / "corpus" / "corpus"
    found = [*stored_messages([folder], LIMIT)] if folder.is_dir() else []
    read = [one for one in found if not isinstance(one, Unreadable)]
    mails = [one for one in read if one.octets and not holds_archive(one.octets)]
    if not mails:
        raise UnavailableError(
            "no mails: corpus/corpus is not under SMTPGUARD_SHARED (default: ../shared)"
        )
    return mails


def measure(
    mails: Sequence[Stored], rounds: int, folder: Path, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return a row for each way; ``folder`` is for rule files."""
    taken: dict[WayName, list[float]] = {name: [] for name in TITLES}
    ways = [*_ways(folder)]
    for _, read, _ in ways:
        for one in mails[:50]:
            read(one)
    gc.collect()
    gc.freeze()
    try:
        for turn in range(rounds):
            for index in range(len(ways)):
                name, read, _ = ways[(turn + index) % len(ways)]
                began = time.perf_counter()
                for one in mails:
                    read(one)
                taken[name].append(time.perf_counter() - began)
            tell(f"round {turn + 1}: inspect")
    finally:
        gc.unfreeze()
        for _, _, end in ways:
            end()
    octets = sum(one.size for one in mails)
    return [_row(name, taken, len(mails), octets) for name in TITLES]


def _row(
    name: WayName, taken: dict[WayName, list[float]], mails: int, octets: int
) -> dict[str, Any]:
    """Return what stands in both reports about one way."""
    seconds = statistics.median(taken[name])
    pairs = zip(taken[name], taken["email"], strict=True)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return {
        "way": name,
        "mails": mails,
        "octets": octets,
        "rounds": len(taken[name]),
        "mails_per_second": round(mails / seconds, 1),
        "mb_per_second": round(octets / seconds / 1e6, 2),
        "ratio": round(ratio, 3),
        # What a scanner takes is not ours.
        "ok": ratio <= BOUND or name == "scanned",
    }


def holds_archive(octets: bytes) -> bool:
    """Whether an archive begins in some part, so that rules may have it entered."""
    leaves = (part for part in parse(octets).candidates() if part.is_leaf)
    return any(containers(b"".join(part.decoded())) for part in leaves)


def _ways(
    folder: Path,
) -> Iterator[tuple[WayName, Callable[[Stored], object], Callable[[], None]]]:
    """Yield each way: its name, what it does with one mail, and how it is ended."""
    text = default_rules().read_text("utf-8").replace("domains: [] ", OWN)
    unscanned = text.replace("action: scan", "action: allow")
    ways: dict[WayName, str] = {
        "scanned": text,
        "default": unscanned,
        "silent": SILENT,
    }
    for name, rules in ways.items():
        path = folder / f"{name}.yaml"
        path.write_text(rules, "utf-8")
        pipeline = load_pipeline(str(path))
        yield name, Inspector(pipeline, Question()).message, pipeline.stop
    yield "email", _by_cpython, lambda: None


def _by_cpython(stored: Stored) -> object:
    message = email.message_from_bytes(
        stored.octets or b"", policy=email.policy.default
    )
    return [
        part.get_payload(decode=True)
        for part in message.walk()
        if not part.is_multipart()
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text."""
    first = rows[0]
    lines = [
        "",
        f"{first['mails']} mails without archives, {first['octets'] / 1e6:.1f} MB",
        f"  {'':<38}{'mails/s':>9}{'MB/s':>9}{'time':>9}",
    ]
    lines += [
        f"  {TITLES[row['way']]:<38}{row['mails_per_second']:>9.0f}"
        f"{row['mb_per_second']:>9.1f}{row['ratio']:>9.2f}"
        f"  {'' if row['ok'] else 'MISSED'}".rstrip()
        for row in rows
    ]
    note = f"  time: times CPython's, at most {BOUND:.1f}; medians of {first['rounds']}"
    return "\n".join([*lines, note])
