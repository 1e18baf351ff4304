"""The real clamd: what it finds, and what befalls it in mid-scan."""

from __future__ import annotations

import asyncio
import io
import random
import shutil
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from smtpguard.model.scan import Question, Subject
from smtpguard.model.scannerspec import ScannerSpec
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners.clamd import Clamd
from smtpguard.scanners.stations import Stations
from tests.integration.bed.clamd import (
    CLAM,
    MARKED,
    MARKER,
    TEST_FILES,
    RunningClamd,
    clamd,
    sample,
)
from tests.integration.bed.clamd import (
    EICAR as EICAR_NAME,
)
from tests.integration.bed.need import need
from tests.scanners.subjects import EICAR, subject


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.real

KINDS = VerdictKind


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningClamd]:
    """One that nothing befalls."""
    with clamd(tmp_path_factory.mktemp("c"), stream_max="5M") as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[RunningClamd]:
    """One for this test alone."""
    with clamd(tmp_path) as running:
        yield running


@contextmanager
def asked(*addresses: str, timeout: float = 30.0) -> Iterator[Asked]:
    stations = Stations()
    spec = ScannerSpec("clam", "clamd", addresses, timeout=timeout)
    try:
        yield Asked(stations, spec)
    finally:
        stations.stop()


class Asked:
    """Scans by one scanner of the rules."""

    def __init__(self, stations: Stations, spec: ScannerSpec) -> None:
        self.stations = stations
        self.spec = spec

    def scan(self, of: Subject) -> Verdict:
        question = Question(of, (self.spec,))
        (verdict,) = self.stations.ask({"1": question}).result(60)["1"]
        return verdict

    def state(self) -> str:
        ((_, _, state, _),) = self.stations.health()
        return state

    def wait_until_asked_again(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.state() == "open":
            assert time.monotonic() < end
            time.sleep(0.02)


def scanned(address: str, octets: bytes) -> Verdict:
    scanner = Clamd("clam", address, 1 << 30, 30.0)
    return asyncio.run(scanner.scan(subject(octets)))


def zipped(octets: bytes, name: str = "inside.com") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, octets)
    return made.getvalue()


# -- what it finds ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (EICAR, EICAR_NAME),
        (zipped(EICAR), EICAR_NAME),
        (zipped(zipped(EICAR), "inner.zip"), EICAR_NAME),
        (b"text " + MARKER + b" text", MARKED),
        (b"x" * 70_000 + MARKER, MARKED),
    ],
    ids=["plain", "zip", "zip in zip", "marker", "marker behind much"],
)
def test_what_is_infected_is_found(
    server: RunningClamd, kind: str, octets: bytes, name: str
) -> None:
    verdict = scanned(getattr(server, kind), octets)
    assert (verdict.kind, verdict.name) == (KINDS.INFECTED, name)


@pytest.mark.parametrize("octets", [b"", b"hello", EICAR[1:], zipped(b"hello")])
def test_what_is_not_is_clean(server: RunningClamd, octets: bytes) -> None:
    assert scanned(server.unix, octets).kind is KINDS.CLEAN


def test_what_is_encrypted_was_not_looked_into(
    server: RunningClamd, tmp_path: Path
) -> None:
    need("zip")
    (tmp_path / "inside.com").write_bytes(EICAR)
    command = ["zip", "-q", "-j", "-P", "secret", "made.zip", "inside.com"]
    subprocess.run(command, cwd=tmp_path, check=True)
    verdict = scanned(server.unix, (tmp_path / "made.zip").read_bytes())
    assert verdict.kind is KINDS.ENCRYPTED
    assert verdict.name.startswith("Heuristics.Encrypted.Zip")


def test_all_of_clamavs_own_test_files_are_found(server: RunningClamd) -> None:
    sample("clam.exe")
    files = sorted(TEST_FILES.iterdir())
    found = {file.name: scanned(server.tcp, file.read_bytes()) for file in files}
    missed = {name: str(one.kind) for name, one in found.items() if one.name != CLAM}
    assert len(found) > 40
    assert missed == {}


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("mebioctets", [6, 20, 64])
def test_more_than_its_stream_max_length_is_oversize_and_no_death(
    server: RunningClamd, kind: str, mebioctets: int
) -> None:
    for _ in range(5):
        verdict = scanned(getattr(server, kind), bytes(mebioctets << 20))
        assert verdict.kind is KINDS.OVERSIZE


def test_a_large_file_stays_no_poison(server: RunningClamd) -> None:
    with asked(server.unix) as ask:
        large = subject(b"x" * (20 << 20))
        assert [str(ask.scan(large).kind) for _ in range(3)] == ["oversize"] * 3
        assert ask.scan(subject(EICAR)).name == EICAR_NAME
        assert ask.state() == "closed"


@pytest.mark.slow
def test_more_than_it_scans_is_oversize(tmp_path: Path) -> None:
    with clamd(tmp_path, stream_max="100M") as running:
        verdict = scanned(running.unix, bytes(51 << 20))
    assert verdict.kind is KINDS.OVERSIZE
    assert "Limits.Exceeded" in verdict.reason


# -- many at once ----------------------------------------------------------------------


def test_no_verdict_is_another_files(server: RunningClamd) -> None:
    """pyclamd's own client, shared by threads, swapped them."""
    chance = random.Random(1)
    files = [
        (number, chance.randbytes(chance.randrange(40_000)), number % 3 == 0)
        for number in range(320)
    ]
    with asked(server.unix) as ask, ThreadPoolExecutor(16) as pool:

        def scan(file: tuple[int, bytes, bool]) -> bool:
            _, octets, is_bad = file
            verdict = ask.scan(subject(octets + MARKER * is_bad + octets))
            wanted = (KINDS.INFECTED, MARKED) if is_bad else (KINDS.CLEAN, "")
            return (verdict.kind, verdict.name) == wanted

        assert all(pool.map(scan, files))


