from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.policy.quarantinereader import QuarantineSettings
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.parts import keep_part
from smtpguard.quarantine.record import State
from smtpguard.quarantine.released import Released
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.upkeep import purge, reindex
from tests.quarantine.making import DIGEST, NOW, files, kept, output, part, python


if TYPE_CHECKING:
    from pathlib import Path


SETTINGS = QuarantineSettings("q")
OLD = NOW - timedelta(days=31)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "q")


def in_state(store: Store, item: str, state: State) -> None:
    record = store.read(item)
    one = replace(record.recipients[0], state=state, changed=NOW)
    store.write(record.with_recipients({0: one}))


def test_what_is_due_is_deleted(store: Store) -> None:
    old = kept(store, kept_at=OLD).id
    young = kept(store).id
    assert purge(store, SETTINGS, NOW) == [old]
    assert files(store.folder) == {f"{young}.json", f"{young}.octets"}


def test_what_is_too_much_is_deleted(store: Store) -> None:
    days = (9, 8, 7)
    items = [
        kept(store, kept_at=NOW - timedelta(days=day), octets=b"x" * 600_000).id
        for day in days
    ]
    settings = QuarantineSettings("q", max_size=1024 * 1024)
    assert purge(store, settings, NOW) == items[:2]


def test_a_record_counts_as_well(store: Store) -> None:
    """The index knows the size of the octets alone."""
    days = (9, 8)
    items = [kept(store, kept_at=NOW - timedelta(days=day)).id for day in days]
    sizes = [path.stat().st_size for path in store.folder.glob(f"{items[0]}.*")]
    assert store.size_of(items[0]) == sum(sizes)
    settings = QuarantineSettings("q", max_size=2 * max(sizes))
    assert purge(store, settings, NOW) == items[:1]
    assert store.size_of(items[0]) == 0


def test_what_is_being_released_stays_and_what_is_in_doubt_grows_old(
    store: Store,
) -> None:
    item = kept(store, kept_at=OLD).id
    in_state(store, item, State.RELEASING)
    with store.locked(item):
        assert purge(Store(store.folder), SETTINGS, NOW) == []
    assert purge(store, SETTINGS, NOW) == [item]


def test_what_somebody_holds_stays(store: Store) -> None:
    item = kept(store, kept_at=OLD).id
    with store.locked(item):
        assert purge(store, SETTINGS, NOW) == []
    assert store.ids() == [item]


def test_what_is_pending_stays(store: Store) -> None:
    keep_part(store, part(kept_at=OLD), [b"MZ"])
    assert purge(store, SETTINGS, NOW) == []
    store.close()


def test_what_crashes_left_behind_goes_too(store: Store) -> None:
    kept(store)
    (store.folder / ".new-x.octets").touch()
    Released(store.folder).remember(DIGEST, kept(store).recipients[0].mailbox, OLD)
    # By the clock of the files.
    now = NOW + timedelta(days=365)
    assert len(purge(store, QuarantineSettings("q", keep=1e10), now)) == 0
    assert not (store.folder / ".new-x.octets").exists()
    assert list((store.folder / "released").iterdir()) == []


def test_a_purge_that_cannot_delete_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(store, kept_at=OLD)

    def remove(_: Store, item: str) -> None:
        raise QuarantineError(f"cannot delete {item}")

    monkeypatch.setattr(Store, "remove", remove)
    with pytest.raises(QuarantineError, match="cannot delete"):
        purge(store, SETTINGS, NOW)


def test_the_index_is_made_again_from_the_files(store: Store) -> None:
    items = sorted(kept(store).id for _ in range(3))
    with Index(store) as index:
        index.refresh()
    (store.folder / f"{items[0]}.json").write_bytes(b"{}")
    number, problems = reindex(store)
    assert number == 2
    assert [items[0] in str(one) for one in problems] == [True]
    with Index(store) as index:
        assert [row.id for row in index.rows(Query())] == items[1:]


def test_what_was_released_is_remembered_again(store: Store) -> None:
    made = kept(store, "b@y.test", "c@y.test")
    in_state(store, made.id, State.RELEASED)
    reindex(store)
    first, second = (one.mailbox for one in made.recipients)
    released = Released(store.folder)
    assert released.was_released(made.sha256, first, NOW)
    assert not released.was_released(made.sha256, second, NOW)
    assert not released.was_released(made.sha256, first, NOW + timedelta(days=1))


KEEP = """
import sys
from pathlib import Path
from smtpguard.quarantine.store import Store
from tests.quarantine.making import MESSAGE, kept

store = Store(Path(sys.argv[1]))
for _ in range(50):
    kept(store)
"""
LIST = """
import sys
from pathlib import Path
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.survey import whole

store, seen = Store(Path(sys.argv[1])), 0
while seen < 200:
    with Index(store) as index:
        assert index.refresh() == []
        rows = index.rows(Query())
    assert len(rows) >= seen
    for row in rows[seen:]:
        whole(store, store.read(row.id))
    seen = len(rows)
"""
PURGE = """
import sys
from pathlib import Path
from smtpguard.policy.quarantinereader import QuarantineSettings
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.upkeep import purge
from tests.quarantine.making import NOW

store = Store(Path(sys.argv[1]))
while len(store.ids()) < 200:
    assert purge(store, QuarantineSettings("q"), NOW) == []
"""


@pytest.mark.slow
def test_four_processes_keep_while_one_lists_and_one_purges(store: Store) -> None:
    store.folder.mkdir()
    processes = [python(code, store.folder) for code in [KEEP] * 4 + [LIST, PURGE]]
    for process in processes:
        output(process)
    assert len(store.ids()) == 200
    assert reindex(store) == (200, [])
    assert len(files(store.folder)) == 400
