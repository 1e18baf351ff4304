"""Who is connected, counted over reloads."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from mitmproxy.connection import Client

from smtpguard.proxy import registry as registry_module
from smtpguard.proxy.registry import (
    MAX_DOWNGRADES,
    MAX_WAITING,
    Downgrades,
    Registry,
)
from smtpguard.proxy.tally import PART_OCTETS, Tally
from tests.proxy.fakes import guard_options


def client(address: str = "192.0.2.1") -> Client:
    return Client(peername=(address, 50000), sockname=("198.51.100.1", 25))


def test_clients_are_admitted_up_to_the_limit(tmp_path: Path) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections=2)
    first = client("192.0.2.1")
    assert registry.admit(first, options, trusted=False) == ""
    assert registry.admit(client("192.0.2.2"), options, trusted=False) == ""
    refused = registry.admit(client("192.0.2.3"), options, trusted=False)
    assert refused == "more than 2 connections"

    registry.disconnected(first)
    assert registry.admit(client("192.0.2.4"), options, trusted=False) == ""


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_a_network_has_a_limit_of_its_own(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections_per_network=1)
    assert registry.admit(client(one), options, trusted=False) == ""
    refused = registry.admit(client(other), options, trusted=False)

    assert bool(refused) is same


def test_trusted_clients_stand_for_many(tmp_path: Path) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections_per_network=1)

    assert [registry.admit(client(), options, trusted=True) for _ in range(5)] == [
        ""
    ] * 5


def test_leaving_twice_counts_once(tmp_path: Path) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections_per_network=2)
    gone, here = client(), client()
    registry.admit(gone, options, trusted=False)
    registry.admit(here, options, trusted=False)
    registry.disconnected(gone)
    registry.disconnected(gone)

    assert registry.admit(client(), options, trusted=False) == ""
    assert registry.admit(client(), options, trusted=False)


def test_a_client_that_was_not_counted_may_leave() -> None:
    Registry().disconnected(client())


def test_nothing_is_kept_of_networks_that_have_left(tmp_path: Path) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections=10**6)
    for number in range(256):
        one = client(f"192.0.2.{number}")
        registry.admit(one, options, trusted=False)
        registry.disconnected(one)

    assert registry.tally.total() == 0
    assert not registry._counted


def test_workers_share_their_limits_and_tell_their_sessions_apart(
    tmp_path: Path,
) -> None:
    memory = bytearray(2 * PART_OCTETS)
    workers = Registry(), Registry()
    for number, registry in enumerate(workers):
        registry.share(Tally(memory, number, b"secret"), number)
    options = guard_options(tmp_path, max_connections=3, max_connections_per_network=2)
    clients = [client(), client(), client("192.0.2.7"), client("192.0.2.8")]
    first, second = workers
    assert not first.admit(clients[0], options, trusted=False)
    assert not second.admit(clients[1], options, trusted=False)
    for registry in workers:
        refused = registry.admit(client(), options, trusted=False)
        assert refused == "more than 2 connections from 192.0.2.1"
    assert not first.admit(clients[2], options, trusted=False)
    for registry in workers:
        refused = registry.admit(clients[3], options, trusted=False)
        assert refused == "more than 3 connections"
    first.disconnected(clients[0])
    assert not second.admit(clients[3], options, trusted=False)
    assert (first.new_id()[0], second.new_id()[0]) == ("g", "h")


def test_who_waits_hears_of_a_place_in_another_worker(tmp_path: Path) -> None:
    async def wait() -> str:
        memory = bytearray(2 * PART_OCTETS)
        first, second = Registry(), Registry()
        first.share(Tally(memory, 0, b"s"), 0)
        second.share(Tally(memory, 1, b"s"), 1)
        options = guard_options(tmp_path, max_connections=1)
        gone = client()
        assert not first.admit(gone, options, trusted=False)
        waiting = asyncio.create_task(
            second.admit_in_time(client(), options, trusted=False)
        )
        await asyncio.sleep(0)
        first.disconnected(gone)
        return await waiting

    assert asyncio.run(wait()) == ""


def test_a_session_that_ended_makes_room_before_its_connection_is_closed(
    tmp_path: Path,
) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections=1)
    first = client()
    registry.admit(first, options, trusted=False)
    registry.session_ended(first)

    assert registry.admit(client(), options, trusted=False) == ""


def test_a_client_over_the_limit_may_wait_for_another_to_go(tmp_path: Path) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections=1)
    first = client()
    registry.admit(first, options, trusted=False)

    async def scene() -> str:
        second = registry.admit_in_time(client(), options, trusted=False)
        waiting = asyncio.create_task(second)
        await asyncio.sleep(0)
        assert not waiting.done()
        registry.session_ended(first)
        return await waiting

    assert asyncio.run(scene()) == ""


def test_a_client_over_the_limit_is_refused_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "WAIT_SECONDS", 0.01)
    registry = Registry()
    options = guard_options(tmp_path, max_connections=1)
    registry.admit(client(), options, trusted=False)
    refused = registry.admit_in_time(client(), options, trusted=False)

    assert asyncio.run(refused) == "more than 1 connections"


def test_a_crowd_over_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    registry = Registry()
    options = guard_options(tmp_path, max_connections=1)
    registry.admit(client(), options, trusted=False)

    async def scene() -> list[str]:
        waiting = [
            asyncio.create_task(
                registry.admit_in_time(client(), options, trusted=False)
            )
            for _ in range(MAX_WAITING)
        ]
        await asyncio.sleep(0)
        one_more = await registry.admit_in_time(client(), options, trusted=False)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [one_more, *(str(task.cancelled()) for task in waiting)]

    refused, *others = asyncio.run(scene())
    assert refused == "more than 1 connections"
    assert set(others) == {"True"}
    assert registry._waiting == 0


def test_ids_are_short_and_differ() -> None:
    registry = Registry()
    made = [registry.new_id() for _ in range(1000)]

    assert len(set(made)) == 1000
    assert max(len(one) for one in made) <= 6


def test_the_oldest_downgrades_are_forgotten() -> None:
    """In transparent mode clients choose the destinations."""
    kept = Downgrades()
    for number in range(MAX_DOWNGRADES + 5):
        kept[("192.0.2.1", number)] = float(number)
    kept[("192.0.2.1", 5)] = 1.0
    kept[("192.0.2.1", 99999)] = 1.0

    assert len(kept) == MAX_DOWNGRADES
    assert ("192.0.2.1", 4) not in kept
    assert ("192.0.2.1", 5) in kept
    assert ("192.0.2.1", 6) not in kept


def test_idle_waits_for_the_last_client(tmp_path: Path) -> None:
    registry = Registry()
    here = client()
    registry.admit(here, guard_options(tmp_path), trusted=False)

    async def scene() -> tuple[bool, bool]:
        waiting = asyncio.create_task(registry.idle(10))
        await asyncio.sleep(0)
        done_before = waiting.done()
        registry.disconnected(here)
        return done_before, await waiting

    assert asyncio.run(scene()) == (False, True)


def test_idle_gives_up_in_time(tmp_path: Path) -> None:
    registry = Registry()
    registry.admit(client(), guard_options(tmp_path), trusted=False)

    assert asyncio.run(registry.idle(0.01)) is False