def test_32_questions_at_once_are_answered(server: RunningClamd) -> None:
    with asked(server.tcp) as ask:
        waiting = [
            ask.stations.ask({"1": Question(subject(b"%d" % n), (ask.spec,))})
            for n in range(32)
        ]
        kinds = {str(one.result(30)["1"][0].kind) for one in waiting}
    assert kinds == {"clean"}


def test_it_answers_pings_while_all_its_threads_scan(tmp_path: Path) -> None:
    """Else a busy clamd would look like one that hangs."""

    async def ping_beside_scans(address: str) -> None:
        scanner = Clamd("clam", address, 1 << 30, 30.0)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))
        go_on = threading.Event()

        def chunks() -> Iterator[bytes]:
            yield b"half"
            assert go_on.wait(20)
            yield b"half"

        scans = [
            asyncio.create_task(scanner.scan(Subject(chunks, 8, "0"))) for _ in range(6)
        ]
        busy = [
            asyncio.create_task(scanner.scan(subject(random.randbytes(20 << 20))))
            for _ in range(2)
        ]
        async with asyncio.timeout(10):
            for _ in range(5):
                await scanner.ping()
        go_on.set()
        found = await asyncio.gather(*scans, *busy)
        assert {one.kind for one in found} == {KINDS.CLEAN}

    with clamd(tmp_path, threads=1) as running:
        asyncio.run(ping_beside_scans(running.unix))


# -- what befalls it -------------------------------------------------------------------


def deadly(server: RunningClamd) -> Subject:
    """Return a file in the middle of which clamd dies."""

    def chunks() -> Iterator[bytes]:
        yield MARKER * 10_000
        if server.process.alive:
            server.kill()
        yield MARKER * 100_000

    size = len(MARKER) * 110_000
    return Subject(chunks, size, "d" * 64)


def test_a_death_in_mid_scan_is_no_verdict_and_not_tried_again(
    mortal: RunningClamd,
) -> None:
    with asked(mortal.unix) as ask:
        assert ask.scan(subject(b"before")).kind is KINDS.CLEAN
        assert ask.scan(deadly(mortal)).kind is KINDS.FAILED
        began = time.monotonic()
        assert ask.scan(subject(b"after")).kind is KINDS.UNAVAILABLE
        assert time.monotonic() - began < 0.5
        mortal.restart()
        ask.wait_until_asked_again(2.5)
        again = ask.scan(deadly(mortal))
        assert (again.kind, mortal.process.alive) == (KINDS.FAILED, True)
        assert ask.scan(subject(b"after")).kind is KINDS.CLEAN


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_of_many_files_at_its_death_none_is_clean_and_each_is_scanned_again(
    mortal: RunningClamd, kind: str
) -> None:
    """Nobody knows which of them it was."""
    with asked(getattr(mortal, kind)) as ask, ThreadPoolExecutor(8) as pool:
        all_begun, killed = threading.Barrier(9), threading.Event()

        def half_sent(number: int) -> Subject:
            whole = MARKER * 100_000 + b"%d" % number

            def chunks() -> Iterator[bytes]:
                yield whole[:100_000]
                if not killed.is_set():
                    all_begun.wait(10)
                    assert killed.wait(10)
                yield whole[100_000:]

            return Subject(chunks, len(whole), f"{number:064x}")

        files = [half_sent(number) for number in range(8)]
        scans = [pool.submit(ask.scan, file) for file in files]
        all_begun.wait(10)
        mortal.kill()
        killed.set()
        kinds = {scan.result(10).kind for scan in scans}
        assert kinds <= {KINDS.FAILED, KINDS.UNAVAILABLE}
        mortal.restart()
        ask.wait_until_asked_again(2.5)
        assert {ask.scan(file).name for file in files} == {MARKED}


def test_one_that_hangs_is_found_out_and_found_again(mortal: RunningClamd) -> None:
    with asked(mortal.unix) as ask, ThreadPoolExecutor(40) as pool:
        assert ask.scan(subject(b"before")).kind is KINDS.CLEAN
        mortal.stop()
        began = time.monotonic()
        files = [subject(b"%d" % number) for number in range(40)]
        kinds = {one.kind for one in pool.map(ask.scan, files)}
        assert kinds == {KINDS.UNAVAILABLE}
        assert time.monotonic() - began < 5
        assert ask.state() == "open"
        mortal.cont()
        ask.wait_until_asked_again(2.5)
        assert ask.scan(subject(EICAR)).kind is KINDS.INFECTED
        assert ask.state() == "closed"


def test_a_second_clamd_takes_over(mortal: RunningClamd, server: RunningClamd) -> None:
    with asked(mortal.unix, server.unix) as ask:
        assert ask.scan(subject(EICAR)).name == EICAR_NAME
        mortal.kill()
        assert ask.scan(subject(EICAR)).name == EICAR_NAME
        states = [told[2] for told in ask.stations.health()]
        assert states == ["open", "closed"]


def test_a_socket_that_was_never_there_is_found_once_it_is(
    mortal: RunningClamd,
) -> None:
    mortal.kill()
    shutil.rmtree(mortal.folder / "tmp")
    (mortal.folder / "tmp").mkdir()
    (mortal.folder / "clamd.sock").unlink()
    with asked(mortal.unix) as ask:
        assert ask.scan(subject(EICAR)).kind is KINDS.UNAVAILABLE
        mortal.restart()
        ask.wait_until_asked_again(2.5)
        assert ask.scan(subject(EICAR)).kind is KINDS.INFECTED
