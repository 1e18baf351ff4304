"""A SpamAssassin ``spamd`` with rules, configuration and log in a temporary folder.

No network, no Bayes, and rules of its own alone: GTUBE, and scores that a message
chooses (``X-Test-Spam-Score: 7.5``, one of ``SCORES``). Further rules, such as on what
spamd was told, are the caller's.

spamd does not work as root: started by root it becomes ``debian-spamd``, so what that
user reads lies beside ``folder``, which only root may enter as a rule.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.bed.need import need
from tests.integration.bed.process import (
    Process,
    dies_with_us,
    free_port,
    start,
    wait_until,
)


if TYPE_CHECKING:
    from collections.abc import Iterator


USER = "debian-spamd"
"""Comes with the package ``spamd``."""

SCORES = (-3.0, 1.0, 5.0, 7.5, 20.0)
"""What ``X-Test-Spam-Score`` may be."""

RULES = r"""
required_score 5.0
clear_report_template
body GTUBE /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/
score GTUBE 1000
"""

# The settings for users would be read from a folder that is not there.
OPTIONS = ("-4", "-i", "127.0.0.1", "-L", "-x", "--min-children=1", "--max-children=2")


@dataclass(slots=True)
class SpamdServer:
    """A running spamd."""

    folder: Path
    """Its log."""
    place: Path
    """What it reads."""
    port: int
    _process: Process | None = None
    _watch: ExitStack = field(default_factory=ExitStack)

    @property
    def address(self) -> str:
        """Where it is asked, ``HOST:PORT``; the same after ``restart``."""
        return f"127.0.0.1:{self.port}"

    def log_text(self) -> str:
        """Return spamd's log."""
        path = self.folder / "spamd.out"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self) -> None:
        """Start it and wait until it answers."""
        user = ["-u", USER] if os.geteuid() == 0 else []
        self._process = start(
            [
                need("spamd"),
                *OPTIONS,
                *user,
                *("-p", str(self.port), "-s", "stderr"),
                *("-C", str(self.place / "rules"), "-H", str(self.place / "home")),
                f"--siteconfigpath={self.place / 'site'}",
            ],
            self.folder / "spamd.out",
        )
        self._watch.enter_context(dies_with_us(self._process))
        self._process.wait_listening(self.port)
        wait_until(self._answers, "spamd's PONG")

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as asked:
                asked.sendall(b"PING SPAMC/1.5\r\n\r\n")
                return b"PONG" in asked.recv(100)
        except OSError:
            return False

    def freeze(self) -> None:
        """Stop it where it is: it takes connections and answers nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once (SIGKILL), children too: connections are reset."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.popen.wait(5)
            self._process = None
            # A child may outlive its parent for some moments, and listen.
            wait_until(self._is_gone, "the end of spamd's children")
        self._watch.close()

    def _is_gone(self) -> bool:
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", self.port)) != 0

    def restart(self) -> None:
        """Start it again at the same address, after ``kill`` or not."""
        self.kill()
        self.start()


@contextmanager
def spamd(folder: Path, rules: str = "") -> Iterator[SpamdServer]:
    """Run a spamd on loopback with its log in ``folder``, and with more ``rules``.

    Skips the test where there is none.
    """
    need("spamd")
    with tempfile.TemporaryDirectory(prefix="smtpguard-spamd-") as name:
        server = SpamdServer(folder, Path(name), free_port())
        _furnish(server.place, rules)
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _furnish(place: Path, rules: str) -> None:
    place.chmod(0o755)
    for name in ("rules", "site", "home"):
        (place / name).mkdir(mode=0o755)
    plugin = "loadplugin Mail::SpamAssassin::Plugin::Check\n"
    (place / "site" / "init.pre").write_text(plugin, "ascii")
    (place / "rules" / "10.cf").write_text(RULES + _chosen() + rules, "utf-8")
    if os.geteuid() == 0:
        shutil.chown(place / "home", USER)


def _chosen() -> str:
    lines = []
    for number, score in enumerate(SCORES):
        pattern = f"{score:g}".replace(".", r"\.")
        lines += [
            f"header TEST_SCORE_{number} X-Test-Spam-Score =~ /^{pattern}$/",
            f"score TEST_SCORE_{number} {score}",
        ]
    return "\n".join([*lines, ""])
