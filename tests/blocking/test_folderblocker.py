from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpguard.blocking import firewall, folderblocker
from smtpguard.blocking.folderblocker import MAX_WAITING, FolderBlocker, named
from smtpguard.errors import BlockError
from smtpguard.policy.blockreader import BlockSettings, NftSets


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SETS = NftSets()


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., FolderBlocker]]:
    made: list[FolderBlocker] = []

    def call(sets: NftSets | None = None) -> FolderBlocker:
        settings = BlockSettings(str(tmp_path / "blocked"), 60.0, nftables=sets)
        made.append(FolderBlocker(settings, clock))
        return made[-1]

    yield call
    for one in made:
        one.stop()


def test_who_breaks_smtp_too_often_is_blocked(tmp_path: Path, clock: Clock) -> None:
    settings = BlockSettings(str(tmp_path / "blocked"), anomalies=2, within=60.0)
    blocker = FolderBlocker(settings, clock)
    assert blocker.strike("2001:db8:0:1::5", "a", firewall=True) == ""
    assert blocker.strike("192.0.2.1", "b", firewall=True) == ""
    said = blocker.strike("2001:db8:0:1::6", "c", firewall=True)
    assert said.startswith("client 2001:db8:0:1::/64 is blocked until ")
    assert said.endswith(" by block.anomalies")
    assert blocker.refusal("2001:db8:0:1::7")
    assert not blocker.refusal("192.0.2.1")
    [block] = blocker.blocks()
    assert (block.rule, block.transaction) == ("block.anomalies", "c")
    blocker.stop()


def test_nobody_is_counted_where_the_rules_do_not_say_so(
    make: Callable[..., FolderBlocker],
) -> None:
    blocker = make()
    assert [blocker.strike("192.0.2.1", "a", firewall=True) for _ in range(50)] == [
        ""
    ] * 50
    assert blocker.refusal("192.0.2.1") == ""


def done(blocker: FolderBlocker) -> None:
    """Wait for what is done beside the sessions."""
    blocker._executor.shutdown(wait=True)


def test_a_client_is_refused_for_the_time_and_then_let_in(
    make: Callable[..., FolderBlocker], clock: Clock
) -> None:
    blocker = make()
    assert blocker.refusal("192.0.2.1") == ""
    said = blocker.block("192.0.2.1", "rcpt_to:1", "5f3a.2", firewall=True)
    assert said.startswith("client 192.0.2.1 is blocked until 2023-11-1")
    assert said.endswith(" by rcpt_to:1")
    clock.now += 59
    assert blocker.refusal("192.0.2.1").startswith("client 192.0.2.1 is blocked until")
    assert blocker.refusal("192.0.2.2") == ""
    clock.now += 1
    assert blocker.refusal("192.0.2.1") == ""


def test_its_64_is_refused_with_it_by_every_process(
    make: Callable[..., FolderBlocker],
) -> None:
    one, other = make(), make()
    one.block("2001:db8::1", "r:1", "a.1", firewall=True)
    assert "is blocked" in other.refusal("2001:db8::2")
    assert other.refusal("2001:db8:0:1::1") == ""
    [block] = other.blocks()
    assert (block.network, block.rule) == ("2001:db8::/64", "r:1")


