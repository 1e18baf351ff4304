from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.quarantine import store as module
from smtpguard.quarantine.ids import new_id
from smtpguard.quarantine.recordfile import to_octets
from smtpguard.quarantine.store import LEFT_BEHIND, Store
from tests.quarantine.making import MESSAGE, NOW, files, kept, record


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "q")


def test_what_is_kept_is_read_again(store: Store) -> None:
    made = store.keep(record(), [b"ab", b"", b"\0\xff\r\n."])
    assert made.size == 7
    assert made.sha256 == hashlib.sha256(b"ab\0\xff\r\n.").hexdigest()
    assert store.ids() == [made.id]
    assert store.read(made.id) == made
    assert store.octets(made.id).read_bytes() == b"ab\0\xff\r\n."


def test_only_the_owner_of_the_files_can_read_them(store: Store) -> None:
    old = os.umask(0)
    try:
        kept(store)
    finally:
        os.umask(old)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_items_are_listed_by_their_age(store: Store) -> None:
    ids = [new_id(NOW.replace(hour=hour)) for hour in (9, 3, 6)]
    for item in ids:
        store.keep(replace(record(), id=item), [b"x"])
    assert store.ids() == [ids[1], ids[2], ids[0]]


def test_an_id_is_kept_once(store: Store) -> None:
    made = kept(store)
    with pytest.raises(QuarantineError, match="kept already"):
        store.keep(made, [b"other"])
    assert store.octets(made.id).read_bytes() == MESSAGE


def test_a_source_that_fails_leaves_nothing(store: Store) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.keep(record(), chunks())
    assert files(store.folder) == set()


def test_a_record_that_cannot_be_written_leaves_nothing(store: Store) -> None:
    with pytest.raises(QuarantineError, match="no JSON"):
        store.keep(record(report={"a": b"x"}), [b"x"])
    assert files(store.folder) == set()


# -- room ----------------------------------------------------------------------------


def test_beyond_max_size_nothing_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "q", max_size=10_000)
    first = kept(store, octets=b"x" * 5000)
    with pytest.raises(QuarantineError, match="max_size") as raised:
        kept(store, octets=b"x" * 5000)
    assert raised.value.full
    assert store.ids() == [first.id]
    assert len(files(store.folder)) == 2
    # What was deleted, by whomever, makes room at once.
    Store(store.folder).delete(first.id)
    kept(store, octets=b"x" * 5000)


def test_what_others_keep_counts_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = (Store(tmp_path / "q", max_size=10_000) for _ in range(2))
    kept(store, octets=b"x")
    kept(other, octets=b"x" * 8000)
    monkeypatch.setattr(module, "MEASURED", 0.0)
    with pytest.raises(QuarantineError, match="max_size"):
        kept(store, octets=b"x" * 1000)


def test_a_message_that_is_too_large_is_not_written_to_its_end(tmp_path: Path) -> None:
    store = Store(tmp_path / "q", max_size=10_000)
    taken = []

    def chunks() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"x" * 1000

    with pytest.raises(QuarantineError, match="max_size"):
        store.keep(record(), chunks())
    assert len(taken) < 12


# -- what fails ----------------------------------------------------------------------

STEPS = ("mkdir", "open", "write", "fsync", "rename")


