"""What each bomb costs a gateway with the default rules: seconds, and memory.

One mitmdump takes them all, one after the other, as attachments and mails from outside;
seconds are those from the end of data to the reply. Peaks are resident octets since the
bomb before, of the gateway's own process and of the largest that looks into archives.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.reading import OWN
from benchmarks.ways import ONE_NETWORK
from smtpguard.loading import default_rules
from tests.bombs import BOMBS
from tests.integration.bed.certificates import make_authority
from tests.integration.bed.clients import stuffed
from tests.integration.bed.guard import start_mitmdump
from tests.integration.raw import connect
from tests.integration.sink import Sink


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.integration.bed.guard import Guard


MAX_SECONDS = 5.0
MAX_MIB = 300.0
MIB = 1 << 20
SETTLED = frozenset({"250", "550", "554"})
"""Replies of a gateway that has made up its mind; 451 is none."""
GREETING = (
    b"EHLO bomber.test",
    b"MAIL FROM:<a@out.example>",
    b"RCPT TO:<b@own.example>",
    b"DATA",
)


@dataclass(frozen=True, slots=True)
class Blast:
    """One bomb."""

    bomb: str
    mib: float
    """Of the whole message."""
    seconds: float
    gateway_mib: float
    inspector_mib: float
    """0 where none was needed yet."""
    reply: str

    @property
    def ok(self) -> bool:
        """Whether it ended as it should, within bounds."""
        memory = max(self.gateway_mib, self.inspector_mib)
        in_bounds = self.seconds <= MAX_SECONDS and memory <= MAX_MIB
        return in_bounds and self.reply[:3] in SETTLED


def measure(folder: Path, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return a row for each bomb; ``folder`` is for what the gateway writes."""
    identity = make_authority(folder / "bomb-ca").issue("localhost", "127.0.0.1")
    rules = default_rules().read_text("utf-8").replace("domains: [] ", OWN)
    rows = []
    with Sink(identity) as sink:
        place = folder / "bombs"
        place.mkdir()
        options = [*ONE_NETWORK, "--set", "ssl_insecure=true"]
        guard = start_mitmdump(place, place / "conf", sink.reverse, rules, options)
        try:
            for name, make in BOMBS.items():
                blast = _blast(guard, name, make())
                rows.append({**asdict(blast), "ok": blast.ok})
                tell(f"bomb: {name}")
        finally:
            guard.stop()
    return rows


def _blast(guard: Guard, name: str, message: bytes) -> Blast:
    guard.process.reset_peak_memory()
    seconds, reply = sent(guard.port, message)
    own, *others = guard.process.peak_memories()
    return Blast(
        name,
        round(len(message) / MIB, 1),
        round(seconds, 2),
        round(own / MIB, 1),
        round(max(others, default=0) / MIB, 1),
        reply,
    )


def sent(port: int, message: bytes) -> tuple[float, str]:
    """Send a message in a session of its own; return how long its verdict took, and
    the reply, "" if there was none in time."""
    with connect(port) as wire:
        wire.reply()
        replies = [wire.ask(line) for line in GREETING]
        if not replies[-1].startswith("354"):
            return 0.0, replies[-1]
        try:
            wire.send(stuffed(message))
            began = time.monotonic()
            reply = wire.reply()
        except TimeoutError:
            return time.monotonic() - began, ""
        return time.monotonic() - began, reply


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text."""
    lines = [
        "",
        f"bombs: at most {MAX_SECONDS:.0f} s, {MAX_MIB:.0f} MiB a process",
        f"  {'':<24}{'MiB':>7}{'s':>7}{'gateway':>9}{'archives':>9}",
    ]
    lines += [
        f"  {row['bomb']:<24}{row['mib']:>7.1f}{row['seconds']:>7.2f}"
        f"{row['gateway_mib']:>9.0f}{row['inspector_mib']:>9.0f}"
        f"  {'' if row['ok'] else 'MISSED '}{row['reply'][:40]}"
        for row in rows
    ]
    return "\n".join(lines)
