from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.quarantine.locks import (
    Owner,
    is_alive,
    is_locked,
    locked,
    remove_dead,
)
from tests.quarantine.making import python


if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, time
from pathlib import Path
from smtpguard.quarantine.locks import Owner, locked

folder = Path(sys.argv[1])
owner = Owner(folder)
with locked(folder / "item"):
    print(owner.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def item(tmp_path: Path) -> Path:
    path = tmp_path / "item"
    path.touch()
    return path


def test_what_is_held_is_held_off_from_everybody_else(item: Path) -> None:
    with locked(item):
        assert is_locked(item)
        with pytest.raises(QuarantineError, match="at work"), locked(item, wait=0):
            pass
    assert not is_locked(item)


def test_who_comes_second_waits_for_the_first(item: Path) -> None:
    order, first_has_it = [], threading.Event()

    def second() -> None:
        first_has_it.wait()
        with locked(item):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locked(item):
        first_has_it.set()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_what_is_not_there_or_goes_meanwhile_cannot_be_held(item: Path) -> None:
    with pytest.raises(FileNotFoundError), locked(item.with_name("other")):
        pass
    gone: list[str] = []

    def second() -> None:
        try:
            with locked(item):
                gone.append("held")
        except FileNotFoundError:
            gone.append("gone")

    thread = threading.Thread(target=second)
    with locked(item):
        thread.start()
        thread.join(0.1)  # it waits now
        item.unlink()
    thread.join()
    assert gone == ["gone"]
    assert not is_locked(item)


def test_locks_and_owners_end_with_their_process(tmp_path: Path, item: Path) -> None:
    with python(HOLD, tmp_path) as process:
        name = process.stdout.readline().decode().strip()
        assert is_locked(item)
        assert is_alive(tmp_path, name)
        remove_dead(tmp_path)
        assert is_alive(tmp_path, name)
        process.kill()
        process.wait(10)
    assert not is_locked(item)
    assert not is_alive(tmp_path, name)
    assert len(list(tmp_path.iterdir())) == 2
    remove_dead(tmp_path)
    assert list(tmp_path.iterdir()) == [item]


def test_a_lock_is_not_handed_to_programs_that_are_started(item: Path) -> None:
    with locked(item):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert not is_locked(item)
    finally:
        child.kill()
        child.wait()


def test_an_owner_that_ends_is_dead(tmp_path: Path) -> None:
    owner = Owner(tmp_path)
    assert is_alive(tmp_path, owner.name)
    owner.close()
    assert not is_alive(tmp_path, owner.name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_from_a_record_is_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "q"
    (folder / ".owner-x").mkdir(parents=True)
    with locked(tmp_path_item := _made(tmp_path)):
        assert is_locked(tmp_path_item)
        assert not is_alive(folder, "x/../../item")


def _made(folder: Path) -> Path:
    path = folder / "item"
    path.touch()
    return path
