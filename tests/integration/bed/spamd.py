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
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.bed.daemon import Daemon
from tests.integration.bed.need import need
from tests.integration.bed.process import free_port, start


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.process import Process


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


class SpamdServer(Daemon):
    """A running spamd."""

    def __init__(self, folder: Path, place: Path) -> None:
        """Its log lies in ``folder``, what it reads in ``place``."""
        super().__init__(free_port())
        self.folder = folder
        self.place = place

    def log_text(self) -> str:
        """Return spamd's log."""
        path = self.folder / "spamd.out"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def _run(self) -> Process:
        user = ["-u", USER] if os.geteuid() == 0 else []
        return start(
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

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as asked:
                asked.sendall(b"PING SPAMC/1.5\r\n\r\n")
                return b"PONG" in asked.recv(100)
        except OSError:
            return False


@contextmanager
def spamd(folder: Path, rules: str = "") -> Iterator[SpamdServer]:
    """Run a spamd on loopback with its log in ``folder``, and with more ``rules``.

    Skips the test where there is none.
    """
    need("spamd")
    with tempfile.TemporaryDirectory(prefix="smtpguard-spamd-") as name:
        server = SpamdServer(folder, Path(name))
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
