"""The ways a message can take from the load generator to the sink.

One row a way: how the client speaks, which sink stands behind, which program between.
All proxies run with their host's defaults, as a user starts them (their log goes to a
file), each with a ``confdir`` of its own, listening on loopback.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmarks.generator import ROOT, Generator, Load, LoadResult, Sink, Tls
from tests.integration.bed.certificates import make_authority
from tests.integration.bed.guard import READY
from tests.integration.bed.process import BedError, Process, free_port, start


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


RULES = Path(__file__).with_name("rules.yaml")
SCRIPT = ROOT / "addons" / "smtpguard.py"

type WayName = Literal["direct", "tcp", "tls", "addon", "run", "workers"]

ONE_NETWORK = (
    *("--set", "smtpguard_max_connections=1000"),
    *("--set", "smtpguard_max_connections_per_network=1000"),
)
"""All clients of a benchmark come from one address, which no real load does."""

INSECURE = ("--set", "ssl_insecure=true")
"""The sink's certificate is the bed's own, and no way verifies it."""


@dataclass(frozen=True, slots=True)
class Way:
    """One row of the comparison."""

    name: WayName
    title: str
    tls: Tls
    """How the client speaks."""
    implicit_sink: bool
    command: Callable[[str, int, int, Path], list[str]] | None
    """From program (mitmdump, mitmweb), own port, sink's port and confdir."""
    needs: tuple[str, ...] = ()
    """Patterns under the repository, each of which must find a file."""
    ready: str = ""
    """What the program prints when it is ready, where that is not when it listens."""

    @property
    def missing(self) -> str:
        """What is not built yet; "" where the way can be taken."""
        return ", ".join(need for need in self.needs if not [*ROOT.glob(need)])


def _mitm(program: str) -> list[str]:
    return [str(Path(sys.executable).with_name(program)), *INSECURE]


def _plain(scheme: str) -> Callable[[str, int, int, Path], list[str]]:
    def command(program: str, port: int, sink: int, confdir: Path) -> list[str]:
        mode = f"reverse:{scheme}://127.0.0.1:{sink}@127.0.0.1:{port}"
        return [*_mitm(program), "--mode", mode, "--set", f"confdir={confdir}"]

    return command


def _addon(program: str, port: int, sink: int, confdir: Path) -> list[str]:
    plain = _plain("tcp")(program, port, sink, confdir)
    return [
        *plain,
        *ONE_NETWORK,
        "-s",
        str(SCRIPT),
        "--set",
        f"smtpguard_rules={RULES}",
    ]


def _run(_program: str, port: int, sink: int, confdir: Path) -> list[str]:
    start_cli = "from smtpguard.cli import main; raise SystemExit(main())"
    return [
        *(sys.executable, "-c", start_cli, "run", "--rules", str(RULES)),
        *("--mode", f"reverse:tcp://127.0.0.1:{sink}@127.0.0.1:{port}"),
        *("--confdir", str(confdir), *INSECURE, *ONE_NETWORK),
    ]


def _workers(program: str, port: int, sink: int, confdir: Path) -> list[str]:
    return [*_run(program, port, sink, confdir), "--workers", "0"]


WAYS: dict[WayName, Way] = {
    way.name: way
    for way in (
        Way("direct", "client to sink, STARTTLS", "starttls", False, None),
        Way("tcp", "mitmdump reverse:tcp, clear", "clear", False, _plain("tcp")),
        Way("tls", "mitmdump reverse:tls, implicit", "implicit", True, _plain("tls")),
        Way(
            "addon",
            "smtpguard in mitmdump, STARTTLS",
            "starttls",
            False,
            _addon,
            ("addons/smtpguard.py",),
            READY,
        ),
        Way(
            "run",
            "smtpguard run, STARTTLS",
            "starttls",
            False,
            _run,
            ("addons/smtpguard.py", "addons/smtpguard/cli*"),
            READY,
        ),
        Way(
            "workers",
            "the same, a worker a processor",
            "starttls",
            False,
            _workers,
            ("addons/smtpguard.py", "addons/smtpguard/supervisor.py"),
            READY,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Stand:
    """A way that is open: its port, and the proxy if there is one."""

    way: Way
    port: int
    proxy: Process | None


@dataclass(frozen=True, slots=True)
class Ground:
    """The two sinks, and a folder for what the proxies write."""

    folder: Path
    generator: Generator
    pem: Path
    starttls: Sink
    implicit: Sink
    accepted: list[int] = field(default_factory=list)
    """Messages that got their 250, one number a load."""

    def load(self, stand: Stand, load: Load, seconds: float) -> LoadResult:
        """Send ``load`` over ``stand``; give up after ``seconds``."""
        result = self.generator.load(stand.port, load, stand.way.tls, seconds)
        self.accepted.append(result.messages)
        return result

    def finish(self) -> int:
        """End the sinks; return how many accepted messages never arrived there."""
        arrived = self.starttls.stop() + self.implicit.stop()
        return max(0, sum(self.accepted) - arrived)

    @contextmanager
    def open(self, way: Way, program: str = "mitmdump") -> Iterator[Stand]:
        """Open one way; its proxy is ended with the context.

        ``program`` is mitmdump or mitmweb. Raises ``BedError`` when it stays down.
        """
        with self.open_to(way, self.sink_of(way).port, program) as stand:
            yield stand

    @contextmanager
    def open_to(
        self, way: Way, sink_port: int, program: str = "mitmdump"
    ) -> Iterator[Stand]:
        """Open one way to a sink of one's own."""
        if way.command is None:
            yield Stand(way, sink_port, None)
            return
        port = free_port()
        confdir = self.folder / f"conf-{way.name}-{port}"
        command = way.command(program, port, sink_port, confdir)
        if program == "mitmweb":
            command += ["--no-web-open-browser", "--set", "web_host=127.0.0.1"]
            command += ["--set", f"web_port={free_port()}"]
        log = self.folder / f"{way.name}-{port}.log"
        proxy = start(command, log, env={"PYTHONPATH": str(ROOT / "addons")})
        try:
            proxy.wait_listening(port)
            proxy.wait_text(way.ready)
            yield Stand(way, port, proxy)
        finally:
            proxy.stop()

    def warm(self, stand: Stand) -> None:
        """Send a few messages, so that what happens once is over.

        Raises ``BedError`` when they do not pass: there is nothing to measure then.
        """
        result = self.load(stand, Load(1, 3, 2, 1024), 60)
        if result.failed:
            log = stand.proxy.tail() if stand.proxy else ""
            raise BedError(f"{stand.way.name}: {result.first_error}\n{log}")

    def sink_of(self, way: Way) -> Sink:
        """Return the sink that stands behind ``way``."""
        return self.implicit if way.implicit_sink else self.starttls


@contextmanager
def ground(folder: Path, generator: Generator) -> Iterator[Ground]:
    """Start both sinks, with an RSA-2048 certificate as most mail servers have."""
    authority = make_authority(folder / "ca", "rsa2048")
    pem = authority.issue("localhost", "127.0.0.1", keys="rsa2048").both
    with ExitStack() as stack:
        starttls = generator.sink(folder, pem, implicit=False)
        stack.callback(starttls.process.stop)
        implicit = generator.sink(folder, pem, implicit=True)
        stack.callback(implicit.process.stop)
        yield Ground(folder, generator, pem, starttls, implicit)
