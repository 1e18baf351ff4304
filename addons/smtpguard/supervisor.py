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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Final

from mitmproxy.proxy import mode_specs

from smtpguard.errors import SmtpGuardError, os_text
from smtpguard.ports import hold
from smtpguard.proxy.tally import PART_OCTETS, Tally
from smtpguard.terminal import say, visible
from smtpguard.workers import Place, Setup, prepare, run_worker


if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import SpawnProcess


MAX_WORKERS: Final = 20
"""One for each letter from g to z, by which session ids tell them apart."""
AGAIN_SECONDS: Final = 10.0
"""A worker that ends sooner after its start is not replaced sooner either."""
LOOK_SECONDS: Final = 0.2
_LISTENING = (
    mode_specs.ReverseMode,
    mode_specs.Socks5Mode,
    mode_specs.TransparentMode,
)
"""Modes whose clients come to a port of ours; of others there can be one worker."""
_FAILED = 2
_INTERRUPTED = 128 + signal.SIGINT
_NOT_YET = (signal.SIGHUP, signal.SIGINT)
"""Signals that a worker does not die of before it can take them."""


def run_workers(setup: Setup, count: int) -> bool:
    """Run so many gateways until SIGTERM or SIGINT; 0 is one for each processor.

    A single one is run in this process. Returns False where a worker could not record
    all that it was to, or did not end in order. Raises RulesError, and SmtpGuardError
    for any other fault of ``setup`` or where a worker cannot start; KeyboardInterrupt
    after a second Ctrl-C.
    """
    count = count or min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    if not 1 <= count <= MAX_WORKERS:
        raise SmtpGuardError(f"--workers {count}: 1 to {MAX_WORKERS}, or 0")
    if count == 1:
        return run_worker(setup)
    prepare(setup)
    with ExitStack() as ports:
        for mode in setup.modes:
            ports.enter_context(_hold_port(setup, mode))
        return _Supervisor(setup, count, ports).run()


def _hold_port(setup: Setup, mode: str) -> ExitStack:
    """Keep others from a mode's port. Raises SmtpGuardError where they are there."""
    try:
        spec = mode_specs.ProxyMode.parse(mode)
    except ValueError as error:
        raise SmtpGuardError(f"mode {mode!r}: {error}") from None
    if not isinstance(spec, _LISTENING):
        raise SmtpGuardError(f"mode {mode!r} can have one worker only")
    host, port = spec.listen_host(setup.host), spec.listen_port(setup.listen_port)
    if not port:
        raise SmtpGuardError(f"mode {mode!r}: several workers need a port to share")
    try:
        return hold(host, port)
    except (OSError, ValueError) as error:
        why = os_text(error) if isinstance(error, OSError) else str(error)
        raise SmtpGuardError(f"cannot listen on {host or '*'}:{port}: {why}") from None


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    place: Place
    began: float


