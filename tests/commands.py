"""The command line as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable


ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 30.0


def start(*arguments: str, output: Path) -> subprocess.Popen[bytes]:
    """Start ``smtpguard`` with its output in a file."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "smtpguard", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
        )


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``smtpguard`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "smtpguard", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**environment(), **more},
        timeout=DEADLINE,
        check=False,
    )


def environment() -> dict[str, str]:
    """Return ours, so that the process finds the package and speaks at once."""
    paths = (str(ROOT / "addons"), os.environ.get("PYTHONPATH", ""))
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PYTHONUNBUFFERED": "1",
    }


def wait_for[T](question: Callable[[], T], what: str) -> T:
    """Return the first answer that is not empty; fails after ``DEADLINE`` seconds."""
    until = time.monotonic() + DEADLINE
    while not (answer := question()):
        assert time.monotonic() < until, f"still waiting for {what}"
        time.sleep(0.02)
    return answer


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def minds(pid: int, number: int) -> bool:
    """Whether a process ignores or handles a signal that would end it by default."""
    status = Path(f"/proc/{pid}/status").read_text()
    masks = re.findall(r"^Sig(?:Ign|Cgt):\t(\w+)$", status, re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)
