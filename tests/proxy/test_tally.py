from __future__ import annotations

import multiprocessing
import random
from collections import Counter

import pytest

from smtpguard.proxy.tally import CAPACITY, PART_OCTETS, Tally


def three() -> list[Tally]:
    memory = bytearray(3 * PART_OCTETS)
    return [Tally(memory, worker, b"secret") for worker in range(3)]


def test_nothing_is_counted_at_first() -> None:
    tally = Tally()
    assert (tally.total(), tally.of("192.0.2.1")) == (0, 0)


def test_connections_are_counted_in_and_out() -> None:
    tally = Tally()
    for network in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
        tally.add(network)
    assert (tally.total(), tally.of("192.0.2.1"), tally.of("192.0.2.2")) == (3, 2, 1)
    tally.remove("192.0.2.1")
    assert (tally.total(), tally.of("192.0.2.1"), tally.of("192.0.2.2")) == (2, 1, 1)


def test_a_connection_of_no_network_counts_in_all_alone() -> None:
    tally = Tally()
    tally.add()
    tally.add("192.0.2.1")
    assert (tally.total(), tally.of("192.0.2.1")) == (2, 1)
    tally.remove()
    assert (tally.total(), tally.of("192.0.2.1")) == (1, 1)


def test_whoever_was_not_counted_in_cannot_be_counted_out() -> None:
    tally = Tally()
    tally.add("192.0.2.1")
    with pytest.raises(ValueError, match="not in list"):
        tally.remove("192.0.2.2")
    assert tally.total() == 1


def test_workers_see_what_the_others_count() -> None:
    first, second, third = three()
    first.add("192.0.2.1")
    second.add("192.0.2.1")
    second.add("192.0.2.2")
    assert {tally.total() for tally in (first, second, third)} == {3}
    assert {tally.of("192.0.2.1") for tally in (first, second, third)} == {2}
    second.remove("192.0.2.1")
    assert third.of("192.0.2.1") == 1


def test_a_worker_counts_out_only_what_is_its_own() -> None:
    first, second, _ = three()
    first.add("192.0.2.1")
    with pytest.raises(ValueError, match="not in list"):
        second.remove("192.0.2.1")


def test_what_a_dead_worker_held_can_be_forgotten() -> None:
    first, second, third = three()
    first.add("192.0.2.1")
    second.add("192.0.2.1")
    second.add()
    third.forget(1)
    assert (first.total(), first.of("192.0.2.1")) == (1, 1)
    second.add("192.0.2.2")
    assert (first.total(), first.of("192.0.2.2")) == (2, 1)


def test_a_part_that_is_full_takes_no_more() -> None:
    tally = Tally()
    for _ in range(CAPACITY):
        tally.add()
    with pytest.raises(OverflowError):
        tally.add()
    assert tally.total() == CAPACITY


def test_many_random_connections_are_counted_as_by_a_counter() -> None:
    chance = random.Random(7)
    tallies = three()
    networks = [f"192.0.2.{number}" for number in range(20)]
    held: list[tuple[Tally, str]] = []
    for _ in range(3000):
        if held and chance.random() < 0.45:
            tally, network = held.pop(chance.randrange(len(held)))
            tally.remove(network)
        else:
            tally, network = chance.choice(tallies), chance.choice(networks)
            tally.add(network)
            held.append((tally, network))
        assert tallies[0].total() == len(held)
    counted = Counter(network for _, network in held)
    assert {network: tallies[2].of(network) for network in networks} == {
        network: counted[network] for network in networks
    }


def _count(memory: object, worker: int) -> None:
    tally = Tally(memory, worker, b"s")  # type: ignore[arg-type]
    for _ in range(worker + 1):
        tally.add("192.0.2.1")


def test_processes_count_together() -> None:
    context = multiprocessing.get_context("spawn")
    memory = context.RawArray("B", 2 * PART_OCTETS)
    workers = [context.Process(target=_count, args=(memory, n)) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert Tally(memory, 0, b"s").of("192.0.2.1") == 3
