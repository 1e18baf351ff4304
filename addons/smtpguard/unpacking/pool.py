"""Keeps the isolated processes that look into archives (``child``).

For the threads that judge messages; knows nothing of asyncio. A process that crashes,
stalls or answers nonsense is killed by its number and replaced; who asked gets a
finding and ``Fact.LIMIT``, never an exception, and nobody else notices.
"""

from __future__ import annotations

import contextlib
import math
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

from smtpguard.model.contents import Contents, Fact, Finding
from smtpguard.unpacking.protocol import (
    GRACE,
    Request,
    patience,
    receive_answer,
    send_request,
)


SIZE = 2
MAX_WAITING = 64
"""Threads that may wait for a process; others are told at once that it is busy."""
MAX_LOOKS = 1_000
"""Looks after which a process is replaced, for whatever may have grown in it."""
MIN_SECONDS = 0.05
"""With less left a look is not begun."""

LOOK = "smtpguard.unpacking.child:look"
"""The job of the gateway, as ``module:function``; tests have others."""

# -I: neither environment nor current folder decide what is imported; the folders of
# this process do, for smtpguard may have been found by mitmproxy's path alone. -B: no
# file is written, not even compiled modules.
_OPTIONS = ("-I", "-B", "-c")
_START = (
    "import sys; sys.path[:] = sys.argv[3:]; "
    "from smtpguard.unpacking.child import main; main()"
)
_ENDS = {
    signal.SIGPROF.name: "inspector-timeout",
    signal.SIGXCPU.name: "inspector-timeout",
    signal.SIGALRM.name: "inspector-stalled",
    # By the kernel, out of memory, or by an administrator.
    signal.SIGKILL.name: "inspector-killed",
}
"""What it means that a process was ended by a signal."""
_FOLDER = str(Path(__file__).resolve().parents[2])


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    channel: socket.socket
    looks: int = 0

    def end(self) -> None:
        """Kill it, and have the kernel forget it."""
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def cause_of_death(self, seconds: float) -> str:
        """Return what it died of by itself, waiting a little for that; "" if not."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return ""
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-status).name
        return f"signal {-status}"


class Pool:
    """A number of isolated processes, started when they are first needed."""

    def __init__(self, size: int = SIZE, job: str = LOOK) -> None:
        self._size = size
        self._job = job
        self._begin()
        own = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := own()) and method())

    def look(
        self,
        octets: bytes,
        names: tuple[str, ...],
        seconds: float,
        most: float = math.inf,
    ) -> Contents:
        """Return what is in ``octets``, never raising.

        ``seconds`` are of a processor. It is waited twice as long for an answer, with
        waiting for a process that is free, and its start; never longer than ``most``.
        """
        patient = max(min(patience(seconds), most), 0)
        deadline = time.monotonic() + patient
        with self._lock:
            if self._stopped.is_set():
                return _nothing("inspector-stopped")
            if self._waiting >= MAX_WAITING:
                return _nothing("inspector-busy")
            self._waiting += 1
        try:
            # The one used last comes first: where one will do, one is started.
            child = self._free.get(timeout=patient)
        except queue.Empty:
            return _nothing("inspector-busy")
        finally:
            with self._lock:
                self._waiting -= 1
        request, usable = Request(octets, names, seconds), None
        try:
            contents, usable = self._look(child, request, deadline)
        finally:
            self._free.put(usable)
            if self._stopped.is_set():
                self._bury_free()
        return contents

    def stop(self) -> None:
        """End all processes; looks under way end with a finding, later ones at once."""
        with self._lock:
            self._stopped.set()
            children = tuple(self._children)
        for child in children:
            # Whoever waits for its answer sees it end, and buries it.
            child.process.kill()
            child.process.wait()
        self._bury_free()

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
        self._stopped = threading.Event()

    def _after_fork(self) -> None:
        """Leave the processes to whom they belong, and locks that nobody will open."""
        for child in self._children:
            child.channel.close()
            child.process.returncode = 0
        self._begin()

    def _look(
        self,
        child: _Child | None,
        request: Request,
        deadline: float,
    ) -> tuple[Contents, _Child | None]:
        """Return what was found, and the process if it can be used again."""
        if child is not None and not _is_usable(child):
            self._bury(child)
            child = None
        if self._stopped.is_set():
            return _nothing("inspector-stopped"), child
        if request.seconds < MIN_SECONDS or deadline < time.monotonic() + MIN_SECONDS:
            return _nothing("inspector-busy"), child
        try:
            child = child or self._start()
        except OSError as error:
            return _nothing("inspector-failed", type(error).__name__), None
        child.looks += 1
        try:
            child.channel.settimeout(max(deadline - time.monotonic(), 0.001))
            send_request(child.channel, request)
            return receive_answer(child.channel, deadline), child
        except TimeoutError:
            # It waits for something, or for the processor, which others have.
            failure = _nothing("inspector-stalled")
        except ValueError:
            failure = _nothing("inspector-nonsense")
        except (OSError, EOFError):
            cause = child.cause_of_death(max(deadline - time.monotonic(), GRACE))
            kind = "inspector-stopped" if self._stopped.is_set() else _ENDS.get(cause)
            failure = _nothing(kind) if kind else _nothing("inspector-crashed", cause)
        self._bury(child)
        return failure, None

    def _start(self) -> _Child:
        """Start a process. Raises OSError."""
        ours, theirs = socket.socketpair()
        folders = [_FOLDER, *(one for one in sys.path if Path(one).is_absolute())]
        try:
            process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [
                    sys.executable,
                    *_OPTIONS,
                    _START,
                    str(theirs.fileno()),
                    self._job,
                    *dict.fromkeys(folders),
                ],
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
            if self._stopped.is_set():
                process.kill()
        return child

    def _bury(self, child: _Child) -> None:
        with self._lock:
            self._children.remove(child)
        child.end()

    def _bury_free(self) -> None:
        """End the processes that nobody uses; whoever still comes finds none."""
        free = []
        with contextlib.suppress(queue.Empty):
            while True:
                free.append(self._free.get_nowait())
        for child in free:
            if child is not None:
                self._bury(child)
            self._free.put(None)


def _is_usable(child: _Child) -> bool:
    return child.process.poll() is None and child.looks < MAX_LOOKS


def _nothing(kind: str, detail: str = "") -> Contents:
    return Contents(facts=frozenset({Fact.LIMIT}), findings=(Finding(kind, detail),))
