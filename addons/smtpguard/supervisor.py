"""``smtpguard run --workers``: several gateways side by side on the same ports.

The kernel spreads new connections over the workers (SO_REUSEPORT). They share nothing
but the count of connections, so one that dies takes its own sessions along and no
other's: their clients send again. Owns the workers' processes, not what they do.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing import connection
from typing import TYPE_CHECKING, Final

from mitmproxy.proxy import mode_specs

from smtpguard.errors import SmtpGuardError, os_text
from smtpguard.proxy.tally import PART_OCTETS, Tally
from smtpguard.workers import Place, Setup, prepare, run_worker


if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


MAX_WORKERS: Final = 20
"""One for each letter from g to z, by which session ids tell them apart."""
STARTING_SECONDS: Final = 10.0
"""A worker that ends sooner could not start, and would not the next time either; where
one stood for longer before, it is tried again after as long."""
LOOK_SECONDS: Final = 0.2
_LISTENING = (
    mode_specs.ReverseMode,
    mode_specs.Socks5Mode,
    mode_specs.TransparentMode,
)
"""Modes whose clients come to a port of ours; of others there can be one worker."""
_FAILED = 2


def run_workers(setup: Setup, count: int) -> bool:
    """Run so many gateways until SIGTERM or SIGINT; 0 is one for each processor.

    A single one is run in this process. Returns whether every session was recorded, of
    those that were to be. Raises RulesError, and SmtpGuardError for any other fault of
    ``setup`` or where a worker cannot start.
    """
    count = count or min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    if not 1 <= count <= MAX_WORKERS:
        raise SmtpGuardError(f"--workers {count}: 1 to {MAX_WORKERS}, or 0")
    if count == 1:
        return run_worker(setup)
    prepare(setup)
    for mode in setup.modes:
        _check_port(setup, mode)
    return _Supervisor(setup, count).run()


def _check_port(setup: Setup, mode: str) -> None:
    """Raise SmtpGuardError where others listen: we would share the clients."""
    spec = mode_specs.ProxyMode.parse(mode)
    if not isinstance(spec, _LISTENING):
        raise SmtpGuardError(f"mode {mode!r} can have one worker only")
    host, port = spec.listen_host(setup.host), spec.listen_port(setup.listen_port)
    if not port:
        raise SmtpGuardError(f"mode {mode!r}: several workers need a port to share")
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen()
    except OSError as error:
        raise SmtpGuardError(
            f"cannot listen on {host or '*'}:{port}: {os_text(error)}"
        ) from None


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    began: float
    is_first: bool
    """None has stood in its place before."""


class _Supervisor:
    """Keeps so many workers running."""

    def __init__(self, setup: Setup, count: int) -> None:
        self._setup = setup
        self._context = multiprocessing.get_context("spawn")
        self._memory = self._context.RawArray("B", count * PART_OCTETS)
        self._secret = secrets.token_bytes(16)
        self._tally = Tally(self._memory, 0, self._secret)
        self._workers: dict[int, _Worker] = {}
        self._due = dict.fromkeys(range(count), 0.0)
        """Workers that are to begin, and when."""
        self._started: set[int] = set()
        self._stopping = False
        self._fault = ""
        self._complete = True

    def run(self) -> bool:
        """Wait for the workers, until the last one has ended."""
        told = _signals()
        while self._workers or self._due:
            self._start_due()
            sentinels = [worker.process.sentinel for worker in self._workers.values()]
            connection.wait([told, *sentinels], LOOK_SECONDS if self._due else None)
            with suppress(BlockingIOError):
                for number in told.recv(64):
                    self._take(number)
            for index, worker in list(self._workers.items()):
                if not worker.process.is_alive():
                    self._ended(index, worker)
        if self._fault:
            raise SmtpGuardError(self._fault)
        return self._complete

    def _start_due(self) -> None:
        now = time.monotonic()
        for index in [index for index, due in self._due.items() if due <= now]:
            del self._due[index]
            place = Place(index, self._memory, self._secret)
            setup = replace(self._setup, save=_numbered(self._setup.save, index + 1))
            process = self._context.Process(target=_work, args=(setup, place))
            process.start()
            self._workers[index] = _Worker(process, now, index not in self._started)
            self._started.add(index)
            _say(f"worker {index + 1} is process {process.pid}")

    def _ended(self, index: int, worker: _Worker) -> None:
        del self._workers[index]
        self._tally.forget(index)
        status = worker.process.exitcode
        worker.process.close()
        if self._stopping:
            # By SIGTERM itself where it had not begun yet.
            self._complete &= status in {0, -signal.SIGTERM}
            return
        lived = time.monotonic() - worker.began
        if worker.is_first and lived < STARTING_SECONDS:
            self._fault = f"worker {index + 1} could not start (status {status})"
            self._stop()
            return
        pause = 0.0 if lived >= STARTING_SECONDS else STARTING_SECONDS
        self._due[index] = time.monotonic() + pause
        text = f"worker {index + 1} has ended (status {status}), another one begins"
        _say(text + (f" in {pause:.0f} s" if pause else ""))

    def _stop(self) -> None:
        self._stopping = True
        self._due.clear()
        for worker in self._workers.values():
            worker.process.terminate()

    def _take(self, number: int) -> None:
        if number == signal.SIGHUP:
            for worker in self._workers.values():
                assert worker.process.pid is not None
                os.kill(worker.process.pid, signal.SIGHUP)
        elif number == signal.SIGINT and self._stopping:
            # A second Ctrl-C does not wait for what is under way.
            for worker in self._workers.values():
                worker.process.kill()
        elif number in {signal.SIGINT, signal.SIGTERM}:
            self._stop()


def _signals() -> socket.socket:
    """Return where the numbers of signals come in; nothing else happens at one."""
    told, tell = socket.socketpair()
    for end in (told, tell):
        end.setblocking(False)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    # Kept open to the end of the process by its number alone.
    signal.set_wakeup_fd(tell.detach())
    return told


def _numbered(save: str | None, number: int) -> str | None:
    """Return the file that a worker records into: ``mail.mitm`` is ``mail.2.mitm``."""
    if not save:
        return save
    folder, slash, name = save.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    numbered = (
        f"{stem}.{number}.{suffix}" if dot and stem.strip("+") else f"{name}.{number}"
    )
    return f"{folder}{slash}{numbered}"


def _say(text: str) -> None:
    now = datetime.now().astimezone().strftime("%H:%M:%S.%f")[:-3]
    print(f"[{now}] {text}", flush=True)


def _work(setup: Setup, place: Place) -> None:
    """Be a worker; the exit status tells whether all is well."""
    try:
        complete = run_worker(setup, place)
    except SmtpGuardError as error:
        print(f"smtpguard: {error}", file=sys.stderr)
        complete = False
    sys.exit(0 if complete else _FAILED)