def test_a_folder_that_cannot_be_read_lets_everybody_in_and_is_logged_once(
    make: Callable[..., FolderBlocker],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocker = make()
    (tmp_path / "blocked").write_text("no folder")
    for _ in range(3):
        assert blocker.refusal("192.0.2.1") == ""
    [record] = caplog.records
    assert record.getMessage().startswith("block: clients are let in: ")
    said = blocker.block("192.0.2.1", "r:1", "a.1", firewall=True)
    assert said.startswith("client 192.0.2.1 cannot be blocked: ")
    (tmp_path / "blocked").unlink()
    assert blocker.refusal("192.0.2.1") == ""
    (tmp_path / "blocked").write_text("no folder again")
    assert blocker.refusal("192.0.2.1") == ""
    assert len(caplog.records) == 2
    for ask in (blocker.blocks, lambda: blocker.forget("192.0.2.1")):
        with pytest.raises(BlockError):
            ask()


def test_a_folder_that_cannot_be_made_is_a_warning_at_the_start(
    make: Callable[..., FolderBlocker],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make().start()
    assert (tmp_path / "blocked").is_dir()
    (tmp_path / "blocked").rmdir()
    (tmp_path / "blocked").touch()
    make().start()
    assert [one.levelno for one in caplog.records] == [logging.WARNING]


def test_the_firewall_is_told_beside_the_sessions(
    make: Callable[..., FolderBlocker], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[object, ...]] = []
    threads: set[threading.Thread] = set()

    def add(*about: object) -> None:
        told.append(about)
        threads.add(threading.current_thread())

    monkeypatch.setattr(firewall, "add", add)
    blocker = make(SETS)
    blocker.block("2001:db8::1", "r:1", "a.1", firewall=True)
    done(blocker)
    assert told == [(SETS, "2001:db8::/64", 60.0)]
    assert threads.isdisjoint({threading.current_thread()})


def test_where_others_share_the_network_the_firewall_is_not_told(
    make: Callable[..., FolderBlocker], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(firewall, "add", lambda *about: told.append(about))
    blocker = make(SETS)
    blocker.block("2001:db8::1", "r:1", "a.1", firewall=False)
    done(blocker)
    assert told == []
    assert "is blocked" in blocker.refusal("2001:db8::1")


@pytest.mark.parametrize("before", [True, False])
def test_whoever_is_unblocked_stays_in_no_firewall(
    make: Callable[..., FolderBlocker],
    monkeypatch: pytest.MonkeyPatch,
    *,
    before: bool,
) -> None:
    """Also where that comes before the firewall is told, or while it is."""
    shut_out: set[str] = set()
    go, began = threading.Event(), threading.Event()

    def add(_: NftSets, network: str, _seconds: float) -> None:
        began.set()
        go.wait(10)
        shut_out.add(network)

    monkeypatch.setattr(firewall, "add", add)
    monkeypatch.setattr(
        firewall, "delete", lambda _, network: shut_out.discard(network)
    )
    blocker = make(SETS)
    if before:
        blocker.block("192.0.2.9", "r:1", "a.1", firewall=True)
    blocker.block("192.0.2.1", "r:1", "a.2", firewall=True)
    assert began.wait(10)
    assert blocker.forget("192.0.2.1")
    go.set()
    done(blocker)
    assert shut_out == ({"192.0.2.9"} if before else set())


def test_at_the_end_a_client_is_remembered_and_nothing_raises(
    make: Callable[..., FolderBlocker],
) -> None:
    blocker = make(SETS)
    blocker.stop()
    for _ in range(2 * MAX_WAITING):
        assert "is blocked" in blocker.block("192.0.2.1", "r:1", "a.1", firewall=True)


def test_what_the_firewall_fails_at_is_logged_and_nothing_else(
    make: Callable[..., FolderBlocker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise BlockError("nft: no")

    monkeypatch.setattr(firewall, "add", fail)
    blocker = make(SETS)
    blocker.block("192.0.2.1", "r:1", "a.1", firewall=True)
    done(blocker)
    assert [one.getMessage() for one in caplog.records] == ["block: nft: no"]
    assert "is blocked" in blocker.refusal("192.0.2.1")


def test_a_firewall_that_hangs_keeps_nobody_and_no_more_than_a_bound_waits(
    make: Callable[..., FolderBlocker],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    go = threading.Event()
    told: list[str] = []

    def hang(_: NftSets, network: str, _seconds: float) -> None:
        go.wait(10)
        told.append(network)

    monkeypatch.setattr(firewall, "add", hang)
    monkeypatch.setattr(folderblocker, "MAX_WAITING", 5)
    blocker = make(SETS)
    for number in range(9):
        blocker.block(f"192.0.2.{number}", "r:1", "a.1", firewall=True)
    assert "is blocked" in blocker.refusal("192.0.2.8")
    go.set()
    done(blocker)
    assert told == [f"192.0.2.{number}" for number in range(4)]  # and a sweep
    assert "block: more than 5 changes wait: left out" in caplog.text


def test_what_is_over_is_swept_now_and_then(
    make: Callable[..., FolderBlocker],
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folderblocker, "SWEEP_BLOCKS", 3)
    blocker = make()
    blocker.block("192.0.2.1", "r:1", "a.1", firewall=True)
    clock.now += 125
    blocker.block("192.0.2.2", "r:1", "a.1", firewall=True)
    done(blocker)
    assert [path.name for path in (tmp_path / "blocked").iterdir()] == ["192.0.2.2"]


def test_whoever_is_unblocked_comes_in_again(
    make: Callable[..., FolderBlocker], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(firewall, "add", lambda *_: None)
    monkeypatch.setattr(firewall, "delete", lambda _, network: told.append(network))
    blocker = make(SETS)
    blocker.block("2001:db8::1", "r:1", "a.1", firewall=True)
    assert blocker.forget("2001:db8::2") is True
    assert blocker.forget("2001:db8::/64") is False
    assert told == ["2001:db8::/64"] * 2
    assert blocker.refusal("2001:db8::1") == ""


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("2001:db8::/64", "2001:db8::/64"),
    ],
)
def test_a_client_is_named_by_address_or_as_it_is_listed(
    text: str, network: str
) -> None:
    assert named(text) == network


@pytest.mark.parametrize(
    "text", ["", "mx.example", "10.0.0.0/8", "2001:db8::/32", "../192.0.2.1"]
)
def test_whoever_is_no_client_cannot_be_named(text: str) -> None:
    with pytest.raises(BlockError, match="not an address"):
        named(text)
