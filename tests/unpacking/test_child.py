from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from smtpguard.model.contents import Contents, Fact, Finding
from smtpguard.unpacking import child
from smtpguard.unpacking.child import serve
from smtpguard.unpacking.protocol import (
    GRACE,
    Request,
    receive_answer,
    send_request,
)
from tests.unpacking import planted
from tests.unpacking.test_protocol import soon


def test_requests_are_answered_until_the_other_side_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # These limits are a process's own; this one is the tests'.
    timers: list[tuple[int, float]] = []
    monkeypatch.setattr(signal, "setitimer", lambda *timer: timers.append(timer))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    here, there = socket.socketpair()
    serving = threading.Thread(target=serve, args=(there, planted.job))
    serving.start()
    with here, there:
        send_request(here, Request(b"12345", ("a", "\u00fc"), 7.0))
        answer = receive_answer(here, soon())
        assert answer.detected == "5"
        assert [finding.kind for finding in answer.findings] == ["a", "\u00fc"]
        send_request(here, Request(b"raise", (), 1.0))
        answer = receive_answer(here, soon())
        assert answer.findings == (Finding("inspector-failed", "RuntimeError"),)
        assert answer.facts == {Fact.LIMIT}
        here.shutdown(socket.SHUT_RDWR)
        serving.join(timeout=10)
    assert not serving.is_alive()
    prof, real = signal.ITIMER_PROF, signal.ITIMER_REAL
    off = [(real, 0), (prof, 0)]
    assert timers == [(prof, 7.5), (real, 17.0), *off, (prof, 1.5), (real, 5.0), *off]


class Started:
    """An isolated process, without who keeps it."""

    def __init__(self, first: str = "pass") -> None:
        self.channel, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; {first}; "
            "from smtpguard.unpacking.child import main; main()"
        )
        job = "tests.unpacking.planted:job"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", code, str(theirs.fileno()), job],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={},
                extra_groups=[1] if os.geteuid() == 0 else None,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def ask(self, octets: bytes, seconds: float = 10.0) -> Contents:
        send_request(self.channel, Request(octets, (), seconds))
        return receive_answer(self.channel, soon())


def test_it_can_do_nothing_but_look() -> None:
    with Started() as started:
        assert started.ask(b"try").findings == ()
        proc = Path(f"/proc/{started.process.pid}")
        status = (proc / "status").read_text("utf-8")
        assert "NoNewPrivs:\t1" in status
        limits = (proc / "limits").read_text("utf-8")
        for name, most in (
            ("Max core file size", 0),
            ("Max file size", 0),
            ("Max processes", 0),
            ("Max open files", 4),
            ("Max address space", child.MAX_MEMORY),
        ):
            line = next(one for one in limits.splitlines() if one.startswith(name))
            assert line.removeprefix(name).split()[:2] == [str(most)] * 2
        if os.geteuid() == 0:
            assert "Uid:\t65534\t65534\t65534\t65534" in status
            assert "Gid:\t65534\t65534\t65534\t65534" in status
            assert "Groups:\t \n" in status


def test_nobody_may_look_into_its_memory() -> None:
    """Whoever has been root is not dumpable anyway; this one is not told that it is."""
    with Started("import os; os.geteuid = lambda: 1000") as started:
        assert started.ask(b"dumpable").detected == "0"


def test_more_memory_than_there_is_is_a_finding() -> None:
    with Started() as started:
        assert started.ask(b"memory").findings == (
            Finding("inspector-failed", "MemoryError"),
        )
        assert started.ask(b"12").detected == "2"


@pytest.mark.parametrize(
    ("octets", "by"), [(b"spin", signal.SIGPROF), (b"sleep", signal.SIGALRM)]
)
def test_a_look_without_end_is_ended_by_the_kernel(
    octets: bytes, by: signal.Signals
) -> None:
    """Also where who keeps the process is gone or does not."""
    with Started() as started:
        started.ask(b"")
        send_request(started.channel, Request(octets, (), -GRACE + 0.2))
        assert started.process.wait(timeout=20) == -by


def test_the_time_of_the_processor_is_told() -> None:
    with Started() as started:
        assert 0 < started.ask(b"work").seconds < 5
        assert started.ask(b"wait").seconds < 1


def test_it_ends_when_its_keeper_is_gone() -> None:
    with Started() as started:
        started.ask(b"")
        started.channel.close()
        assert started.process.wait(timeout=20) == 0


KEEPER = """
import os, socket, subprocess, sys, time
ours, theirs = socket.socketpair()
code = "import sys; sys.path[:] = sys.argv[3:]; "
code += "from smtpguard.unpacking.child import main; main()"
process = subprocess.Popen(
    [sys.executable, "-I", "-c", code, str(theirs.fileno()),
     "tests.unpacking.planted:job", *sys.path],
    pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL)
theirs.close()
fork = os.fork()
if fork == 0:
    # It has the socket, too, and stays.
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    time.sleep(60)
    os._exit(0)
print(process.pid, fork, flush=True)
from smtpguard.unpacking.protocol import *
send_request(ours, Request(b"", (), 1.0))
receive_answer(ours, time.monotonic() + 30)
os._exit(0)
"""


@pytest.mark.slow
def test_it_ends_when_its_keeper_is_gone_and_left_the_socket_to_a_fork() -> None:
    keeper = subprocess.run(
        [sys.executable, "-c", KEEPER],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
    )
    pid, fork = map(int, keeper.stdout.split())
    try:
        assert has_ended(pid, 20)
        assert not has_ended(fork, 0)
    finally:
        for one in (pid, fork):
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)


def has_ended(pid: int, seconds: float) -> bool:
    """Wait for somebody else's process to be gone or a zombie."""
    status = Path(f"/proc/{pid}/status")
    for _ in range(int(seconds * 10) + 1):
        if not status.exists() or "State:\tZ" in status.read_text("utf-8"):
            return True
        time.sleep(0.1)
    return False


def test_a_request_of_another_shape_ends_it() -> None:
    with Started() as started:
        started.ask(b"")
        started.channel.sendall(b"\0\0\0\x0a" + b'{"size":0}')
        assert started.process.wait(timeout=20) not in {0, -signal.SIGKILL}