class Failing:
    """Counts calls of the system that keeping makes; the ``number``-th fails."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, number: int, code: int = errno.ENOSPC
    ) -> None:
        self.names: list[str] = []
        for name in STEPS:
            real = getattr(os, name)

            def step(
                *args: Any, _name: str = name, _real: Any = real, **kw: Any
            ) -> Any:
                self.names.append(_name)
                if len(self.names) == number:
                    raise OSError(code, os.strerror(code))
                return _real(*args, **kw)

            monkeypatch.setattr(os, name, step)


def steps(folder: Path) -> list[str]:
    """Return the calls that keeping one item makes."""
    with pytest.MonkeyPatch.context() as patch:
        counted = Failing(patch, 0)
        Store(folder).keep(record(), [b"one", b"two"])
    return counted.names


def test_every_step_is_counted(tmp_path: Path) -> None:
    made = steps(tmp_path / "q")
    assert made.count("fsync") == 4  # that of the folder's own folder, too
    assert made.count("rename") == 2
    assert made.count("write") == 3
    assert made.count("mkdir") == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_whatever_step_fails_nothing_is_kept_and_nothing_left(
    tmp_path: Path, code: int
) -> None:
    for number in range(1, len(steps(tmp_path / "count")) + 1):
        store = Store(tmp_path / f"{code}.{number}")
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, number, code)
            with pytest.raises(QuarantineError, match="cannot keep") as raised:
                store.keep(record(), [b"one", b"two"])
        assert raised.value.full == (code in {errno.ENOSPC, errno.EDQUOT})
        assert not store.folder.exists() or files(store.folder) == set()


def test_a_write_that_takes_only_some_octets_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda where, octets: real(where, octets[:7]))
    assert store.octets(kept(store).id).read_bytes() == MESSAGE


def test_where_the_folder_has_no_folder_nothing_is_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "none" / "q")
    with pytest.raises(QuarantineError, match="No such file or directory"):
        kept(store)
    with pytest.raises(QuarantineError, match="No such file or directory"):
        store.ids()


def test_where_the_folder_is_a_file_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "q").touch()
    with pytest.raises(QuarantineError, match="Not a directory"):
        kept(Store(tmp_path / "q"))


# -- reading -------------------------------------------------------------------------


def test_what_belongs_to_no_item_is_none(store: Store) -> None:
    made = kept(store)
    for name in ("notes.json", f"{made.id}.json.bak", f".new-{new_id(NOW)}.json"):
        (store.folder / name).write_bytes(to_octets(made))
    (store.folder / f"{new_id(NOW)}.octets").touch()
    assert store.ids() == [made.id]


@pytest.mark.parametrize("item", ["../q", "x", "", "a" * 26])
def test_what_is_no_id_is_never_looked_for(store: Store, item: str) -> None:
    kept(store)
    with pytest.raises(QuarantineError, match="no id"):
        store.read(item)
    with pytest.raises(QuarantineError, match="no id"):
        store.octets(item)
    with pytest.raises(QuarantineError, match="no id"):
        store.delete(item)


def test_what_is_not_there_is_told_by_its_id(store: Store) -> None:
    kept(store)
    missing = new_id(NOW)
    with pytest.raises(QuarantineError, match=f"{missing}: is not in"):
        store.read(missing)
    with pytest.raises(QuarantineError, match=f"{missing}: is not in"):
        store.delete(missing)


def test_a_damaged_record_is_told_by_its_file(store: Store) -> None:
    made = kept(store)
    path = store.folder / f"{made.id}.json"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(QuarantineError, match=f"{made.id}.json: damaged record: "):
        store.read(made.id)


def test_a_record_under_another_name_is_no_record(store: Store) -> None:
    first, second = kept(store), kept(store)
    octets = (store.folder / f"{first.id}.json").read_bytes()
    (store.folder / f"{second.id}.json").write_bytes(octets)
    with pytest.raises(QuarantineError, match=f"is the record of {first.id}"):
        store.read(second.id)


def test_a_record_without_octets_is_damaged(store: Store) -> None:
    made = kept(store)
    store.octets(made.id).unlink()
    with pytest.raises(QuarantineError, match="its octets are missing"):
        store.read(made.id)


# -- changing ------------------------------------------------------------------------


def test_a_record_is_replaced_whole(store: Store) -> None:
    made = kept(store)
    stamp = store.stamps()[made.id]
    with store.locked(made.id):
        store.write(replace(made, reason="other"))
    assert store.read(made.id).reason == "other"
    assert store.stamps()[made.id] != stamp
    assert len(files(store.folder)) == 2


def test_a_record_that_cannot_be_written_stays(store: Store) -> None:
    made = kept(store)
    for number in range(1, 4):
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, number)
            with pytest.raises(QuarantineError, match="cannot write") as raised:
                store.write(replace(made, reason="other"))
        assert raised.value.full
        assert store.read(made.id) == made
        assert len(files(store.folder)) == 2


def test_what_a_crash_left_beside_a_record_is_no_hindrance(store: Store) -> None:
    made = kept(store)
    (store.folder / f".new-{made.id}.json").write_bytes(b"{")
    store.write(replace(made, reason="other"))
    assert store.read(made.id).reason == "other"


def test_deleting_takes_damaged_items_too(store: Store) -> None:
    made, other = kept(store), kept(store)
    (store.folder / f"{made.id}.json").write_bytes(b"{")
    store.delete(made.id)
    assert store.ids() == [other.id]
    assert len(files(store.folder)) == 2


def test_deleting_waits_for_who_is_at_work(store: Store) -> None:
    made = kept(store)
    deleting = threading.Thread(target=Store(store.folder).delete, args=(made.id,))
    with store.locked(made.id):
        deleting.start()
        deleting.join(0.1)
        assert store.is_locked(made.id)
        assert store.read(made.id) == made
    deleting.join()
    assert store.ids() == []


def test_sweeping_removes_what_crashes_left_once_it_is_old(store: Store) -> None:
    made = kept(store)
    left = {f".new-{new_id(NOW)}.octets", f"{new_id(NOW)}.octets", ".new-x.json"}
    for name in left:
        (store.folder / name).touch()
    now = (store.folder / min(left)).stat().st_mtime
    assert store.sweep(now + LEFT_BEHIND - 60) == []
    assert set(store.sweep(now + LEFT_BEHIND + 60)) == left
    assert files(store.folder) == {f"{made.id}.json", f"{made.id}.octets"}


def test_octets_whose_record_somebody_moved_stay_as_long_as_items_do(
    store: Store,
) -> None:
    lone, beside = f"{new_id(NOW)}.octets", ".new-x.octets"
    store.folder.mkdir(exist_ok=True)
    for name in (lone, beside):
        (store.folder / name).touch()
    now = (store.folder / lone).stat().st_mtime
    assert store.sweep(now + 2 * LEFT_BEHIND, 3 * LEFT_BEHIND) == [beside]
    assert store.sweep(now + 4 * LEFT_BEHIND, 3 * LEFT_BEHIND) == [lone]


def test_a_record_whose_octets_are_gone_can_be_deleted(store: Store) -> None:
    item = kept(store).id
    (store.folder / f"{item}.octets").unlink()
    store.delete(item)
    assert files(store.folder) == set()
    with pytest.raises(QuarantineError, match="is not in the quarantine"):
        store.delete(item)


def test_a_process_has_one_name_as_long_as_it_owns(store: Store) -> None:
    name = store.owner()
    assert store.owner() == name
    assert files(store.folder) == {f".owner-{name}"}
    store.close()
    assert files(store.folder) == set()
    assert store.owner() != name
    store.close()


def test_the_record_on_the_disk_is_the_record_that_was_returned(store: Store) -> None:
    made = kept(store)
    found = json.loads((store.folder / f"{made.id}.json").read_bytes())
    assert (found["size"], found["sha256"]) == (made.size, made.sha256)
