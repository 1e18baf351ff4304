from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from smtpguard.blocking.memory import GRACE_SECONDS, Block, BlockMemory


NOW = 1_700_000_000.0
BLOCK = Block("192.0.2.1", NOW + 1200, NOW, "rcpt_to:1", "5f3a.2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blocked"


@pytest.fixture
def memory(folder: Path) -> BlockMemory:
    return BlockMemory(folder)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_nobody_is_blocked_at_first(memory: BlockMemory, folder: Path) -> None:
    assert memory.until("192.0.2.1", NOW) is None
    assert memory.blocks(NOW) == []
    memory.sweep(NOW)
    assert not folder.exists()


def test_a_client_is_blocked_until_its_time(memory: BlockMemory) -> None:
    memory.remember(BLOCK)
    assert memory.until("192.0.2.1", NOW + 1199) == NOW + 1200
    assert memory.until("192.0.2.1", NOW + 1200) is None
    assert memory.until("192.0.2.2", NOW) is None


def test_one_file_holds_what_people_want_to_know(
    memory: BlockMemory, folder: Path
) -> None:
    memory.remember(BLOCK)
    [path] = folder.iterdir()
    assert path.name == "192.0.2.1"
    assert path.stat().st_mtime == NOW + 1200
    told = json.loads(path.read_bytes())
    assert told == asdict(BLOCK)
    assert list(told) == ["network", "until", "since", "rule", "transaction"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_another_process_sees_it(memory: BlockMemory, folder: Path) -> None:
    memory.remember(BLOCK)
    assert BlockMemory(folder).until("::ffff:192.0.2.1", NOW) == NOW + 1200
    assert BlockMemory(folder).blocks(NOW) == [BLOCK]


def test_ipv6_is_blocked_by_64(memory: BlockMemory, folder: Path) -> None:
    memory.remember(Block("2001:db8:0:1::/64", NOW + 9))
    assert names(folder) == {"2001:db8:0:1::_64"}
    assert memory.until("2001:db8:0:1:ffff::1", NOW) == NOW + 9
    assert memory.until("2001:db8:0:2::1", NOW) is None
    assert [block.network for block in memory.blocks(NOW)] == ["2001:db8:0:1::/64"]


def test_a_second_block_counts_anew(memory: BlockMemory) -> None:
    memory.remember(BLOCK)
    memory.remember(Block("192.0.2.1", NOW + 5000))
    assert memory.until("192.0.2.1", NOW + 4000) == NOW + 5000


def test_what_is_forgotten_is_let_in(memory: BlockMemory) -> None:
    memory.remember(BLOCK)
    assert memory.forget("192.0.2.1")
    assert memory.until("192.0.2.1", NOW) is None
    assert not memory.forget("192.0.2.1")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"since": "x", "rule": 1}', b"\xff"]
)
def test_a_damaged_file_blocks_all_the_same(
    memory: BlockMemory, folder: Path, content: bytes
) -> None:
    memory.remember(BLOCK)
    path = folder / "192.0.2.1"
    path.write_bytes(content)
    os.utime(path, (NOW + 5, NOW + 5))
    assert memory.until("192.0.2.1", NOW) == NOW + 5
    assert memory.blocks(NOW) == [Block("192.0.2.1", NOW + 5)]


def test_a_sweep_takes_what_is_over_and_nothing_else(
    memory: BlockMemory, folder: Path
) -> None:
    over = NOW - GRACE_SECONDS
    for network, until in {
        "10.0.0.1": over,
        "10.0.0.2": over + 1,
        "10.0.0.3": NOW,
    }.items():
        memory.remember(Block(network, until))
    for other in (".smtpguard-left", "notes.txt", "10.0.0.4_33", "2001:db8::1"):
        (folder / other).touch()
        os.utime(folder / other, (over, over))
    memory.sweep(NOW)
    kept = {"10.0.0.2", "10.0.0.3", "notes.txt", "10.0.0.4_33", "2001:db8::1"}
    assert names(folder) == kept


def test_of_too_many_the_oldest_go(folder: Path) -> None:
    memory = BlockMemory(folder, most=2)
    for number in (3, 1, 2):
        memory.remember(Block(f"10.0.0.{number}", NOW + number))
    memory.sweep(NOW)
    assert names(folder) == {"10.0.0.2", "10.0.0.3"}


def test_the_list_is_in_order_of_time_and_without_what_is_over(
    memory: BlockMemory,
) -> None:
    for network, until in {"10.0.0.1": 9, "10.0.0.2": 5, "10.0.0.3": -1}.items():
        memory.remember(Block(network, NOW + until))
    found = [block.network for block in memory.blocks(NOW)]
    assert found == ["10.0.0.2", "10.0.0.1"]


def test_a_folder_that_is_none_raises(memory: BlockMemory, folder: Path) -> None:
    folder.write_text("no folder")
    for ask in (
        lambda: memory.until("192.0.2.1", NOW),
        lambda: memory.blocks(NOW),
        lambda: memory.remember(BLOCK),
    ):
        with pytest.raises(OSError, match=r"ot a directory|exists"):
            ask()
