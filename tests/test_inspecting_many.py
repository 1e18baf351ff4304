"""Ten thousand real mails in one run of ``smtpguard inspect`` (contract 10).

The 515 of the corpus, nineteen times as files and once as an mbox: time and memory of
the process that a user would start, and every copy judged as the first.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import environment


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

COPIES = 19
MAX_MIB = 128
"""Peak of the process; measured were 42."""
MAX_GROWTH_MIB = 24
"""Of the peak from 515 mails to twenty times as many; measured were 2."""
MAX_SECONDS = 100.0
"""Of the processor; measured were 8."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run that has ended."""

    status: int
    seconds: float
    """Of the processor."""
    peak: float
    """MiB that it had at most."""


MEASURED = """
import pathlib, re, sys, time
from smtpguard.cli import main
status = main(sys.argv[1:])
told = pathlib.Path("/proc/self/status").read_text()
print(time.process_time(), re.search(r"VmHWM:\\s+(\\d+) kB", told)[1], file=sys.stderr)
sys.exit(status)
"""
"""Its own peak: what ``wait`` tells of a child begins with what its parent had."""


def run_measured(output: Path, *arguments: Path | str) -> Run:
    """Run ``smtpguard inspect --json`` with its output in a file."""
    with output.open("wb") as file:
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, "inspect", "--json", *map(str, arguments)],
            stdout=file,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
            text=True,
        )
    seconds, kib = done.stderr.split()
    return Run(done.returncode, float(seconds), int(kib) / 1024)


def records(output: Path) -> Iterator[dict[str, Any]]:
    with output.open("rb") as file:
        for line in file:
            yield json.loads(line)


def write_mbox(mails: list[Path], file: Path) -> None:
    """Write mails one behind the other (RFC 4155, ``>From`` where it must be)."""
    with file.open("wb") as mbox:
        for mail in mails:
            octets = mail.read_bytes().replace(b"\r\n", b"\n")
            # Some have kept the line of the mbox that they came from.
            octets = re.sub(rb"\AFrom .*\n", b"", octets)
            mbox.write(b"From a@a.example Tue Nov 24 10:00:00 2026\n")
            octets = re.sub(rb"(?m)^From ", b">From ", octets)
            mbox.write(octets.removesuffix(b"\n") + b"\n\n")


def test_ten_thousand_mails_in_one_run(shared: Path, tmp_path: Path) -> None:
    mails = sorted((shared / "corpus" / "corpus").rglob("*.eml"))
    assert len(mails) == 515
    box = tmp_path / "box"
    write_mbox(mails, box)
    few = run_measured(tmp_path / "few.json", box)
    top = tmp_path / "many"
    for number in range(COPIES):
        folder = top / f"{number:02}"
        folder.mkdir(parents=True)
        for at, mail in enumerate(mails):
            (folder / f"{at:03}.eml").symlink_to(mail)
    many = run_measured(tmp_path / "many.json", top, box)
    # Some are refused, which is a finding.
    assert (few.status, many.status) == (1, 1)
    told: dict[str, Counter[str]] = {}
    for record in records(tmp_path / "many.json"):
        folder_name = record["file"].rpartition("/")[0].rpartition("/")[2]
        told.setdefault(folder_name, Counter())[record["disposition"]] += 1
    outcomes = {"relayed": 509, "modified": 3, "rejected": 3}
    assert list(told.values()) == [outcomes] * (COPIES + 1)
    assert many.seconds < MAX_SECONDS
    assert many.peak < MAX_MIB
    assert many.peak - few.peak < MAX_GROWTH_MIB
