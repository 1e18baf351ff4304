from __future__ import annotations

import sqlite3
import stat
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.quarantine import index as module
from smtpguard.quarantine.index import NAME, Index, Query
from smtpguard.quarantine.record import Kind, State
from smtpguard.quarantine.recordfile import to_octets
from smtpguard.quarantine.store import Store
from tests.quarantine.making import NOW, kept, output, part, python, record


if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def found(store: Store, **query: object) -> list[str]:
    with Index(store) as index:
        assert index.refresh() == []
        return [row.id for row in index.rows(Query(**query))]  # type: ignore[arg-type]


def test_a_row_tells_what_a_list_shows(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test", subject="s\nt", header_from="f")
    with Index(store) as index:
        index.refresh()
        (row,) = index.rows(Query())
    assert row.id == made.id
    assert row.kept_at == NOW
    assert (row.kind, row.state) == (Kind.MESSAGE, State.HELD)
    assert (row.sender, row.recipients) == ("a@x.test", ("b@y.test", "c@y.test"))
    assert (row.size, row.policy, row.rule) == (made.size, "inbound", "filenames:3")
    assert (row.subject, row.header_from, row.names) == ("s\nt", "f", ())


def test_a_row_of_a_part_tells_its_names(store: Store) -> None:
    held = part()
    assert held.part is not None
    names = ("a.exe", "b\nc.exe")
    store.keep(replace(held, part=replace(held.part, names=names)), [b"MZ"])
    with Index(store) as index:
        index.refresh()
        (row,) = index.rows(Query())
    assert row.names == ("a.exe", "b c.exe")
    assert (row.kind, row.state) == (Kind.PART, State.PENDING)


def test_rows_are_chosen_by_what_is_asked(store: Store) -> None:
    first = kept(store, "b@y.test", "c@z.test", sender="a@x.test").id
    later = NOW + timedelta(days=1)
    second = kept(store, "B@Y.test", sender="c@z.test", kept_at=later).id
    third = store.keep(part("d@y.test"), [b"x"]).id
    messages = [first, second]
    assert found(store) == sorted([first, second, third])
    assert found(store, kind=Kind.MESSAGE) == messages
    assert found(store, kind=Kind.PART) == [third]
    assert found(store, state=State.PENDING) == [third]
    assert found(store, recipient="b@y.test") == messages
    assert found(store, recipient="@y.test") == sorted([first, second, third])
    assert found(store, recipient="@Z.test") == [first]
    assert found(store, recipient="y.test") == []
    assert found(store, recipient="%") == []
    assert found(store, sender="c@z.test") == [second]
    assert found(store, sender="@x.test", kind=Kind.MESSAGE) == [first]
    assert found(store, since=NOW + timedelta(seconds=1)) == [second]
    assert found(store, recipient="b@y.test", sender="c@z.test") == [second]


def test_a_null_reverse_path_is_found(store: Store) -> None:
    made = record()
    null = replace(made.reverse_path, mailbox=None)
    item = store.keep(replace(made, reverse_path=null), [b"x"]).id
    kept(store)
    assert found(store, sender="<>") == [item]


def test_it_follows_the_files(store: Store) -> None:
    first, second = kept(store), kept(store)
    assert len(found(store)) == 2
    store.delete(first.id)
    third = kept(store)
    with store.locked(second.id):
        store.write(replace(second, subject="other"))
    assert found(store) == sorted([second.id, third.id])
    with Index(store) as index:
        subjects = {row.id: row.subject for row in index.rows(Query())}
    assert subjects == {second.id: "other", third.id: "hello"}


def test_only_what_has_changed_is_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(store)
    found(store)
    second = kept(store)
    read: list[str] = []
    real = Store.read

    def counted(self: Store, item: str) -> object:
        read.append(item)
        return real(self, item)

    monkeypatch.setattr(Store, "read", counted)
    assert len(found(store)) == 2
    assert read == [second.id]


def test_a_record_that_cannot_be_read_is_told_and_is_in_no_list(store: Store) -> None:
    made, good = kept(store), kept(store)
    found(store)
    (store.folder / f"{made.id}.json").write_bytes(b"{}")
    with Index(store) as index:
        (problem,) = index.refresh()
        assert f"{made.id}.json: damaged record" in str(problem)
        assert [row.id for row in index.rows(Query())] == [good.id]
        assert len(index.rebuild()) == 1
    (store.folder / f"{made.id}.json").write_bytes(to_octets(made))
    assert len(found(store)) == 2


def many(store: Store) -> list[str]:
    """Keep so much that the index has several pages; return the ids."""
    return sorted(kept(store, subject="x" * 500).id for _ in range(40))


DAMAGE = {
    "missing": None,
    "empty": b"",
    "no database": b"this is no database" * 1000,
    "cut off": 5000,
    "zeroed": 0,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_whatever_happens_to_its_file_it_is_made_again(store: Store, how: str) -> None:
    ids = many(store)
    assert found(store) == ids
    path, damage = store.folder / NAME, DAMAGE[how]
    for one in store.folder.glob(f"{NAME}-*"):
        one.unlink()
    if damage is None:
        path.unlink()
    elif isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        octets = bytearray(path.read_bytes())
        assert len(octets) > 10_000
        octets[damage:] = b"" if damage else bytes(len(octets))
        path.write_bytes(octets)
    assert found(store) == ids
    assert path.stat().st_size > 4096


def test_pages_that_were_overwritten_are_noticed(store: Store) -> None:
    ids = many(store)
    found(store)
    path = store.folder / NAME
    octets = bytearray(path.read_bytes())
    octets[8192:16384] = b"\x55" * 8192
    path.write_bytes(octets)
    assert found(store) == ids


def test_one_of_another_version_is_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [kept(store).id]
    with sqlite3.connect(store.folder / NAME) as database:
        database.execute("CREATE TABLE item (id TEXT, old TEXT)")
        database.execute("INSERT INTO item VALUES ('x', 'y')")
        database.execute("PRAGMA user_version = 99")
    database.close()
    assert found(store) == ids
    monkeypatch.setattr(module, "VERSION", 2)
    assert found(store) == ids


def test_only_its_owner_can_read_it(store: Store) -> None:
    kept(store)
    with Index(store) as index:
        index.refresh()
        modes = [path.stat().st_mode for path in store.folder.glob(f"{NAME}*")]
    assert {stat.S_IMODE(mode) for mode in modes} == {0o600}


def test_a_locked_one_is_not_taken_for_a_damaged_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY", 0.05)
    ids = [kept(store).id]
    found(store)
    inode = (store.folder / NAME).stat().st_ino
    other = sqlite3.connect(store.folder / NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    kept(store)
    with (
        Index(store) as index,
        pytest.raises(QuarantineError, match="database is locked"),
    ):
        index.refresh()
    other.execute("COMMIT")
    other.close()
    assert len(found(store)) == len(ids) + 1
    assert (store.folder / NAME).stat().st_ino == inode


def test_where_no_file_can_be_it_is_made_in_memory(store: Store) -> None:
    (store.folder / NAME).mkdir()
    ids = [kept(store).id]
    assert found(store) == ids


def test_without_a_folder_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(QuarantineError, match="no such folder"):
        Index(Store(tmp_path / "none"))


REFRESH = """
import sys
from pathlib import Path
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.store import Store

store = Store(Path(sys.argv[1]))
for _ in range(10):
    with Index(store) as index:
        assert index.refresh() == []
        rows = index.rows(Query())
print(len(rows))
"""


def test_several_processes_make_it_at_once(store: Store) -> None:
    for _ in range(30):
        kept(store)
    (store.folder / NAME).write_bytes(b"this is no database" * 1000)
    processes = [python(REFRESH, store.folder) for _ in range(3)]
    assert [output(one) for one in processes] == [b"30\n"] * 3
