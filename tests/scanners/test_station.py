"""Addresses, breakers, turns and deadlines of one scanner."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import (
    ScanError,
    ScannerDiedError,
    ScannerTimeoutError,
    ScannerUnavailableError,
)
from smtpguard.model.scannerspec import ScannerSpec
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners import station as station_module
from smtpguard.scanners.base import guard
from smtpguard.scanners.station import Post, Station
from tests.scanners.fakescanner import (
    CLEAN,
    INFECTED,
    OVERSIZE,
    FakeScanner,
    hangs,
    will_not_end,
)
from tests.scanners.subjects import subject
from tests.waiting import until


if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


FILE, OTHER = subject(b"a file"), subject(b"another file")


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_module, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(station_module, "PING_SECONDS", 0.1)
    monkeypatch.setattr(station_module, "PROBE_SECONDS", (0.01, 0.02))


def station(
    *scanners: FakeScanner,
    timeout: float = 5.0,
    concurrency: int = 8,
) -> Station:
    addresses = tuple(f"127.0.0.1:{number}" for number in range(1, len(scanners) + 1))
    spec = ScannerSpec(
        "fake", "clamd", addresses, timeout=timeout, concurrency=concurrency
    )
    posts = zip(addresses, scanners, strict=True)
    return Station(spec, tuple(Post(address, one) for address, one in posts))


def run(test: Callable[[], Coroutine[object, object, None]]) -> None:
    """Run a test with asyncio's own checks; nothing may be left behind."""

    async def checked() -> None:
        await test()
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(checked(), debug=True)


async def failure(asked: Station, of: object = FILE) -> ScanError:
    with pytest.raises(ScanError) as caught:
        await asked.scan(FILE if of is FILE else OTHER)
    return caught.value


# -- addresses -------------------------------------------------------------------------


def test_the_first_address_that_is_there_is_asked() -> None:
    async def test() -> None:
        first, second = FakeScanner(), FakeScanner(INFECTED)
        asked = station(first, second)
        assert await asked.scan(FILE) == CLEAN
        first.goes()
        assert await asked.scan(FILE) == INFECTED
        assert await asked.scan(FILE) == INFECTED
        assert len(first.scanned) == 2
        await asked.close()

    run(test)


def test_where_all_are_gone_the_reasons_are_told_and_nobody_is_asked() -> None:
    async def test() -> None:
        first, second = FakeScanner(), FakeScanner()
        asked = station(first, second)
        first.goes()
        second.goes()
        for _ in range(3):
            error = await failure(asked)
            assert isinstance(error, ScannerUnavailableError)
            assert str(error).count("refused") == 2
        assert len(first.scanned) == len(second.scanned) == 1
        await asked.close()

    run(test)


def test_a_first_address_that_is_back_is_asked_again() -> None:
    async def test() -> None:
        first, second = FakeScanner(INFECTED), FakeScanner()
        asked = station(first, second)
        first.goes()
        assert await asked.scan(FILE) == CLEAN
        first.comes_back(INFECTED)
        await until(lambda: not asked.posts[0].breaker.is_open)
        assert await asked.scan(FILE) == INFECTED
        await asked.close()

    run(test)


# -- failures --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["garbage", "late"])
def test_three_failures_in_a_row_open_the_breaker(how: str) -> None:
    async def test() -> None:
        failing = FakeScanner(ScanError("garbage") if how == "garbage" else hangs)
        asked = station(failing, timeout=0.02)
        for count in range(3):
            assert not asked.posts[0].breaker.is_open, count
            wanted = ScannerTimeoutError if how == "late" else ScanError
            assert type(await failure(asked)) is wanted
        failing.pinging = ScanError("no")
        assert asked.posts[0].breaker.is_open
        assert type(await failure(asked)) is ScannerUnavailableError
        assert len(failing.scanned) == 3
        await asked.close()

    run(test)


def test_a_verdict_between_failures_keeps_the_breaker_closed() -> None:
    async def test() -> None:
        bad = ScanError("garbage")
        asked = station(FakeScanner(bad, bad, CLEAN, bad, bad, INFECTED))
        for _ in range(2):
            await failure(asked)
            await failure(asked)
            await asked.scan(FILE)
        assert asked.health() == [("127.0.0.1:1", "closed", "")]

    run(test)


