from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.quarantine.ids import new_id
from smtpguard.quarantine.index import Index
from smtpguard.quarantine.parts import (
    accept_part,
    doubt_abandoned,
    doubt_part,
    keep_part,
    refuse_part,
)
from smtpguard.quarantine.record import State
from smtpguard.quarantine.store import Store
from tests.quarantine.making import NOW, files, kept, output, part, python


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "q")
    yield found
    found.close()


def states(store: Store) -> list[State]:
    return sorted(store.read(item).state for item in store.ids())


def pending(store: Store, *addresses: str, octets: bytes = b"MZ", **more: Any) -> str:
    return keep_part(store, part(*addresses, **more), [octets]).id


def test_a_part_is_pending_until_the_upstream_has_answered(store: Store) -> None:
    item = pending(store)
    assert states(store) == [State.PENDING]
    assert store.octets(item).read_bytes() == b"MZ"
    accept_part(store, item)
    assert states(store) == [State.KEPT]


def test_a_part_of_a_message_that_was_refused_is_deleted(store: Store) -> None:
    refuse_part(store, pending(store))
    assert store.ids() == []


def test_where_no_answer_came_it_is_in_doubt(store: Store) -> None:
    doubt_part(store, pending(store))
    assert states(store) == [State.IN_DOUBT]


def test_what_is_pending_here_is_not_abandoned(store: Store) -> None:
    pending(store)
    assert doubt_abandoned(store) == []
    assert doubt_abandoned(Store(store.folder)) == []
    assert states(store) == [State.PENDING]


def test_what_is_settled_is_not_abandoned(store: Store) -> None:
    accept_part(store, pending(store))
    kept(store)
    store.close()
    assert doubt_abandoned(store) == []


KEEP = """
import os, signal, sys
from pathlib import Path
from smtpguard.quarantine.parts import keep_part
from smtpguard.quarantine.store import Store
from tests.quarantine.making import part

print(keep_part(Store(Path(sys.argv[1])), part(), [b"MZ"]).id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_after_a_crash_it_is_in_doubt(store: Store) -> None:
    mine = pending(store)
    with python(KEEP, store.folder) as process:
        crashed = process.communicate()[0].decode().strip()
    assert doubt_abandoned(store) == [crashed]
    assert store.read(crashed).state is State.IN_DOUBT
    assert store.read(mine).state is State.PENDING
    assert doubt_abandoned(store) == []


def test_a_retry_that_was_taken_replaces_what_is_in_doubt(store: Store) -> None:
    doubted = pending(store, "b@y.test", "c@y.test")
    doubt_part(store, doubted)
    again = pending(store, "c@y.test", "b@y.test")
    # Until then it may be the only copy there is.
    assert states(store) == [State.IN_DOUBT, State.PENDING]
    accept_part(store, again)
    assert store.ids() == [again]


@pytest.mark.parametrize(
    "other",
    [
        {"octets": b"PK"},
        {"message": "1" * 64},
        {"addresses": ("c@y.test",)},
        {"addresses": ("b@y.test", "c@y.test")},
    ],
    ids=["octets", "message", "recipient", "recipients"],
)
def test_another_part_replaces_nothing(store: Store, other: dict[str, Any]) -> None:
    doubt_part(store, pending(store, "b@y.test"))
    addresses = other.pop("addresses", ("b@y.test",))
    accept_part(store, pending(store, *addresses, **other))
    assert states(store) == [State.IN_DOUBT, State.KEPT]


def test_a_retry_that_was_refused_replaces_nothing(store: Store) -> None:
    doubted = pending(store)
    doubt_part(store, doubted)
    refuse_part(store, pending(store))
    assert store.ids() == [doubted]


def test_what_was_kept_before_stays(store: Store) -> None:
    for _ in range(2):
        accept_part(store, pending(store))
    assert states(store) == [State.KEPT, State.KEPT]


def test_without_an_index_a_part_is_kept_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    doubt_part(store, pending(store))
    item = pending(store)

    def broken(*_: object) -> None:
        raise QuarantineError("index: " + str(sqlite3.OperationalError("disk I/O")))

    monkeypatch.setattr(Index, "refresh", broken)
    accept_part(store, item)
    assert states(store) == [State.IN_DOUBT, State.KEPT]
    assert f"the part in doubt before {item} stays: index: disk I/O" in caplog.text


def test_a_part_that_cannot_be_put_in_doubt_does_not_hinder_others(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = sorted(pending(store) for _ in range(2))
    store.close()
    real = Store.write

    def write(self: Store, record: Any) -> None:
        if record.id == items[0]:
            raise QuarantineError(f"cannot write the record of {record.id}")
        real(self, record)

    monkeypatch.setattr(Store, "write", write)
    assert doubt_abandoned(store) == [items[1]]
    assert f"a part is still pending: cannot write the record of {items[0]}" in (
        caplog.text
    )


def test_where_nothing_was_ever_kept_nothing_is_in_doubt(tmp_path: Path) -> None:
    assert doubt_abandoned(Store(tmp_path / "none")) == []


def test_what_cannot_be_kept_leaves_nothing(store: Store) -> None:
    with pytest.raises(QuarantineError):
        keep_part(store, part(report={"a": b"x"}), [b"MZ"])
    store.close()
    assert files(store.folder) == set()


def test_a_message_is_no_part(store: Store) -> None:
    item = kept(store).id
    with pytest.raises(QuarantineError, match=f"{item}: is no part"):
        accept_part(store, item)
    held = replace(part(), part=None, id=new_id(NOW))
    with pytest.raises(QuarantineError, match="is no part"):
        keep_part(store, held, [b"x"])


COUNT = """
import sys
from pathlib import Path
from smtpguard.quarantine.parts import keep_part, accept_part, refuse_part
from smtpguard.quarantine.store import Store
from tests.quarantine.making import part

store = Store(Path(sys.argv[1]))
for number in range(10):
    item = keep_part(store, part(), [b"MZ%d" % number]).id
    (accept_part if number % 2 else refuse_part)(store, item)
"""


def test_workers_settle_their_parts_side_by_side(store: Store) -> None:
    for process in [python(COUNT, store.folder) for _ in range(2)]:
        output(process)
    assert states(store) == [State.KEPT] * 10
