"""Keeps the isolated processes that look into contents (sandbox.py).

For the threads that judge messages; knows nothing of asyncio. A process that crashes,
stalls or answers nonsense is killed by its number and replaced; who asked gets a
finding and ``Fact.LIMIT``, never an exception, and nobody else notices.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smtpguard.model.contents import Contents, Fact, Finding
from smtpguard.unpacking import sandbox


if TYPE_CHECKING:
    from collections.abc import Sequence


SIZE = 2
MAX_WAITING = 64
"""Threads that may wait for a process; others are told at once that it is busy."""
MAX_LOOKS = 1_000
"""Looks after which a process is replaced, for whatever may have grown in it."""
DYING_SECONDS = 0.5
"""Between the end of what a process says and the end of itself."""
MIN_SECONDS = 0.05
"""With less left a look is not begun."""

_FOLDER = str(Path(__file__).resolve().parents[2])
_START = (
    "import sys; sys.path[:0] = sys.argv[3:]; "
    "from smtpguard.unpacking.sandbox import main; main()"
)


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    looks: int = 0

    def end(self, patience: float = 0) -> str:
        """Kill it; return what it had died of by itself in so many seconds, or ""."""
        self.channel.close()
        status = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            # One that has just died may not be there to be asked yet.
            status = self.process.wait(patience)
        self.process.kill()
        self.process.wait()
        if status is None:
            return ""
        if status < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-status).name
        return f"exit status {status}"


class Pool:
    """A number of isolated processes, started when they are first needed.

    ``job`` is what they do, ``folders`` where its modules lie beside smtpguard's own.
    """

    def __init__(
        self, size: int = SIZE, job: str = sandbox.INSPECT, folders: Sequence[str] = ()
    ) -> None:
        self._size = size
        self._job = job
        self._folders = tuple(folders)
        self._begin()
        own = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := own()) and method())

    def look(
        self, octets: bytes, names: tuple[str, ...], claimed: str, seconds: float
    ) -> Contents:
        """Return what is in ``octets``, after ``seconds`` at most, never raising.

        The time includes waiting for a process that is free.
        """
        deadline = time.monotonic() + seconds
        with self._lock:
            if self._is_stopped:
                return _nothing("inspector-stopped")
            if self._waiting >= MAX_WAITING:
                return _nothing("inspector-busy")
            self._waiting += 1
        try:
            # The one used last comes first: where one will do, one is started.
            child = self._free.get(timeout=max(seconds, 0))
        except queue.Empty:
            return _nothing("inspector-busy")
        finally:
            with self._lock:
                self._waiting -= 1
        try:
            contents, child = self._look(child, octets, names, claimed, deadline)
        finally:
            self._free.put(child)
        return contents

    def stop(self) -> None:
        """End all processes; looks under way end with a finding, later ones at once."""
        with self._lock:
            self._is_stopped = True
            children = tuple(self._children)
        for child in children:
            # Whoever waits for its answer sees it end, and buries it.
            child.process.kill()
            child.process.wait()
        for _ in range(self._size):
            with contextlib.suppress(queue.Empty):
                free = self._free.get_nowait()
                if free is not None:
                    self._bury(free)

    def pids(self) -> tuple[int, ...]:
        """Return the numbers of the processes that there are."""
        with self._lock:
            return tuple(child.process.pid for child in self._children)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(self._size):
            self._free.put(None)
        self._children: list[_Child] = []
        self._waiting = 0
        self._is_stopped = False

    def _after_fork(self) -> None:
        """Leave the processes to whom they belong, and locks that nobody will open."""
        for child in self._children:
            child.channel.close()
            child.process.returncode = 0
        self._begin()

    def _look(
        self,
        child: _Child | None,
        octets: bytes,
        names: tuple[str, ...],
        claimed: str,
        deadline: float,
    ) -> tuple[Contents, _Child | None]:
        """Return what was found, and the process if it can be used again."""
        try:
            if child is None or not _is_usable(child):
                self._bury(child)
                child = None
                child = self._start()
        except OSError as error:
            return _nothing("inspector-failed", type(error).__name__), None
        try:
            left = deadline - time.monotonic()
            if left < MIN_SECONDS:
                return _nothing("inspector-busy"), child
            child.looks += 1
            child.channel.settimeout(left)
            sandbox.send_request(child.channel, octets, names, claimed, left)
            answer = sandbox.receive_frame(child.channel, sandbox.MAX_ANSWER, deadline)
            return sandbox.unpack(answer), child
        except TimeoutError:
            self._bury(child)
            return _nothing("inspector-timeout"), None
        except ValueError:
            self._bury(child)
            return _nothing("inspector-nonsense"), None
        except (OSError, EOFError):
            cause = self._bury(child, DYING_SECONDS)
            kind = "inspector-crashed"
            if self._is_stopped:
                kind = "inspector-stopped"
            elif cause == signal.SIGKILL.name:
                # By the kernel, out of memory, or by an administrator.
                kind = "inspector-killed"
            return _nothing(kind, cause), None

    def _start(self) -> _Child:
        """Start a process. Raises OSError."""
        ours, theirs = socket.socketpair()
        number = str(theirs.fileno())
        folders = (_FOLDER, *self._folders)
        try:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter
                # -B: it writes no file, not even compiled modules.
                [sys.executable, "-I", "-B", "-c", _START, number, self._job, *folders],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                cwd="/",
                env={},
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        child = _Child(process, ours)
        with self._lock:
            self._children.append(child)
            if self._is_stopped:
                process.kill()
        return child

    def _bury(self, child: _Child | None, patience: float = 0) -> str:
        if child is None:
            return ""
        with self._lock:
            if child in self._children:
                self._children.remove(child)
        return child.end(patience)


def _is_usable(child: _Child) -> bool:
    return child.process.poll() is None and child.looks < MAX_LOOKS


def _nothing(kind: str, detail: str = "") -> Contents:
    return Contents(facts=frozenset({Fact.LIMIT}), findings=(Finding(kind, detail),))
