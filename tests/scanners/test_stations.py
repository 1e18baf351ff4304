"""All scanners together, asked from any thread, within their time."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import ScanError, ScannerUnavailableError
from smtpguard.model.scan import Question, Told
from smtpguard.model.scannerspec import ScannerSpec
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.scanners import station as station_module
from smtpguard.scanners import stations as stations_module
from smtpguard.scanners.stations import AT_ONCE, MAKERS, Stations
from tests.scanners.fakeclamd import fake_clamd, says
from tests.scanners.fakeclamd import hangs as clamd_hangs
from tests.scanners.fakescanner import (
    CLEAN,
    INFECTED,
    OVERSIZE,
    FakeScanner,
    hangs,
    will_not_end,
)
from tests.scanners.subjects import EICAR, subject


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.model.scan import Subject
    from smtpguard.scanners.base import Scanner


FILE = subject(b"a file")
KINDS = VerdictKind


def spec(name: str, **values: object) -> ScannerSpec:
    return ScannerSpec(name, "clamd", ("127.0.0.1:1",), **values)  # type: ignore[arg-type]


def question(*names: str, of: Subject = FILE) -> Question:
    return Question(of, tuple(spec(name) for name in names))


class Fakes:
    """Makes the fakes of a test, by name, and remembers how often."""

    def __init__(self, **fakes: FakeScanner | Exception) -> None:
        self.fakes = fakes
        self.made: list[str] = []

    def __call__(self, of: ScannerSpec, _: str) -> Scanner:
        self.made.append(of.name)
        fake = self.fakes[of.name]
        if isinstance(fake, Exception):
            raise fake
        return fake


@contextmanager
def stations(**fakes: FakeScanner | Exception) -> Iterator[tuple[Stations, Fakes]]:
    make = Fakes(**fakes)
    made = Stations({"clamd": make})
    try:
        yield made, make
    finally:
        made.stop()


def kinds(verdicts: tuple[Verdict, ...]) -> list[str]:
    return [str(verdict.kind) for verdict in verdicts]


def test_each_question_has_its_answers() -> None:
    with stations(a=FakeScanner(CLEAN), b=FakeScanner(INFECTED)) as (asked, _):
        other = subject(b"another file")
        found = asked.ask(
            {"2": question("a"), "1": question("b", of=other), "3": question("b")}
        ).result(5)
    assert list(found) == ["2", "1", "3"]
    assert [kinds(one) for one in found.values()] == [
        ["clean"],
        ["infected"],
        ["infected"],
    ]


def test_no_question_has_no_answer() -> None:
    with stations() as (asked, _):
        assert asked.ask({}).result(5) == {}


def test_the_first_that_says_something_of_the_content_is_believed() -> None:
    gone = FakeScanner(ScannerUnavailableError("refused"))
    failing, small = FakeScanner(ScanError("garbage")), FakeScanner(OVERSIZE)
    sound, unasked = FakeScanner(INFECTED), FakeScanner(CLEAN)
    with stations(a=gone, b=failing, c=small, d=sound, e=unasked) as (asked, _):
        found = asked.ask({"1": question("a", "b", "c", "d", "e")}).result(5)["1"]
    assert kinds(found) == ["unavailable", "failed", "oversize", "infected"]
    assert unasked.scanned == []


def test_the_same_content_is_asked_about_once() -> None:
    fake = FakeScanner(INFECTED)
    with stations(a=fake) as (asked, _):
        told = subject(b"a file")
        found = asked.ask({"1": question("a"), "2": question("a", of=told)}).result(5)
    assert [kinds(one) for one in found.values()] == [["infected"]] * 2
    assert len(fake.scanned) == 1


def test_the_same_content_told_otherwise_is_another_question() -> None:
    fake = FakeScanner(CLEAN)
    with stations(a=fake) as (asked, _):
        told = replace(FILE, told=Told(client="192.0.2.1"))
        asked.ask({"1": question("a"), "2": question("a", of=told)}).result(5)
    assert len(fake.scanned) == 2


def test_a_message_of_many_parts_leaves_a_scanner_to_others_as_well() -> None:
    async def takes_a_while() -> Verdict:
        await asyncio.sleep(0.01)
        return CLEAN

    fake = FakeScanner(takes_a_while)
    with stations(a=fake) as (asked, _):
        files = {str(n): question("a", of=subject(b"%d" % n)) for n in range(20)}
        asked.ask(files).result(5)
        assert fake.most == AT_ONCE
        [one, two] = [asked.ask(dict(list(files.items())[:5])) for _ in range(2)]
        one.result(5), two.result(5)
    assert fake.most > AT_ONCE


@pytest.mark.parametrize("deed", [hangs, will_not_end])
def test_all_is_answered_in_time_whatever_scanners_do(
    deed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stations_module, "SCAN_SECONDS", 0.3)
    monkeypatch.setattr(stations_module, "STOP_SECONDS", 0.2)
    slow, unasked = FakeScanner(deed), FakeScanner(CLEAN)  # type: ignore[arg-type]
    with stations(a=slow, b=unasked) as (asked, _):
        began = time.monotonic()
        files = {str(n): question("a", "b", of=subject(b"%d" % n)) for n in range(40)}
        found = asked.ask(files).result(5)
        assert time.monotonic() - began < 1.5
        assert len(found) == 40
        assert all(one[0].kind is KINDS.FAILED for one in found.values())


@pytest.mark.parametrize("error", [ValueError("bug"), OSError(2, "none"), KeyError(1)])
def test_a_scanner_that_cannot_be_made_is_a_failure_and_the_next_is_asked(
    error: Exception,
) -> None:
    with stations(a=error, b=FakeScanner(INFECTED)) as (asked, _):
        found = asked.ask({"1": question("a", "b")}).result(5)["1"]
    assert kinds(found) == ["failed", "infected"]


def test_a_type_that_nobody_makes_is_a_failure() -> None:
    asked = Stations({})
    try:
        found = asked.ask({"1": question("a")}).result(5)["1"]
    finally:
        asked.stop()
    assert kinds(found) == ["failed"]


def test_a_scanner_is_made_once_for_all_threads() -> None:
    fakes = {"a": FakeScanner(CLEAN), "b": FakeScanner(INFECTED)}
    with stations(**fakes) as (asked, make), ThreadPoolExecutor(16) as pool:

        def ask(number: int) -> list[str]:
            name = "ab"[number % 2]
            of = subject(b"%d" % number)
            return kinds(asked.ask({"1": question(name, of=of)}).result(5)["1"])

        found = list(pool.map(ask, range(200)))
    assert found == [["clean"], ["infected"]] * 100
    assert sorted(make.made) == ["a", "b"]


def test_whoever_gives_up_his_question_gives_up_the_scan() -> None:
    given_up = threading.Event()

    async def notes_its_end() -> Verdict:
        try:
            return await hangs()
        finally:
            given_up.set()

    scanner = FakeScanner(notes_its_end)
    with stations(a=scanner) as (asked, _):

        async def ask() -> None:
            waiting = asyncio.wrap_future(asked.ask({"1": question("a")}))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting, 0.05)

        asyncio.run(ask())
        assert given_up.wait(5)


# -- what is known of them -------------------------------------------------------------


def test_health_tells_of_each_that_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(station_module, "PROBE_SECONDS", (60.0,))
    gone = FakeScanner(ScannerUnavailableError("refused"))
    with stations(a=gone, b=FakeScanner(), c=FakeScanner()) as (asked, _):
        assert asked.health() == []
        asked.ask({"1": question("a", "b")}).result(5)
        assert asked.health() == [
            ("a", "127.0.0.1:1", "open", "refused"),
            ("b", "127.0.0.1:1", "closed", ""),
        ]


def test_health_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stations_module, "HEALTH_SECONDS", 0.01)

    async def never(_: object) -> list[tuple[str, str, str, str]]:
        await asyncio.sleep(0.5)
        return []

    monkeypatch.setattr(stations_module._Desk, "health", never)
    with stations(a=FakeScanner()) as (asked, _):
        asked.ask({"1": question("a")}).result(5)
        assert asked.health() == [("scanners", "", "open", "no answer in time")]


def test_a_reload_keeps_what_is_known_of_the_same_scanner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(station_module, "PROBE_SECONDS", (60.0,))
    gone = FakeScanner(ScannerUnavailableError("refused"))
    with stations(a=gone, b=gone) as (asked, make):
        asked.ask({"1": question("a"), "2": question("b")}).result(5)
        asked.keep(frozenset({spec("a"), spec("b", timeout=3.0)}))
        assert [told[:3] for told in asked.health()] == [("a", "127.0.0.1:1", "open")]
        changed = Question(FILE, (spec("a"), spec("b", timeout=3.0)))
        asked.ask({"1": changed}).result(5)
    assert make.made == ["a", "b", "b"]
    assert len(gone.scanned) == 3


def test_a_reload_leaves_scans_under_way_alone() -> None:
    go_on, begun = threading.Event(), threading.Event()

    async def takes_its_time() -> Verdict:
        begun.set()
        await asyncio.to_thread(go_on.wait, 5)
        return INFECTED

    with stations(a=FakeScanner(takes_its_time)) as (asked, _):
        waiting = asked.ask({"1": question("a")})
        assert begun.wait(5)
        asked.keep(frozenset())
        assert asked.health() == []
        go_on.set()
        assert kinds(waiting.result(5)["1"]) == ["infected"]


def test_reloads_one_upon_the_other_forget_each_scanner_once() -> None:
    fakes = {f"s{number}": FakeScanner() for number in range(20)}
    for fake in fakes.values():
        fake.goes()
    with stations(**fakes) as (asked, _):
        for _ in range(3):
            asked.ask({"1": question(*fakes)}).result(5)
            for _ in range(3):
                asked.keep(frozenset())
            assert asked.health() == []


def test_nothing_is_started_before_somebody_asks() -> None:
    before = threading.active_count()
    asked = Stations()
    asked.keep(frozenset())
    assert asked.health() == []
    asked.stop()
    assert threading.active_count() == before


# -- the end ---------------------------------------------------------------------------


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if "smtpguard" in one.name]


def test_stop_answers_what_is_under_way_and_ends_the_thread() -> None:
    begun = threading.Event()

    async def begins() -> Verdict:
        begun.set()
        return await hangs()

    with stations(a=FakeScanner(begins), b=FakeScanner()) as (asked, _):
        waiting = [
            asked.ask({"1": question("a", "b", of=subject(b"%d" % n))})
            for n in range(20)
        ]
        assert begun.wait(5)
        asked.stop()
        found = [one.result(0)["1"] for one in waiting]
    assert {tuple(kinds(one)) for one in found} == {("unavailable", "unavailable")}
    assert "smtpguard scans" not in threads()


def test_stop_cuts_scans_by_clamd() -> None:
    with fake_clamd(clamd_hangs) as server:
        asked = Stations()
        of = ScannerSpec("clam", "clamd", (server.address,))
        waiting = asked.ask({"1": Question(FILE, (of,))})
        assert server.connected.wait(5)
        asked.stop()
        assert kinds(waiting.result(0)["1"]) == ["unavailable"]
        assert server.left.wait(5)


def test_stop_waits_only_so_long_for_one_that_will_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stations_module, "STOP_SECONDS", 0.1)
    begun, over = threading.Event(), threading.Event()

    async def blocks() -> Verdict:
        begun.set()
        over.wait(5)
        return CLEAN

    asked = Stations({"clamd": lambda _, __: FakeScanner(blocks)})
    waiting = asked.ask({"1": question("a")})
    assert begun.wait(5)
    began = time.monotonic()
    asked.stop()
    assert time.monotonic() - began < 2
    over.set()
    assert kinds(waiting.result(5)["1"]) == ["clean"]


def test_whoever_asks_after_the_end_starts_anew() -> None:
    with stations(a=FakeScanner(INFECTED)) as (asked, make):
        for _ in range(3):
            found = asked.ask({"1": question("a")}).result(5)
            assert kinds(found["1"]) == ["infected"]
            asked.stop()
            asked.stop()
    assert make.made == ["a"] * 3


def test_no_question_is_lost_while_others_stop_and_ask() -> None:
    with stations(a=FakeScanner(CLEAN)) as (asked, _), ThreadPoolExecutor(8) as pool:

        def ask(number: int) -> str:
            if number % 10 == 0:
                asked.stop()
            of = subject(b"%d" % number)
            return kinds(asked.ask({"1": question("a", of=of)}).result(5)["1"])[0]

        found = list(pool.map(ask, range(200)))
    assert set(found) <= {"clean", "unavailable"}
    assert found.count("clean") > 100


# -- those of the rules ----------------------------------------------------------------


def test_the_rules_types_are_made() -> None:
    clean = b"stream: OK\n"
    with fake_clamd(says(clean)) as server:
        asked = Stations(MAKERS)
        try:
            clamd = ScannerSpec("clam", "clamd", (server.address,))
            yara = ScannerSpec("yara", "yara")
            question = Question(subject(EICAR), (clamd,))
            both = Question(subject(EICAR), (yara, clamd))
            found = asked.ask({"1": question, "2": both}).result(10)
        finally:
            asked.stop()
    assert kinds(found["1"]) == ["clean"]
    assert kinds(found["2"]) == ["infected"]
    assert found["2"][0].name == "EICAR_Test_File"
