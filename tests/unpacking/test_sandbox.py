from __future__ import annotations

import json
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

import smtpguard
from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.unpacking import sandbox
from smtpguard.unpacking.sandbox import (
    pack,
    receive_frame,
    send_frame,
    send_request,
    serve,
    unpack,
)
from tests.unpacking import planted


ROOT = str(Path(__file__).resolve().parents[2])
ADDONS = str(Path(smtpguard.__file__).resolve().parents[1])

FULL = Contents(
    "application/zip",
    frozenset({Fact.ARCHIVE, Fact.LIMIT}),
    (
        Entry("a!ü", ("ü", "\u202e\0"), 7, "text/plain", frozenset(), "00ff"),
        Entry("b", (), 0, facts=frozenset({Fact.ENCRYPTED, Fact.EXECUTABLE})),
    ),
    (Finding("limit-depth", "a"), Finding("x")),
)


@pytest.mark.parametrize("contents", [Contents(), FULL])
def test_what_is_packed_is_unpacked_the_same(contents: Contents) -> None:
    assert unpack(pack(contents)) == contents


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"[1,[],[],[],[]]",
        b'["",["no such fact"],[],[],[],[]]',
        b'["",[[]],[],[],[]]',
        b'["",[],[["p",["n"],"7","",[],""]],[],[]]',
        b'["",[],[["p",["n"],true,"",[],""]],[],[]]',
        b'["",[],[["p","names",7,"",[],""]],[],[]]',
        b'["",[],[["p",[7],7,"",[],""]],[],[]]',
        b'["",[],[["p",["n"],7,"",[]]],[],[]]',
        b'["",[],[],[["kind"]],[]]',
        b'["",[],[],[["kind",null]],[]]',
        b'["",[],[],[]]',
        b'["",[],[],[],[],[]]',
        b'["",[],[],[],[7]]',
    ],
)
def test_an_answer_of_another_shape_is_refused(answer: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(answer)


def test_frames_arrive_as_they_were_sent() -> None:
    here, there = socket.socketpair()
    with here, there:
        send_frame(here, b"one")
        send_frame(here, b"")
        assert receive_frame(there, 3) == b"one"
        assert receive_frame(there, 3) == b""
        send_frame(here, b"long")
        with pytest.raises(ValueError):
            receive_frame(there, 3)


def test_a_frame_that_does_not_come_is_waited_for_until_the_deadline() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.sendall(b"\0\0\0\7drip")
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            receive_frame(there, 9, begin + 0.1)
        assert time.monotonic() - begin < 5
        here.close()
        with pytest.raises(EOFError):
            receive_frame(there, 9)


def test_requests_are_answered_until_the_other_side_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # These limits are a process's own; this one is the tests'.
    timers: list[float] = []
    monkeypatch.setattr(signal, "setitimer", lambda _, seconds: timers.append(seconds))
    monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
    here, there = socket.socketpair()
    serving = threading.Thread(target=serve, args=(there, planted.job))
    serving.start()
    with here, there:
        send_request(here, b"12345", ("a", "ü"), "text/plain", 7.0)
        answer = unpack(receive_frame(here, 999))
        assert answer.detected == "5 text/plain"
        assert [finding.kind for finding in answer.findings] == ["a", "ü"]
        send_request(here, b"raise", (), "", 1.0)
        answer = unpack(receive_frame(here, 999))
        assert answer.findings == (Finding("inspector-failed", "RuntimeError"),)
        assert answer.facts == {Fact.LIMIT}
        here.shutdown(socket.SHUT_RDWR)
        serving.join(timeout=10)
    assert not serving.is_alive()
    assert timers == [9.0, 0, 3.0, 0]


class Started:
    """An isolated process, without who keeps it."""

    def __init__(self, job: str) -> None:
        self.channel, theirs = socket.socketpair()
        code = (
            f"import sys; sys.path[:0] = {[ADDONS, ROOT]!r}; "
            "from smtpguard.unpacking.sandbox import main; main()"
        )
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", code, str(theirs.fileno()), job],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={},
            )
        self.channel.settimeout(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()
        self.process.kill()
        self.process.wait()

    def ask(self, octets: bytes, seconds: float = 10.0) -> Contents:
        send_request(self.channel, octets, (), "", seconds)
        return unpack(receive_frame(self.channel, sandbox.MAX_ANSWER))


def test_it_can_do_nothing_but_look() -> None:
    with Started("tests.unpacking.planted:job") as child:
        assert child.ask(b"try").findings == ()
        status = Path(f"/proc/{child.process.pid}/status").read_text("utf-8")
        assert "NoNewPrivs:\t1" in status
        limits = Path(f"/proc/{child.process.pid}/limits").read_text("utf-8")
        for name, most in (
            ("Max core file size", 0),
            ("Max file size", 0),
            ("Max processes", 0),
            ("Max open files", 4),
            ("Max address space", sandbox.MAX_MEMORY),
        ):
            line = next(one for one in limits.splitlines() if one.startswith(name))
            assert line.removeprefix(name).split()[:2] == [str(most)] * 2
        if os.geteuid() == 0:
            assert "Uid:\t65534\t65534\t65534\t65534" in status


def test_more_memory_than_there_is_is_a_finding() -> None:
    with Started("tests.unpacking.planted:job") as child:
        assert child.ask(b"memory").findings == (
            Finding("inspector-failed", "MemoryError"),
        )
        assert child.ask(b"12").detected == "2 "


def test_a_look_without_end_is_ended_by_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where who keeps the process is gone or does not."""
    with Started("tests.unpacking.planted:job") as child:
        child.ask(b"")
        send_request(child.channel, b"spin", (), "", -sandbox.GRACE + 0.2)
        assert child.process.wait(timeout=20) == -signal.SIGALRM


def test_it_ends_when_its_keeper_is_gone() -> None:
    with Started("tests.unpacking.planted:job") as child:
        child.ask(b"")
        child.channel.close()
        assert child.process.wait(timeout=20) == 0


def test_a_request_of_another_shape_ends_it() -> None:
    with Started("tests.unpacking.planted:job") as child:
        child.ask(b"")
        send_frame(child.channel, json.dumps({"size": 0}).encode())
        assert child.process.wait(timeout=20) not in {0, -signal.SIGKILL}