class _Supervisor:
    """Keeps so many workers running; ``ports`` are held until they are to stop."""

    def __init__(self, setup: Setup, count: int, ports: ExitStack) -> None:
        self._setup = setup
        self._ports = ports
        self._context = multiprocessing.get_context("spawn")
        self._memory = self._context.RawArray("B", count * PART_OCTETS)
        self._secret = secrets.token_bytes(16)
        self._tally = Tally(self._memory, 0, self._secret)
        self._workers: dict[int, _Worker] = {}
        self._due = dict.fromkeys(range(count), 0.0)
        """Workers that are to begin, and when."""
        self._proven: set[int] = set()
        """Places in which a worker has been ready."""
        self._stopping = False
        self._interrupted = False
        self._fault = ""
        self._complete = True

    def run(self) -> bool:
        """Wait for the workers, until the last one has ended."""
        with _signals() as told:
            try:
                self._look_after(told)
            except BaseException:
                # Nobody else would end them, or wait for what is under way.
                self._stop()
                self._look_after(told)
                raise
        if self._fault:
            raise SmtpGuardError(self._fault)
        if self._interrupted:
            raise KeyboardInterrupt
        return self._complete

    def _look_after(self, told: socket.socket) -> None:
        while self._workers or self._due:
            self._start_due()
            sentinels = [worker.process.sentinel for worker in self._workers.values()]
            will_end = sentinels and not self._due
            connection.wait([told, *sentinels], None if will_end else LOOK_SECONDS)
            with suppress(BlockingIOError):
                for number in told.recv(64):
                    self._take(number)
            for index, worker in list(self._workers.items()):
                has_ended = not worker.process.is_alive()
                if worker.place.ready.value:
                    self._proven.add(index)
                if has_ended:
                    self._ended(index, worker)

    def _start_due(self) -> None:
        now = time.monotonic()
        for index in [index for index, due in self._due.items() if due <= now]:
            if self._stopping or (self._workers and not self._proven):
                return  # the first one tells what is wrong for all
            del self._due[index]
            try:
                self._start(index)
            except OSError as error:
                self._could_not_start(index, f"{error}")
            else:
                pid = self._workers[index].process.pid
                _say(f"worker {index + 1} is process {pid}")

    def _start(self, index: int) -> None:
        """Start a worker. Raises OSError; then there is none."""
        save = _numbered(self._setup.save, index + 1)
        if save and index in self._proven and not save.startswith("+"):
            save = f"+{save}"  # what its predecessor has recorded stays
        ready = self._context.RawValue("b")
        place = Place(index, self._memory, self._secret, ready)
        setup = replace(self._setup, save=save)
        process = self._context.Process(target=_work, args=(setup, place))
        signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_YET)
        try:
            # Where it has to be started first it unblocks SIGINT.
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_YET)
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_YET)
        self._workers[index] = _Worker(process, place, time.monotonic())

    def _ended(self, index: int, worker: _Worker) -> None:
        del self._workers[index]
        self._tally.forget(index)
        status = worker.process.exitcode
        worker.process.close()
        if worker.place.ready.value:
            # It says so of sessions that it could not record.
            self._complete &= status != _FAILED
        if self._stopping:
            # By SIGTERM itself where it had not begun yet.
            self._complete &= status in {0, -signal.SIGTERM}
        elif not worker.place.ready.value:
            self._could_not_start(index, f"status {status}")
        else:
            soon = time.monotonic() - worker.began < AGAIN_SECONDS
            self._replace(index, f"has ended (status {status})", soon=soon)

    def _could_not_start(self, index: int, why: str) -> None:
        if index in self._proven:
            self._replace(index, f"could not start ({why})", soon=True)
        else:
            self._fault = f"worker {index + 1} could not start ({why})"
            self._stop()

    def _replace(self, index: int, what: str, *, soon: bool) -> None:
        pause = AGAIN_SECONDS if soon else 0.0
        self._due[index] = time.monotonic() + pause
        later = f" in {pause:.0f} s" if pause else ""
        _say(f"worker {index + 1} {what}, another one begins{later}")

    def _stop(self) -> None:
        self._stopping = True
        self._due.clear()
        self._ports.close()
        self._send(signal.SIGTERM)

    def _take(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._send(number)
        elif number == signal.SIGINT and self._stopping:
            # A second Ctrl-C does not wait for what is under way.
            self._interrupted = True
            self._send(number)
        elif number in {signal.SIGINT, signal.SIGTERM}:
            self._stop()

    def _send(self, number: int) -> None:
        for worker in self._workers.values():
            # One that is known to have ended is a process no more.
            if worker.process.is_alive() and worker.process.pid is not None:
                os.kill(worker.process.pid, number)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """Yield where the numbers of signals come in; nothing else happens at one."""
    told, tell = socket.socketpair()
    with told, tell:
        for end in (told, tell):
            end.setblocking(False)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: None)
        signal.set_wakeup_fd(tell.fileno())
        try:
            yield told
        finally:
            signal.set_wakeup_fd(-1)


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
    say(sys.stdout, f"[{now}] {text}")


def _work(setup: Setup, place: Place) -> None:
    """Be a worker; the exit status tells whether all is well."""
    # What a terminal sends comes by the first process alone, and once.
    os.setsid()
    for number in _NOT_YET:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NOT_YET)
    try:
        complete = run_worker(setup, place)
    except SmtpGuardError as error:
        lines = f"smtpguard: {error}".split("\n")
        say(sys.stderr, "\n".join(map(visible, lines)))
        complete = False
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    sys.exit(0 if complete else _FAILED)
