"""mitmdump, with smtpguard or plain, as the tests start it.

Its readiness is read from ``/proc``: a connection would be a session. Flows are written
to a file from the start (``-w``) and can be read at any time; a flow is there once it
has ended.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mitmproxy.io import FlowReader
from mitmproxy.tcp import TCPFlow

from tests.integration.bed.process import Process, free_port, start, wait_until


if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.integration.bed.netns import Namespace


ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "addons" / "smtpguard.py"

READY = "smtpguard is ready"
"""What it logs when it judges: mitmproxy listens before, and clients are refused."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A running mitmdump."""

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
        """The TCP flows that have ended so far, in order of their end."""
        path = self.folder / "flows.mitm"
        if not path.exists():
            return []
        with path.open("rb") as file:
            found = [*FlowReader(file).stream()]
        return [flow for flow in found if isinstance(flow, TCPFlow)]

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
) -> Guard:
    """Start mitmdump in ``mode``, with smtpguard where ``rules_text`` is given.

    ``mode`` is without a port. It listens on loopback, in a ``namespace`` on all its
    addresses. ``options`` are further words of its command line. With ``wait=False`` it
    may fail to start, as a test of bad rules wants it.
    """
    port = port or free_port()
    host = "" if namespace else "127.0.0.1:"
    rules = None
    command = [str(Path(sys.executable).with_name("mitmdump"))]
    command += ["--mode", f"{mode}@{host}{port}", "--set", f"confdir={confdir}"]
    command += ["-w", str(folder / "flows.mitm")]
    if upstream_trust is not None:
        command += ["--set", f"ssl_verify_upstream_trusted_ca={upstream_trust}"]
    if rules_text is not None:
        rules = folder / "rules.yaml"
        rules.write_text(rules_text, "utf-8")
        command += ["-s", str(SCRIPT), "--set", f"smtpguard_rules={rules}"]
    process = start(
        [*command, *options],
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
