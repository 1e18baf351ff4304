"""mitmdump, mitmweb or ``smtpguard run``, as the tests start them.

Its readiness is read from ``/proc``: a connection would be a session. Flows are written
to a file from the start (``-w``) and can be read at any time; a flow is there once it
has ended.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mitmproxy.exceptions import FlowReadException
from mitmproxy.io import FlowReader
from mitmproxy.tcp import TCPFlow

from tests.integration.bed.process import Process, free_port, start, wait_until


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.bed.netns import Namespace


type Program = Literal["mitmdump", "mitmweb", "run"]
"""``run`` is ``smtpguard run``: the same gateway in a lean mitmproxy.

mitmweb's page has the password ``WEB_PASSWORD``.
"""

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "addons" / "smtpguard.py"

READY = "smtpguard is ready"
"""What it logs when it judges: mitmproxy listens before, and clients are refused."""

WEB_PASSWORD = "bed"


@dataclass(frozen=True, slots=True)
class Guard:
    """A running proxy."""

    process: Process
    port: int
    folder: Path
    rules: Path | None
    """Its rule file, to be rewritten for a reload; None for a plain mitmdump."""
    confdir: Path

    @property
    def log(self) -> str:
        """What it has logged so far."""
        return self.process.text()

    @property
    def trust(self) -> Path:
        """The certificate of the authority that it mints with."""
        return self.confdir / "mitmproxy-ca-cert.pem"

    @property
    def flows(self) -> list[TCPFlow]:
        """The TCP flows that have ended so far, in order of their end.

        Of several workers: those of the first, then those of the next.
        """
        paths = sorted(self.folder.glob("flows*.mitm"))
        return [flow for path in paths for flow in self._read(path)]

    def _read(self, path: Path) -> list[TCPFlow]:
        found: list[TCPFlow] = []
        with path.open("rb") as file:
            try:
                found.extend(
                    flow
                    for flow in FlowReader(file).stream()
                    if isinstance(flow, TCPFlow)
                )
            except FlowReadException:  # the last one is just being written
                if not self.process.alive:
                    raise
        return found

    def wait_log(self, text: str, count: int = 1, seconds: float = 15.0) -> None:
        """Wait until ``text`` is ``count`` times in the log; ``BedError`` in vain."""
        wait_until(
            lambda: self.log.count(text) >= count, f"{text!r} in the log", seconds
        )

    def wait_flows(self, count: int, seconds: float = 15.0) -> list[TCPFlow]:
        """Wait until ``count`` flows have ended; ``BedError`` in vain."""
        wait_until(lambda: len(self.flows) >= count, f"{count} flows", seconds)
        return self.flows

    def stop(self) -> int:
        """End it by SIGTERM, as a service manager would; its exit status.

        Sixty seconds are what smtpguard takes at most for replies in flight.
        """
        return self.process.stop(grace=70.0)


def start_mitmdump(
    folder: Path,
    confdir: Path,
    mode: str,
    rules_text: str | None,
    options: Sequence[str] = (),
    *,
    namespace: Namespace | None = None,
    port: int = 0,
    upstream_trust: Path | None = None,
    wait: bool = True,
    program: Program = "mitmdump",
) -> Guard:
    """Start ``program`` in ``mode``, with smtpguard where ``rules_text`` is given.

    ``mode`` is without a port. It listens on loopback, in a ``namespace`` on all its
    addresses. ``options`` are further words of its command line. With ``wait=False`` it
    may fail to start, as a test of bad rules wants it.
    """
    port = port or free_port()
    host = "" if namespace else "127.0.0.1:"
    rules = None
    command = ["--mode", f"{mode}@{host}{port}", "-w", str(folder / "flows.mitm")]
    if upstream_trust is not None:
        command += ["--set", f"ssl_verify_upstream_trusted_ca={upstream_trust}"]
    if rules_text is not None:
        rules = folder / "rules.yaml"
        rules.write_text(rules_text, "utf-8")
    process = start(
        [*_program(program, confdir, rules), *command, *options],
        folder / "mitmdump.log",
        prefix=namespace.prefix if namespace else (),
        env={"PYTHONPATH": str(ROOT / "addons")},
    )
    guard = Guard(process, port, folder, rules, confdir)
    if wait:
        process.wait_listening(port)
    if wait and rules is not None:
        process.wait_text(READY)
    return guard


def _program(program: Program, confdir: Path, rules: Path | None) -> list[str]:
    """Return the first words of the command line: what differs between programs."""
    if program == "run":
        command = [sys.executable, "-m", "smtpguard", "run", "--listen-host", ""]
        return [*command, "--confdir", str(confdir), "--rules", str(rules)]
    command = [str(Path(sys.executable).with_name(program))]
    command += ["--set", f"confdir={confdir}"]
    if program == "mitmweb":
        command += ["--no-web-open-browser", "--set", f"web_password={WEB_PASSWORD}"]
    if rules is not None:
        command += ["-s", str(SCRIPT), "--set", f"smtpguard_rules={rules}"]
    return command