def test_oversize_says_nothing_of_whether_the_scanner_works() -> None:
    async def test() -> None:
        bad = ScanError("garbage")
        asked = station(FakeScanner(bad, OVERSIZE, bad, OVERSIZE, bad))
        for _ in range(2):
            await failure(asked)
            assert await asked.scan(FILE) == OVERSIZE
        await failure(asked)
        assert asked.posts[0].breaker.is_open
        await asked.close()

    run(test)


def test_a_file_that_cannot_be_read_is_not_the_scanners_failure() -> None:
    async def test() -> None:
        asked = station(FakeScanner(OSError(5, "Input/output error")))
        for _ in range(5):
            with pytest.raises(OSError, match="Input/output"):
                await asked.scan(FILE)
        assert asked.health() == [("127.0.0.1:1", "closed", "")]

    run(test)


def test_the_third_that_is_late_goes_to_the_next_address() -> None:
    async def test() -> None:
        second = FakeScanner(INFECTED)
        asked = station(FakeScanner(hangs), second, timeout=0.02)
        for _ in range(2):
            assert type(await failure(asked)) is ScannerTimeoutError
        assert await asked.scan(FILE) == INFECTED
        await asked.close()

    run(test)


# -- hanging ---------------------------------------------------------------------------


def test_all_scans_of_one_that_hangs_are_answered_soon() -> None:
    async def test() -> None:
        hanging = FakeScanner(hangs)
        hanging.pinging = hangs
        asked = station(hanging, timeout=30, concurrency=4)
        began = time.monotonic()
        scans = [guard("fake", asked.scan(FILE), 30) for _ in range(100)]
        verdicts = await asyncio.gather(*scans)
        assert {one.kind for one in verdicts} == {VerdictKind.UNAVAILABLE}
        # One look and one question that nobody answers; all others at once.
        assert time.monotonic() - began < 1
        assert len(hanging.scanned) == 4
        await asked.close()

    run(test)


def test_scans_of_one_that_hangs_go_to_the_next_address() -> None:
    async def test() -> None:
        hanging, second = FakeScanner(hangs), FakeScanner(INFECTED)
        hanging.pinging = hangs
        asked = station(hanging, second, timeout=30)
        async with asyncio.timeout(2):
            assert await asked.scan(FILE) == INFECTED
        await asked.close()

    run(test)


def test_a_long_scan_is_not_given_up_while_the_scanner_answers() -> None:
    async def test() -> None:
        async def takes_long() -> Verdict:
            await until(lambda: scanner.pings >= 3)
            return INFECTED

        scanner = FakeScanner(takes_long)
        assert await station(scanner).scan(FILE) == INFECTED

    run(test)


def test_the_breaker_closes_once_it_is_back() -> None:
    async def test() -> None:
        scanner = FakeScanner()
        asked = station(scanner)
        scanner.goes()
        await failure(asked)
        await until(lambda: scanner.pings >= 3)
        assert asked.health() == [("127.0.0.1:1", "open", "refused")]
        scanner.comes_back()
        await until(lambda: not asked.posts[0].breaker.is_open)
        assert asked.health() == [("127.0.0.1:1", "trial", "refused")]
        assert await asked.scan(FILE) == CLEAN
        assert asked.health() == [("127.0.0.1:1", "closed", "")]

    run(test)


def test_one_failure_after_it_was_away_opens_the_breaker_again() -> None:
    async def test() -> None:
        scanner = FakeScanner()
        asked = station(scanner)
        scanner.goes()
        await failure(asked)
        scanner.comes_back(ScanError("garbage"))
        await until(lambda: not asked.posts[0].breaker.is_open)
        await failure(asked)
        assert asked.posts[0].breaker.is_open
        await asked.close()

    run(test)


def test_one_that_is_gone_is_looked_for_by_one_task() -> None:
    async def test() -> None:
        async def answered_late() -> Verdict:
            await go_on.wait()
            return CLEAN

        go_on = asyncio.Event()
        gone = ScannerUnavailableError("refused")
        scanner = FakeScanner(answered_late, gone, gone)
        scanner.pinging = gone
        asked = station(scanner)
        late = asyncio.create_task(asked.scan(FILE))
        await until(lambda: scanner.running == 1)
        await failure(asked)
        first = asked.posts[0].probing
        go_on.set()
        assert await late == CLEAN
        await failure(asked)
        assert asked.posts[0].probing is first
        await asked.close()

    run(test)


# -- turns -----------------------------------------------------------------------------


def test_no_more_scans_run_than_the_rules_allow() -> None:
    async def test() -> None:
        scanner = FakeScanner()
        asked = station(scanner, concurrency=3)
        await asyncio.gather(*(asked.scan(FILE) for _ in range(50)))
        assert len(scanner.scanned) == 50
        assert scanner.most == 3

    run(test)


