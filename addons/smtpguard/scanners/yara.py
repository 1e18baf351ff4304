"""YARA rules by yara-x: the scanner that needs no server.

Looks at the octets of a part as they are; files in archives are not expanded for it. A
rule that matches is an infection by the name of the rule. A file that includes another
is refused: all files of a folder are read anyway, and what else it names is not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import weakref
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners.yarachild import REQUEST, Answer


if TYPE_CHECKING:
    from smtpguard.model.scan import Subject


logger = getLogger(__name__)

PROCESSES = 2
"""Of one scanner. Matching is work for the processor alone."""
MAX_ANSWER = 64 * 1024
"""Octets of an answer."""

# -I: neither environment nor current folder decide what is imported; the folders of
# this process do, for smtpguard may have been found by mitmproxy's path alone.
_OPTIONS = ("-I", "-B", "-c")
_START = (
    "import sys; rules, *sys.path[:] = sys.argv[1:]; "
    "from smtpguard.scanners.yarachild import main; main(rules)"
)
_FOLDER = str(Path(__file__).resolve().parents[2])


class Yara:
    """Rules of one file or folder, or the built-in ones; for one event loop."""

    def __init__(self, name: str, rules: str, max_size: int, timeout: float) -> None:
        """Prepare; starts nothing."""
        self._name = name
        self._rules = rules
        self._max_size = max_size
        # It ends by itself before it is ended.
        self._seconds = max(int(timeout * 0.9), 1)
        self._turns = asyncio.Semaphore(PROCESSES)
        self._idle: list[_Child] = []
        self._fault = ""
        weakref.finalize(self, _end_all, self._idle)

    async def scan(self, subject: Subject) -> Verdict:
        """Return whether a rule matches (``base.Scanner``)."""
        if subject.size > self._max_size:
            reason = f"{subject.size} octets are more than {self._max_size}"
            return Verdict(self._name, VerdictKind.OVERSIZE, reason=reason)
        octets = await asyncio.to_thread(lambda: b"".join(subject.chunks()))
        if len(octets) != subject.size:
            raise ScanError(f"not scanned whole: {len(octets)} of {subject.size}")
        answer = await self._asked(octets)
        if answer.fault and answer.fault != self._fault:
            logger.error("yara rules, in part as they were: %s", answer.fault)
        self._fault = answer.fault
        if answer.is_late:
            raise ScannerTimeoutError("the rules take too long")
        if answer.error:
            raise ScanError(answer.error)
        if not answer.names:
            return Verdict(self._name, VerdictKind.CLEAN)
        names = ", ".join(answer.names)
        return Verdict(self._name, VerdictKind.INFECTED, answer.names[0], names)

    async def ping(self) -> None:
        """Return: it is always there, and a scan says what is wrong with its rules."""

    async def _asked(self, octets: bytes) -> Answer:
        async with self._turns:
            child = self._child()
            try:
                answer = await asyncio.to_thread(child.ask, octets, self._seconds)
            except BaseException:
                # Whoever does not wait any more has no use for the rest either.
                child.end()
                raise
            self._idle.append(child)
        return answer

    def _child(self) -> _Child:
        """Return a process that is there. Raises ScannerUnavailableError."""
        while self._idle:
            child = self._idle.pop()
            if child.is_there:
                return child
            child.end()
        try:
            return _Child(self._rules)
        except OSError as error:
            raise ScannerUnavailableError(f"no process: {error}") from None


class _Child:
    """One process; for one thread at a time, but for ``end``."""

    def __init__(self, rules: str) -> None:
        folders = [_FOLDER, *(one for one in sys.path if Path(one).is_absolute())]
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, *_OPTIONS, _START, rules, *dict.fromkeys(folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def ask(self, octets: bytes, seconds: int) -> Answer:
        """Return its answer. Raises ScannerDiedError where it ends without one."""
        requests, answers = self._process.stdin, self._process.stdout
        assert requests is not None
        assert answers is not None
        try:
            requests.write(REQUEST.pack(len(octets), seconds))
            requests.write(octets)
            requests.flush()
            line = answers.readline(MAX_ANSWER)
        except (OSError, ValueError) as error:
            raise ScannerDiedError(f"yara-x: {error}") from None
        if not line.endswith(b"\n"):
            raise ScannerDiedError("yara-x ended without an answer")
        said = json.loads(line)
        return Answer(**said | {"names": tuple(said["names"])})

    def end(self) -> None:
        """Kill it; a thread that asks is told."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


def _end_all(idle: list[_Child]) -> None:
    for child in idle:
        child.end()
