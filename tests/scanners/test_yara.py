"""YARA in its processes: what is found, what hangs, what ends."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners.yara import PROCESSES, Yara
from tests.integration.bed.process import tree
from tests.scanners.subjects import EICAR, subject, unreadable
from tests.waiting import until


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path


LARGE = subject(bytes(1 << 20))
ENDLESS = """rule endless {
    condition:
        for any i in (0..filesize) : (
            for any j in (0..filesize) : (uint8(i) == 1 and uint8(j) == 2 and i == j)
        )
}"""


def yara(rules: object = "", timeout: float = 30.0) -> Yara:
    return Yara("yara", str(rules), 30 << 20, timeout)


def scanned(scanner: Yara, octets: bytes) -> Verdict:
    return asyncio.run(scanner.scan(subject(octets)))


def run(test: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(test(), debug=True)


def children() -> set[int]:
    """Return the processes that are ours, also those that nobody has waited for."""
    return set(tree(os.getpid())) - {os.getpid()}


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    gc.collect()
    before = children()
    yield
    gc.collect()
    assert children() <= before


def test_what_matches_is_infected_by_the_name_of_the_rule() -> None:
    verdict = scanned(yara(), EICAR)
    assert verdict == Verdict(
        "yara", VerdictKind.INFECTED, "EICAR_Test_File", "EICAR_Test_File"
    )


def test_what_does_not_is_clean() -> None:
    assert scanned(yara(), b"hello") == Verdict("yara", VerdictKind.CLEAN)


def test_the_first_rule_gives_the_name_and_all_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(
        "rule one { condition: true } rule two { condition: true }"
    )
    verdict = scanned(yara(tmp_path), b"")
    assert (verdict.name, verdict.reason) == ("one", "one, two")


def test_what_is_larger_than_the_rules_allow_is_not_looked_at() -> None:
    before = children()
    assert scanned(Yara("yara", "", 67, 30.0), EICAR).kind is VerdictKind.OVERSIZE
    assert children() == before


def test_large_files_are_looked_through_to_their_end(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text('rule end { strings: $a = "behind" condition: $a }')
    octets = bytes(20 << 20) + b"behind"
    assert scanned(yara(tmp_path), octets).name == "end"


def test_one_process_answers_many_questions() -> None:
    async def test() -> None:
        scanner = yara()
        before = children()
        for _ in range(20):
            assert (await scanner.scan(subject(EICAR))).name == "EICAR_Test_File"
        assert len(children() - before) == 1

    run(test)


def test_many_at_once_share_a_few_processes_and_none_is_swapped() -> None:
    async def test() -> None:
        scanner = yara()
        before = children()
        files = [EICAR if number % 3 else b"%d" % number for number in range(60)]
        found = await asyncio.gather(*(scanner.scan(subject(one)) for one in files))
        wanted = ["infected" if one == EICAR else "clean" for one in files]
        assert [str(one.kind) for one in found] == wanted
        assert len(children() - before) <= PROCESSES

    run(test)


def test_faulty_rules_are_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text("rule a {\n condition: nobody }")
    with pytest.raises(ScanError, match=r"a\.yar:2:"):
        scanned(yara(tmp_path), b"hello")


def test_rules_that_became_faulty_are_logged_once_and_those_before_stay(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "a.yar"
    file.write_text("rule one { condition: true }")

    async def test() -> None:
        scanner = yara(file)
        assert (await scanner.scan(subject(b"x"))).name == "one"
        file.write_text("rule two {")
        async with asyncio.timeout(10):
            while not caplog.records:
                assert (await scanner.scan(subject(b"x"))).name == "one"
        await scanner.scan(subject(b"x"))

    run(test)
    (record,) = (one for one in caplog.records if one.name.startswith("smtpguard"))
    assert f"{file}:1:" in record.getMessage()


def test_a_ping_is_always_answered(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text("rule a {")
    asyncio.run(yara(tmp_path).ping())


def test_a_file_that_cannot_be_read_is_not_scanned_in_part() -> None:
    with pytest.raises(OSError, match="Input/output"):
        asyncio.run(yara().scan(unreadable(EICAR)))


@pytest.mark.parametrize("size", [67, 69])
def test_a_file_that_is_longer_or_shorter_than_it_was_is_not_scanned(size: int) -> None:
    with pytest.raises(ScanError, match="not scanned whole"):
        asyncio.run(yara().scan(replace(subject(EICAR), size=size)))


# -- time ------------------------------------------------------------------------------


def test_rules_that_take_too_long_end_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(ENDLESS)
    scanner = yara(tmp_path, timeout=1)
    with pytest.raises(ScannerTimeoutError):
        asyncio.run(scanner.scan(LARGE))


def test_while_rules_take_long_all_else_goes_on(tmp_path: Path) -> None:
    """yara-x holds the interpreter's lock all the while."""
    (tmp_path / "a.yar").write_text(ENDLESS)

    async def test() -> None:
        scanner = yara(tmp_path, timeout=1)
        scan = asyncio.create_task(scanner.scan(LARGE))
        longest = 0.0
        while not scan.done():
            began = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - began)
        assert isinstance(scan.exception(), ScannerTimeoutError)
        assert longest < 0.5

    run(test)


def test_a_scan_that_nobody_waits_for_ends_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(ENDLESS)

    async def test() -> None:
        scanner = yara(tmp_path)
        before, threads = children(), threading.active_count()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(scanner.scan(LARGE), 0.3)
        assert children() == before
        (tmp_path / "a.yar").write_text("rule fast { condition: true }")
        assert (await scanner.scan(LARGE)).name == "fast"
        assert threading.active_count() <= threads + 2

    run(test)


# -- ends ------------------------------------------------------------------------------


def test_a_process_that_dies_in_mid_scan_has_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(ENDLESS)

    async def test() -> None:
        scanner = yara(tmp_path)
        before = children()
        scan = asyncio.create_task(scanner.scan(LARGE))
        await until(lambda: bool(children() - before))
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ScannerDiedError):
            await scan

    run(test)


def test_a_process_that_died_meanwhile_is_replaced_and_no_file_is_blamed() -> None:
    async def test() -> None:
        scanner = yara()
        before = children()
        await scanner.scan(subject(b"hello"))
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert (await scanner.scan(subject(EICAR))).name == "EICAR_Test_File"

    run(test)


def test_where_no_process_can_be_started_nobody_is_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(ScannerUnavailableError):
        scanned(yara(), b"hello")
