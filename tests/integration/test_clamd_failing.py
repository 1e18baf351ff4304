"""clamd killed, frozen, gone and back, and a file that ends it again and again.

Behind a live mitmdump: nothing is lost, doubled or let through, and nobody has to do
anything for it to go on (contract 7).
"""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.clamd import MARKER, RunningClamd, clamd
from tests.integration.bed.process import free_port
from tests.integration.failures import _exactly, _line
from tests.integration.sending import sent
from tests.integration.sink import Sink
from tests.integration.test_scanners import file
from tests.judging import TEXT_PART, lines, mixed
from tests.scanners.engines import Fake, fake


if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

RULES = """\
version: 1
scanners:
  clam: {type: clamd, address: %s, timeout: 20s}
  builtin: {type: yara}
policies:
  - name: two
    when: {source: 127.0.1.2}
    tls: {client: {starttls: required}, server: {starttls: required}}
    rcpt_to: [{match: "*", action: allow}]
    content_types:
      - {match: "text/*", autodetect: false, action: allow}
      - {match: "*", action: scan}
    antivirus: {scanner: [clam, builtin]}
  - name: one
    tls: {client: {starttls: required}, server: {starttls: required}}
    rcpt_to: [{match: "*", action: allow}]
    content_types:
      - {match: "text/*", autodetect: false, action: allow}
      - {match: "*", action: scan}
    antivirus: {scanner: clam, infected: deny}
"""
ONE, TWO = 0, 1
NUMBERS = count(1)


@pytest.fixture(scope="module")
def server(fresh_folder: Callable[[], Path]) -> Iterator[RunningClamd]:
    with clamd(fresh_folder()) as running:
        yield running


@pytest.fixture(scope="module")
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity) as running:
        yield running


@pytest.fixture(scope="module")
def guard(
    start_unowned_guard: StartGuard, sink: Sink, server: RunningClamd
) -> Iterator[Guard]:
    running = start_unowned_guard(sink.reverse, RULES % f'"{server.unix}"')
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log


@dataclass(slots=True)
class Told:
    """What became of one mail."""

    reply: str
    seconds: float
    recipient: str


def mail(content: bytes = b"") -> bytes:
    """Return a mail with a file that no other has."""
    octets = content or os.urandom(200)
    head = lines("From: a@out.example", "Subject: a file")
    return head + mixed(TEXT_PART, file(octets, "a.dat"))


def send(guard: Guard, octets: bytes, number: int = ONE) -> Told:
    recipient = f"r{next(NUMBERS)}@own.example"
    began = time.monotonic()
    reply = sent(guard, octets, recipient, number=number)
    return Told(reply, time.monotonic() - began, recipient)


def passes(guard: Guard, sink: Sink) -> bool:
    octets = mail()
    told = send(guard, octets)
    if not told.reply.startswith("250 "):
        assert told.reply.startswith("451 4.7.1"), told.reply
        assert told.recipient not in sink.copies
        return False
    assert [one.message for one in sink.copies[told.recipient]] == [octets]
    return True


def wait_until_it_passes(guard: Guard, sink: Sink) -> float:
    """Return the seconds until the first mail that is scanned."""
    began = time.monotonic()
    while not passes(guard, sink):
        assert time.monotonic() - began < 30
        time.sleep(0.1)
    return time.monotonic() - began


def test_scanned_mail_passes_and_a_virus_does_not(guard: Guard, sink: Sink) -> None:
    assert passes(guard, sink)
    told = send(guard, mail(MARKER))
    assert told.reply.startswith("550 5.7.1")
    assert told.recipient not in sink.copies


def test_killed_and_back_within_ten_seconds(
    guard: Guard, sink: Sink, server: RunningClamd
) -> None:
    server.kill()
    assert not passes(guard, sink)
    text = lines("Subject: no file", "") + b"Hello\r\n"
    told = send(guard, text)
    assert told.reply.startswith("250 ")
    told = send(guard, mail(), TWO)
    assert told.reply.startswith("250 "), "the second scanner knows"
    server.restart()
    assert wait_until_it_passes(guard, sink) < 10


