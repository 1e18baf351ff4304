"""The load generator and the sink: one C program, built here, not kept here.

Its source lies in ``$SMTPGUARD_SHARED/bench/smtpbench.c``. It speaks SMTP in clear,
with STARTTLS and with implicit TLS, and costs so little that the proxy between is what
the numbers tell about.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.integration.bed.process import Process, free_port, start


ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"

type Tls = Literal["clear", "starttls", "implicit"]

_TLS_FLAGS: dict[Tls, list[str]] = {"clear": [], "starttls": ["-t"], "implicit": ["-T"]}

_NUMBER = r"([0-9.]+)"
_LINE = re.compile(
    rf"sessions_ok=(\d+) errors=(\d+) msgs=(\d+) secs={_NUMBER} sess/s={_NUMBER} "
    rf"msg/s={_NUMBER} MB/s={_NUMBER} p50={_NUMBER}ms p95={_NUMBER}ms p99={_NUMBER}ms "
    rf"max={_NUMBER}ms(?: firsterr=(.*))?"
)
_SUNK = re.compile(r"sink: (\d+) messages, (\d+) bytes")


class UnavailableError(RuntimeError):
    """The generator cannot be had here; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent in one measurement."""

    clients: int
    sessions: int
    messages: int
    """A session."""
    octets: int
    """A message's body; its header section adds about 100."""

    @property
    def total(self) -> int:
        """Messages in all."""
        return self.sessions * self.messages


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What the generator saw."""

    sessions: int
    """Those that came to their QUIT."""
    failed: int
    messages: int
    """Those that got their 250."""
    seconds: float
    p50_ms: float
    """Of a whole session, connect to QUIT's reply."""
    p99_ms: float
    first_error: str = ""

    @property
    def sessions_per_second(self) -> float:
        """Finished sessions a second."""
        return self.sessions / self.seconds if self.seconds else 0.0

    @property
    def messages_per_second(self) -> float:
        """Accepted messages a second."""
        return self.messages / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Sink:
    """A running sink."""

    process: Process
    port: int

    def stop(self) -> int:
        """End it; return how many messages it took in."""
        self.process.stop()
        match = _SUNK.search(self.process.text())
        return int(match[1]) if match else -1


@dataclass(frozen=True, slots=True)
class Generator:
    """The built program."""

    binary: Path

    def sink(self, folder: Path, pem: Path, *, implicit: bool) -> Sink:
        """Start a sink on a free loopback port, offering STARTTLS or speaking TLS."""
        port = free_port()
        kind = "implicit" if implicit else "starttls"
        # Any other word than "implicit" in the last place means STARTTLS.
        command: list[str | Path] = [self.binary, "sink", str(port), pem, kind]
        process = start(command, folder / f"sink-{kind}.log")
        process.wait_listening(port)
        return Sink(process, port)

    def load(self, port: int, load: Load, tls: Tls, seconds: float) -> LoadResult:
        """Send ``load`` to a loopback port; give up after ``seconds``.

        A run that was given up counts all its sessions as failed.
        """
        command = [
            *(str(self.binary), "load", "127.0.0.1", str(port)),
            *("-s", str(load.sessions), "-c", str(load.clients)),
            *("-m", str(load.messages), "-l", str(load.octets), *_TLS_FLAGS[tls]),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            reason = f"given up after {seconds:.0f} s"
            return LoadResult(0, load.sessions, 0, seconds, 0.0, 0.0, reason)
        return parse_result(done.stdout)


def parse_result(line: str) -> LoadResult:
    """Read the generator's one line of output.

    Raises ``ValueError`` for anything else.
    """
    match = _LINE.search(line)
    if match is None:
        raise ValueError(f"not the load generator's output: {line!r}")
    return LoadResult(
        sessions=int(match[1]),
        failed=int(match[2]),
        messages=int(match[3]),
        seconds=float(match[4]),
        p50_ms=float(match[8]),
        p99_ms=float(match[10]),
        first_error=match[12] or "",
    )


def shared_folder() -> Path:
    """Return the folder of shared material, whether it is there or not."""
    default = ROOT.parent / "shared"
    return Path(os.environ.get("SMTPGUARD_SHARED") or default)


def build() -> Generator:
    """Compile the generator into ``.cache/`` unless this very source is there already.

    Raises ``UnavailableError`` where the source, the compiler or OpenSSL's headers are
    missing.
    """
    source = shared_folder() / "bench" / "smtpbench.c"
    if not source.is_file():
        raise UnavailableError(
            "no load generator: bench/smtpbench.c is not under SMTPGUARD_SHARED "
            "(default: ../shared)"
        )
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UnavailableError("no load generator: neither gcc nor cc is installed")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    binary = CACHE / f"smtpbench-{digest}"
    if not binary.exists():
        _compile(compiler, source, binary)
    return Generator(binary)


def _compile(compiler: str, source: Path, binary: Path) -> None:
    CACHE.mkdir(exist_ok=True)
    fresh = binary.with_suffix(f".{os.getpid()}")
    flags = ["-O2", "-pthread", "-w", "-o", str(fresh)]
    done = subprocess.run(
        [compiler, *flags, str(source), "-lssl", "-lcrypto"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        first = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise UnavailableError(f"no load generator: {first} (Debian needs libssl-dev)")
    fresh.replace(binary)
