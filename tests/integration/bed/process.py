"""One started program: its log, its readiness, its cost, its end.

A proxy's readiness is read from ``/proc``: a connection to its port would be a session
of its own and a connection to the upstream. A program is ended by the pid that was
started here, never by name, and dies with this process (``setpriv --pdeathsig``), so a
killed test run leaves no program behind. Start from the main thread only: the kernel
sends that signal when the starting *thread* ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


LISTEN = "0A"
"""``st`` of a listening socket in ``/proc/PID/net/tcp`` (include/net/tcp_states.h)."""

TICKS = os.sysconf("SC_CLK_TCK")


class BedError(RuntimeError):
    """The bed itself does not stand; the text carries the end of the program's log."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port that nothing listens on right now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 15.0) -> None:
    """Look at ``condition`` until it holds.

    Raises ``BedError`` naming ``what`` when it does not within ``seconds``.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BedError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Process:
    """A program that runs, in a process group of its own."""

    popen: subprocess.Popen[bytes]
    log: Path
    """Its standard output and standard error."""

    @property
    def pid(self) -> int:
        """The pid; stays the program's own, since the wrappers around it exec."""
        return self.popen.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self.popen.poll() is None

    def text(self) -> str:
        """Return what the program has printed so far."""
        return self.log.read_text("utf-8", "replace")

    def wait_listening(self, *ports: int, seconds: float = 30.0) -> None:
        """Wait until this program or a child of it listens on each of ``ports``.

        Makes no connection. Raises ``BedError`` with the log when the program ends or
        the time is over.
        """

        def ready() -> bool:
            if not self.alive:
                raise BedError(f"ended with {self.popen.returncode}:\n{self.tail()}")
            return set(ports) <= listening_ports(self.pid)

        try:
            wait_until(ready, f"a listener on {ports}", seconds)
        except BedError as error:
            raise BedError(f"{error}\n{self.tail()}") from None

    def wait_text(self, text: str, seconds: float = 30.0) -> None:
        """Wait until the program has printed ``text``; fails as ``wait_listening``."""

        def printed() -> bool:
            if not self.alive and text not in self.text():
                raise BedError(f"ended with {self.popen.returncode}:\n{self.tail()}")
            return text in self.text()

        wait_until(printed, f"{text!r} in {self.log.name}", seconds)

    def tail(self, octets: int = 2000) -> str:
        """Return the end of the log, for an error's text."""
        return self.text()[-octets:]

    def stop(self, grace: float = 10.0) -> int:
        """End the program: SIGTERM, SIGKILL to its group after ``grace`` seconds.

        Returns its exit status; does nothing more to one that has ended already.
        """
        if self.alive:
            self.popen.send_signal(signal.SIGTERM)
        try:
            return self.popen.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            return self.popen.wait(5)

    def cpu_seconds(self) -> float:
        """Return user and system time of its tree, ended and waited-for children too.

        Resolution is a tick (10 ms as a rule): measure over many messages.
        """
        return sum(_cpu_ticks(pid) for pid in tree(self.pid)) / TICKS

    def peak_memory(self) -> int:
        """Return the sum of the peak resident octets of its tree since the last reset.

        Pages shared by several processes count in each of them.
        """
        return sum(self.peak_memories())

    def peak_memories(self) -> list[int]:
        """Return the peak resident octets of each process of its tree, its own first;
        else as ``peak_memory``."""
        return [_status_octets(pid, "VmHWM") for pid in tree(self.pid)]

    def resident_memory(self) -> int:
        """Return the sum of the resident octets of its tree, now."""
        return sum(_status_octets(pid, "VmRSS") for pid in tree(self.pid))

    def reset_peak_memory(self) -> None:
        """Let ``peak_memory`` begin at what is resident now (proc(5), clear_refs)."""
        for pid in tree(self.pid):
            Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def start(
    command: Sequence[str | Path],
    log: Path,
    *,
    prefix: Sequence[str] = (),
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Process:
    """Start ``command`` with its output in ``log``.

    ``prefix`` wraps it (``nsenter``) and must exec, not fork. ``env`` is added to the
    own environment.
    """
    guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        popen = subprocess.Popen(
            [*prefix, *guard, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=child_environment(env or {}),
            start_new_session=True,
        )
    return Process(popen, log)


@contextmanager
def dies_with_us(process: Process) -> Iterator[None]:
    """End the group of ``process`` when this program is killed within the context.

    For a program that changes its credentials: the kernel then forgets the signal that
    ``start`` has asked for. A shell waits for the end of a pipe that only we hold.
    """
    command = ["sh", "-c", 'read _ || kill -s KILL -- "-$1"', "sh", str(process.pid)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as watch:
        try:
            yield
        finally:
            watch.kill()


def child_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the own environment with ``extra``, and with compiled Python allowed.

    Without bytecode each start of mitmdump would take two seconds instead of one.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"LC_ALL": "C.UTF-8"} | dict(extra)


def tree(pid: int) -> list[int]:
    """Return ``pid`` and all its living descendants."""
    found = [pid]
    for each in found:
        found.extend(_children(each))
    return found


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports that the tree of ``pid`` listens on, in its own network."""
    inodes = {inode for each in tree(pid) for inode in _socket_inodes(each)}
    return {port for port, inode in _listeners(pid) if inode in inodes}


def _children(pid: int) -> Iterator[int]:
    for task in _names(Path(f"/proc/{pid}/task")):
        for word in _read(Path(f"/proc/{pid}/task/{task}/children")).split():
            yield int(word)


def _listeners(pid: int) -> Iterator[tuple[int, str]]:
    for table in ("tcp", "tcp6"):
        for line in _read(Path(f"/proc/{pid}/net/{table}")).splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN:
                yield int(fields[1].rpartition(":")[2], 16), fields[9]


def _socket_inodes(pid: int) -> Iterator[str]:
    folder = Path(f"/proc/{pid}/fd")
    for name in _names(folder):
        try:
            target = str((folder / name).readlink())
        except OSError:  # closed since the folder was read
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _cpu_ticks(pid: int) -> int:
    # The name (field 2) may hold spaces and parentheses; count from the last one.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def _status_octets(pid: int, key: str) -> int:
    for line in _read(Path(f"/proc/{pid}/status")).splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:  # the process has ended
        return ""


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:  # the process has ended
        return []