def test_a_frozen_one_keeps_few_mails_waiting(
    guard: Guard, sink: Sink, server: RunningClamd
) -> None:
    """At most five slow mails; with a second scanner none is put off at all."""
    server.stop()
    try:
        found = [send(guard, mail()) for _ in range(12)]
        slow = [one for one in found if one.seconds > 1]
        assert len(slow) <= 5
        assert all(one.reply.startswith("451 4.7.1") for one in found)
        assert not {one.recipient for one in found} & sink.copies.keys()
        both = [send(guard, mail(), TWO) for _ in range(12)]
        assert all(one.reply.startswith("250 ") for one in both)
        assert max(one.seconds for one in both) < 1
    finally:
        server.cont()
    assert wait_until_it_passes(guard, sink) < 10


def test_killed_in_the_middle_of_scans(
    guard: Guard, sink: Sink, server: RunningClamd
) -> None:
    """Each mail is put off or scanned; none is let through unscanned."""
    mails = [mail(os.urandom(3 << 20) + MARKER) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(send, guard, octets) for octets in mails]
        time.sleep(0.15)
        server.kill()
        found = [one.result() for one in waiting]
    server.restart()
    for one in found:
        assert one.reply.startswith(("451 4.7.1", "550 5.7.1")), one.reply
        assert one.recipient not in sink.copies
    wait_until_it_passes(guard, sink)


@dataclass(slots=True)
class Fragile:
    """A clamd that a word in a file ends; something starts it again."""

    deaths: int = 0
    down_until: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def script(self, _: Fake, connection: socket.socket) -> None:
        if time.monotonic() < self.down_until:
            return
        command = _line(connection)
        if command == b"nPING\n":
            connection.sendall(b"PONG\n")
            return
        octets = bytearray()
        while (size := int.from_bytes(_exactly(connection, 4))) > 0:
            octets += _exactly(connection, size)
        if b"POISON" in octets:
            with self.lock:
                self.deaths += 1
                self.down_until = time.monotonic() + 0.3
            return
        connection.sendall(b"stream: OK\n")


def test_a_file_that_ends_it_does_so_twice_at_most_while_others_pass(
    start_guard: StartGuard, sink: Sink
) -> None:
    fragile = Fragile()
    poison = mail(b"POISON" * 10)
    replies: list[str] = []

    def until_sent(running: Guard) -> Told:
        octets = mail()
        for _ in range(50):
            told = send(running, octets)
            if told.reply.startswith("250 "):
                assert [one.message for one in sink.copies[told.recipient]] == [octets]
                return told
            assert told.reply.startswith("451 4.7.1"), told.reply
            time.sleep(0.1)
        pytest.fail("a harmless mail is put off again and again")

    def attack(running: Guard) -> None:
        for _ in range(20):
            replies.append(send(running, poison).reply)
            time.sleep(0.05)

    with fake(fragile.script) as server:
        running = start_guard(sink.reverse, RULES % f'"{server.address}"')
        with ThreadPoolExecutor(8) as pool:
            attacker = pool.submit(attack, running)
            others = [pool.submit(until_sent, running) for _ in range(200)]
            assert len({one.result().recipient for one in others}) == 200
            attacker.result()
    assert all(reply.startswith("451 4.7.1") for reply in replies)
    assert 1 <= fragile.deaths <= 2


def test_nobody_there_at_the_start_keeps_nobody_else_waiting(
    start_guard: StartGuard, sink: Sink
) -> None:
    running = start_guard(sink.reverse, RULES % f'"127.0.0.1:{free_port()}"')
    assert send(running, mail()).reply.startswith("451 4.7.1")
    assert send(running, mail(), TWO).reply.startswith("250 ")
    running.wait_log("scanner clam at 127.0.0.1")
