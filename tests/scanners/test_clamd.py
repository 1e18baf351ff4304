"""An answer that is not one whole line, and then the end, is never "clean"."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.scan import Subject
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners.clamd import Clamd
from tests.scanners.fakeclamd import (
    FakeClamd,
    Treatment,
    drips,
    fake_clamd,
    hangs,
    never_ends,
    reads_nothing,
    received,
    resets,
    says,
    says_after_all_and_resets,
    says_and_resets,
    says_octet_by_octet,
)
from tests.scanners.subjects import subject, unreadable


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


OK = b"stream: OK\n"
SMALL = subject(b"a small file")
LARGE = subject(b"." * (8 << 20))
"""More than all buffers between two programs hold."""
TOO_LONG = b"INSTREAM size limit exceeded. ERROR\n"


def scanned(
    address: str,
    of: Subject = SMALL,
    timeout: float = 5.0,
    max_size: int = 1 << 30,
) -> Verdict:
    return asyncio.run(Clamd("clam", address, max_size, timeout).scan(of))


def answer_to(treat: Treatment, of: Subject = SMALL, timeout: float = 5.0) -> Verdict:
    with fake_clamd(treat) as server:
        return scanned(server.address, of, timeout)


# -- what counts -----------------------------------------------------------------------


def test_a_whole_ok_and_the_end_is_clean() -> None:
    assert answer_to(says(OK)).kind is VerdictKind.CLEAN


def test_an_answer_in_as_many_packets_as_octets_counts() -> None:
    assert answer_to(says_octet_by_octet(OK)).kind is VerdictKind.CLEAN
    found = answer_to(says_octet_by_octet(b"stream: Win.Test FOUND\n"))
    assert (found.kind, found.name) == (VerdictKind.INFECTED, "Win.Test")


@pytest.mark.parametrize(
    ("answer", "kind", "name"),
    [
        (b"stream: Eicar-Signature FOUND\n", "infected", "Eicar-Signature"),
        (b"stream: A: B(md5:68) FOUND\n", "infected", "A: B(md5:68)"),
        (b"stream: OK FOUND\n", "infected", "OK"),
        (b"stream: Vir\xfcs FOUND\n", "infected", "Vir\\xfcs"),
        (b"stream: Heuristics.Phishing.Email FOUND\n", "infected", None),
        (b"stream: Heuristics.Encrypted.Zip FOUND\n", "encrypted", None),
        (b"stream: Heuristics.Encrypted.PDF FOUND\n", "encrypted", None),
        (b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\n", "oversize", ""),
        (b"stream: Heuristics.Limits.Exceeded FOUND\n", "oversize", ""),
        (TOO_LONG, "oversize", ""),
    ],
)
def test_kinds_of_answers_are_kept_apart(
    answer: bytes, kind: str, name: str | None
) -> None:
    verdict = answer_to(says(answer))
    assert verdict.scanner == "clam"
    assert verdict.kind == kind
    if name is not None:
        assert verdict.name == name


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 200_000])
def test_clamd_is_sent_the_octets_and_nothing_else(size: int) -> None:
    octets = os.urandom(size)
    with fake_clamd(says(OK)) as server:
        assert scanned(server.address, subject(octets, 70_000)).kind == "clean"
        assert server.taken == [octets]


def test_empty_pieces_are_no_end() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"", b"one", b"", b"two", b"")

    with fake_clamd(says(OK)) as server:
        scanned(server.address, Subject(chunks, 6, "00"))
        assert server.taken == [b"onetwo"]


# -- what does not count ---------------------------------------------------------------


@pytest.mark.parametrize("answer", [OK, b"stream: Win.Test FOUND\n", TOO_LONG])
def test_an_end_within_the_answer_is_no_answer(answer: bytes) -> None:
    for length in range(len(answer)):
        with pytest.raises(ScannerDiedError):
            answer_to(says(answer[:length]))


@pytest.mark.parametrize(
    "answer",
    [
        b"\n",
        b"OK\n",
        b"stream: \n",
        b"stream:OK\n",
        b"stream: ok\n",
        b"stream: OK \n",
        b" stream: OK\n",
        b"stream: OK\r\n",
        b"stream: OK\n\n",
        b"stream: OK\0\n",
        b"\0stream: OK\n",
        b"str\0eam: OK\n",
        b"stream: OK\nstream: OK\n",
        b"stream: OK\nstream: Win.Test FOUND\n",
        b"stream: Win.Test FOUND\nstream: OK\n",
        b"stream: FOUND\n",
        b"stream:  FOUND\n",
        b"stream: \t FOUND\n",
        b"stream: A\x1b[2J FOUND\n",
        b"1: stream: OK\n",
        b"fd[10]: OK\n",
        b"\xe2\x80\xa8stream: OK\n",
        b"PONG\n",
        b"UNKNOWN COMMAND\n",
        b"COMMAND READ TIMED OUT. ERROR\n",
        b"stream: Can't allocate memory ERROR\n",
        b"INSTREAM size limit exceeded\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"x" * 5000 + b"\n",
    ],
)
def test_any_other_answer_is_an_error_but_nobody_died(answer: bytes) -> None:
    with pytest.raises(ScanError) as caught:
        answer_to(says(answer))
    assert type(caught.value) is ScanError


@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"stream: ", b"OK", b"\n", b" FOUND", b"\0", b"A"])
    ).map(b"".join)
)
@example(OK)
def test_only_one_answer_is_clean_whatever_is_said(answer: bytes) -> None:
    try:
        kind = answer_to(says(answer)).kind
    except ScanError:
        assert answer != OK
    else:
        assert (kind is VerdictKind.CLEAN) == (answer == OK)


@pytest.mark.parametrize("answer", [b"", b"stream: ", OK[:-1], OK[:-1] + b"\0"])
def test_a_reset_is_no_answer(answer: bytes) -> None:
    with pytest.raises(ScannerDiedError):
        answer_to(says_after_all_and_resets(answer))


def test_a_reset_behind_an_ok_makes_it_no_answer() -> None:
    with pytest.raises(ScanError, match="says before"):
        answer_to(says_after_all_and_resets(OK))


def test_a_reset_of_the_fresh_connection_is_no_answer() -> None:
    with pytest.raises((ScannerDiedError, ScannerUnavailableError)):
        answer_to(resets)


@pytest.mark.parametrize("of", [SMALL, LARGE], ids=["small", "large"])
def test_an_answer_before_all_was_sent_is_none(of: Subject) -> None:
    """What it says of a half is said of nothing."""
    go_on = threading.Event()

    def treat(connection: socket.socket, _: FakeClamd) -> None:
        connection.sendall(OK)
        connection.shutdown(socket.SHUT_WR)
        go_on.set()
        received(connection)

    def chunks() -> Iterator[bytes]:
        assert go_on.wait(5)
        yield from of.chunks()

    with pytest.raises(ScanError, match="before it had all"):
        answer_to(treat, Subject(chunks, of.size, of.sha256))


def test_an_error_before_all_was_sent_is_told_and_nobody_died() -> None:
    with pytest.raises(ScanError, match="temporary file") as caught:
        answer_to(says_and_resets(b"Can't write to temporary file. ERROR\n"), LARGE)
    assert type(caught.value) is ScanError


def test_an_endless_answer_is_given_up() -> None:
    with pytest.raises(ScanError, match="without an end"):
        answer_to(never_ends)


# -- size ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_too_long_for_clamd_is_oversize_however_it_ends(
    kind: str, tmp_path: Path
) -> None:
    where = tmp_path / "clamd.sock" if kind == "unix" else ""

    def treat(connection: socket.socket, _: FakeClamd) -> None:
        connection.recv(100_000)
        connection.sendall(TOO_LONG)
        # Closed with octets unread: the client is reset, maybe with the answer.

    with fake_clamd(treat, where) as server:
        for _ in range(20):
            verdict = scanned(server.address, LARGE)
            assert verdict.kind is VerdictKind.OVERSIZE


def test_what_is_larger_than_the_rules_allow_is_not_sent() -> None:
    with fake_clamd(says(OK)) as server:
        assert scanned(server.address, SMALL, max_size=11).kind == "oversize"
        assert scanned(server.address, SMALL, max_size=12).kind == "clean"
        assert server.taken == [b"a small file"]


def test_a_size_that_clamd_refused_is_not_sent_again() -> None:
    async def ask(address: str) -> list[str]:
        clamd = Clamd("clam", address, 1 << 30, 5.0)
        sizes = (100, 100, 101, 99)
        return [str((await clamd.scan(subject(b"." * n))).kind) for n in sizes]

    with fake_clamd(says(TOO_LONG)) as server:
        assert asyncio.run(ask(server.address)) == ["oversize"] * 4
        assert [len(octets) for octets in server.taken] == [100, 99]


# -- time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("treat", "of"),
    [(hangs, SMALL), (drips, SMALL), (reads_nothing, LARGE)],
    ids=["says nothing", "says an octet now and then", "reads nothing"],
)
def test_a_scan_has_one_deadline_for_all_it_does(treat: Treatment, of: Subject) -> None:
    with fake_clamd(treat) as server:
        began = time.monotonic()
        with pytest.raises(ScannerTimeoutError):
            scanned(server.address, of, timeout=0.4)
        assert 0.3 < time.monotonic() - began < 1.5


def test_a_ping_has_the_same_deadline() -> None:
    with fake_clamd(hangs) as server, pytest.raises(ScannerTimeoutError):
        asyncio.run(Clamd("clam", server.address, 1, 0.2).ping())


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize(
    ("treat", "of"), [(hangs, SMALL), (reads_nothing, LARGE)], ids=["hangs", "full"]
)
def test_a_scan_that_nobody_waits_for_ends_with_its_connection_and_thread(
    treat: Treatment, of: Subject
) -> None:
    async def give_up(address: str) -> None:
        scan = asyncio.create_task(Clamd("clam", address, 1 << 30, 60.0).scan(of))
        await asyncio.to_thread(server.connected.wait, 5)
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan

    with fake_clamd(treat) as server:
        before = open_files(), threading.active_count()
        # Waits for all threads of its executor.
        asyncio.run(give_up(server.address))
        assert treat is not hangs or server.left.wait(5)
    assert open_files() <= before[0]
    assert threading.active_count() < before[1]


def test_a_scan_given_up_before_it_has_connected_leaves_nothing_open() -> None:
    async def give_up(address: str) -> None:
        clamd = Clamd("clam", address, 1 << 30, 60.0)
        for _ in range(50):
            scan = asyncio.create_task(clamd.scan(SMALL))
            await asyncio.sleep(0)
            scan.cancel()
            with pytest.raises(asyncio.CancelledError):
                await scan

    with fake_clamd(hangs) as server:
        before = open_files()
        asyncio.run(give_up(server.address))
    assert open_files() <= before


def test_a_scan_given_up_while_its_name_is_looked_up_connects_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, given_up = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def slow(*where: Any, **how: Any) -> Any:
        asked.set()
        assert given_up.wait(5)
        return look_up(*where, **how)

    async def give_up(address: str) -> None:
        scan = asyncio.create_task(Clamd("clam", address, 1 << 30, 60.0).scan(SMALL))
        await asyncio.to_thread(asked.wait, 5)
        scan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await scan
        given_up.set()

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with fake_clamd(says(OK)) as server:
        # Waits for all threads of its executor.
        asyncio.run(give_up(server.address))
        assert not server.connected.is_set()


@pytest.mark.parametrize("treat", [says(OK), says(b""), resets, never_ends])
def test_no_scan_leaves_a_connection(treat: Treatment) -> None:
    with fake_clamd(treat) as server:
        before = open_files()
        for _ in range(5):
            try:
                scanned(server.address)
            except ScanError:
                continue
    assert open_files() <= before


# -- who is asked ----------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_host_is_asked_at_its_port(host: str) -> None:
    with fake_clamd(says(OK), host) as server:
        assert scanned(server.address).kind is VerdictKind.CLEAN


def test_a_name_is_asked_at_each_of_its_addresses() -> None:
    with fake_clamd(says(OK), "127.0.0.1") as server:
        address = server.address.replace("127.0.0.1", "localhost")
        assert scanned(address).kind is VerdictKind.CLEAN


@pytest.mark.parametrize("is_there", [True, False])
def test_a_name_is_asked_at_one_address_after_the_other(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tcp = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    with fake_clamd(says(OK)) as server:
        host, _, port = server.address.rpartition(":")
        found = [
            (socket.AF_INET6, *tcp, ("::1", 1, 0, 0)),
            (socket.AF_INET, *tcp, (host, 1)),
            (socket.AF_INET, *tcp, (host, int(port) if is_there else 1)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        before = open_files()
        if is_there:
            assert scanned("clamd.example:3310").kind is VerdictKind.CLEAN
        else:
            with pytest.raises(ScannerUnavailableError):
                scanned("clamd.example:3310")
        assert open_files() <= before


def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    with fake_clamd(says(OK), tmp_path / "clamd.sock") as server:
        assert scanned(server.address).kind is VerdictKind.CLEAN


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "[::1]:1",
        "unix:/nowhere/clamd.sock",
        "unix:/" + "x" * 200,
        "no-such-host.invalid:3310",
        "a..b:3310",
        "127.0.0.1:99999",
    ],
)
def test_where_nobody_listens_nobody_is_available(address: str) -> None:
    before = open_files()
    with pytest.raises(ScannerUnavailableError):
        scanned(address)
    with pytest.raises(ScannerUnavailableError):
        asyncio.run(Clamd("clam", address, 1, 5.0).ping())
    assert open_files() == before


def test_a_ping_wants_a_pong() -> None:
    async def ping(answer: bytes) -> None:
        with fake_clamd(lambda c, _: c.sendall(received(c) and answer)) as server:
            await Clamd("clam", server.address, 1, 5.0).ping()

    asyncio.run(ping(b"PONG\n"))
    for answer in (b"", b"PONG", b"PING\n", b"PONG\nPONG\n", OK):
        with pytest.raises(ScanError):
            asyncio.run(ping(answer))


# -- whose fault -----------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", b"half"])
def test_a_file_that_cannot_be_read_is_not_scanned_in_part(before: bytes) -> None:
    with fake_clamd(says(OK)) as server, pytest.raises(OSError, match="Input/output"):
        scanned(server.address, unreadable(before))


@pytest.mark.parametrize("size", [0, 11, 13])
def test_a_file_that_is_longer_or_shorter_than_it_was_is_not_scanned(size: int) -> None:
    with fake_clamd(says(OK)) as server, pytest.raises(ScanError, match="whole"):
        scanned(server.address, replace(SMALL, size=size))