def test_whoever_gets_no_turn_in_time_is_told_so_and_it_is_no_failure() -> None:
    async def test() -> None:
        async def takes_its_time() -> Verdict:
            await go_on.wait()
            return CLEAN

        go_on = asyncio.Event()
        scanner = FakeScanner(takes_its_time)
        asked = station(scanner, timeout=0.2, concurrency=1)
        first = asyncio.create_task(asked.scan(FILE))
        await until(lambda: scanner.running == 1)
        waiting = [asyncio.create_task(failure(asked)) for _ in range(5)]
        await asyncio.sleep(0.1)
        go_on.set()
        go_on = asyncio.Event()
        assert await first == CLEAN
        errors = await asyncio.gather(*waiting)
        assert sum("busy" in str(error) for error in errors) >= 3
        assert len(scanner.scanned) + sum("busy" in str(e) for e in errors) == 6

    run(test)


# -- whoever asks, goes ----------------------------------------------------------------


@pytest.mark.parametrize("by", ["deadline", "cancel"])
def test_whoever_goes_leaves_nothing_behind_and_blames_nobody(by: str) -> None:
    async def test() -> None:
        scanner = FakeScanner(hangs)
        asked = station(scanner, timeout=30, concurrency=1)
        for _ in range(5):
            if by == "deadline":
                found = await guard("fake", asked.scan(FILE), 0.02)
                assert found.kind is VerdictKind.FAILED
            else:
                task = asyncio.create_task(asked.scan(FILE))
                await until(lambda: scanner.running == 1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        await asyncio.sleep(0)
        assert scanner.running == 0
        assert asked.health() == [("127.0.0.1:1", "closed", "")]
        scanner.comes_back()
        assert await asked.scan(FILE) == CLEAN

    run(test)


def test_whoever_goes_while_waiting_for_a_turn_takes_none() -> None:
    async def test() -> None:
        scanner = FakeScanner(hangs)
        asked = station(scanner, timeout=30, concurrency=1)
        first = asyncio.create_task(asked.scan(FILE))
        await until(lambda: scanner.running == 1)
        waiting = [asyncio.create_task(asked.scan(FILE)) for _ in range(3)]
        await asyncio.sleep(0)
        for one in (*waiting, first):
            one.cancel()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        scanner.comes_back()
        assert await asked.scan(FILE) == CLEAN
        assert len(scanner.scanned) == 2

    run(test)


@pytest.mark.parametrize("order", ["watch first", "caller first"])
def test_the_callers_end_counts_though_the_scan_is_given_up_as_well(order: str) -> None:
    """A swallowed cancel would let it go on, beyond the deadline, at the next one."""

    async def test() -> None:
        hanging, second = FakeScanner(hangs), FakeScanner()
        asked = station(hanging, second, timeout=30)
        task = asyncio.create_task(asked.scan(FILE))
        await until(lambda: hanging.running == 1)
        post = asked.posts[0]
        post.breaker.failed("it answers nobody", is_gone=True)
        (scan,) = post.scans
        for one in (scan, task) if order == "watch first" else (task, scan):
            one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert second.scanned == []

    run(test)


def test_a_deadline_at_the_moment_of_the_watchs_holds() -> None:
    async def test() -> None:
        hanging, second = FakeScanner(hangs), FakeScanner(hangs)
        hanging.pinging = ScannerUnavailableError("gone")
        for seconds in (0.09, 0.0995, 0.1, 0.1005, 0.101, 0.11):
            asked = station(hanging, second, timeout=30)
            began = time.monotonic()
            await guard("fake", asked.scan(FILE), seconds)
            assert time.monotonic() - began < seconds + 0.09
            await asked.close()

    run(test)


def test_a_scanner_that_will_not_end_keeps_nobody_waiting() -> None:
    async def test() -> None:
        scanner = FakeScanner(will_not_end)
        asked = station(scanner, timeout=0.05)
        async with asyncio.timeout(1):
            assert type(await failure(asked)) is ScannerTimeoutError
        await asyncio.sleep(0)
        (stubborn,) = asyncio.all_tasks() - {asyncio.current_task()}
        stubborn.cancel()

    run(test)


def test_how_an_abandoned_scan_ends_is_nobodys_surprise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        async def fails_at_the_end() -> Verdict:
            try:
                return await hangs()
            finally:
                raise ScannerDiedError("cut")

        scanner = FakeScanner(fails_at_the_end)
        await guard("fake", station(scanner).scan(FILE), 0.02)

    run(test)
    assert "never retrieved" not in caplog.text


# -- files that end it -----------------------------------------------------------------


def test_a_file_that_ended_it_is_not_handed_over_again_at_any_address() -> None:
    async def test() -> None:
        first, second = FakeScanner(ScannerDiedError("died")), FakeScanner()
        first.pinging = ScannerUnavailableError("refused")
        asked = station(first, second)
        assert type(await failure(asked)) is ScannerDiedError
        error = await failure(asked)
        assert type(error) is ScanError
        assert "before" in str(error)
        assert second.scanned == []
        assert await asked.scan(OTHER) == CLEAN
        await asked.close()

    run(test)


def test_a_file_that_waits_for_its_turn_is_not_handed_over_after_all() -> None:
    async def test() -> None:
        async def dies() -> Verdict:
            await go_on.wait()
            raise ScannerDiedError("died")

        go_on = asyncio.Event()
        first, second = FakeScanner(dies), FakeScanner()
        first.pinging = ScannerUnavailableError("refused")
        asked = station(first, second, concurrency=1)
        scans = [asyncio.create_task(failure(asked)) for _ in range(5)]
        await until(lambda: first.running == 1)
        go_on.set()
        await asyncio.gather(*scans)
        assert len(first.scanned) == 1
        assert second.scanned == []
        await asked.close()

    run(test)


def test_of_several_files_each_is_scanned_once_more() -> None:
    async def test() -> None:
        async def dies() -> Verdict:
            await both.wait()
            raise ScannerDiedError("died")

        both = asyncio.Barrier(2)
        scanner = FakeScanner(dies)
        asked = station(scanner)
        await asyncio.gather(failure(asked), failure(asked, OTHER))
        scanner.comes_back()
        await until(lambda: not asked.posts[0].breaker.is_open)
        assert await asked.scan(OTHER) == CLEAN
        scanner.comes_back(dies)
        await asyncio.gather(failure(asked), failure(asked, OTHER))
        scanner.comes_back()
        await until(lambda: not asked.posts[0].breaker.is_open)
        assert await asked.scan(OTHER) == CLEAN
        assert "before" in str(await failure(asked))

    run(test)


def test_one_that_was_given_up_is_not_guilty() -> None:
    async def test() -> None:
        scanner = FakeScanner(hangs)
        scanner.pinging = hangs
        asked = station(scanner)
        await failure(asked)
        scanner.comes_back()
        await until(lambda: not asked.posts[0].breaker.is_open)
        assert await asked.scan(FILE) == CLEAN

    run(test)


# -- the end ---------------------------------------------------------------------------


def test_close_answers_all_and_ends_everything() -> None:
    async def test() -> None:
        gone, hanging = FakeScanner(), FakeScanner(hangs)
        gone.goes()
        asked = station(gone, hanging, timeout=30, concurrency=2)
        scans = [asyncio.create_task(failure(asked)) for _ in range(5)]
        await until(lambda: hanging.running == 2)
        await asked.close()
        errors = await asyncio.gather(*scans)
        assert {type(error) for error in errors} == {ScannerUnavailableError}
        assert type(await failure(asked)) is ScannerUnavailableError

    run(test)


def test_retired_it_looks_for_nobody_but_ends_its_scans_well() -> None:
    async def test() -> None:
        async def takes_its_time() -> Verdict:
            await go_on.wait()
            return INFECTED

        go_on = asyncio.Event()
        gone, slow = FakeScanner(), FakeScanner(takes_its_time)
        gone.goes()
        asked = station(gone, slow, timeout=30)
        scan = asyncio.create_task(asked.scan(FILE))
        await until(lambda: slow.running == 1)
        await asked.retire()
        go_on.set()
        assert await scan == INFECTED
        slow.goes()
        await failure(asked)

    run(test)


def test_a_ping_that_will_not_end_stops_neither_the_others_nor_the_end() -> None:
    async def test() -> None:
        scanner = FakeScanner()
        asked = station(scanner)
        scanner.goes()
        await failure(asked)
        scanner.pinging = will_not_end
        await until(lambda: scanner.pings >= 3)
        async with asyncio.timeout(1):
            await asked.close()
        await asyncio.sleep(0)
        for ping in asyncio.all_tasks() - {asyncio.current_task()}:
            ping.cancel()

    run(test)
