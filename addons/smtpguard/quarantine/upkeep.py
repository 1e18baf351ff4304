"""What is to be done for a quarantine now and then: purge, sweep, make the index."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from smtpguard.errors import QuarantineError, os_text
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.record import State
from smtpguard.quarantine.released import Released, is_remembered
from smtpguard.quarantine.retention import Held, to_purge


if TYPE_CHECKING:
    from datetime import datetime

    from smtpguard.policy.quarantinereader import QuarantineSettings
    from smtpguard.quarantine.index import Row
    from smtpguard.quarantine.record import Record
    from smtpguard.quarantine.store import Store


def purge(store: Store, settings: QuarantineSettings, now: datetime) -> list[str]:
    """Delete what is to go, and what crashes left behind; return the ids.

    Raises QuarantineError.
    """
    with Index(store) as index:
        index.refresh()
        rows = index.rows(Query())
    due = to_purge((_held(store, row) for row in rows), settings, now)
    purged = [item for item in due if _is_purged(store, item)]
    try:
        store.sweep(now.timestamp(), settings.keep_at_least)
        Released(store.folder).sweep(now)
    except OSError as error:
        raise QuarantineError(os_text(error)) from error
    return purged


def reindex(store: Store) -> tuple[int, list[QuarantineError]]:
    """Make the index again, and the memory of what was released; return the number of
    items, and why others cannot be read. Raises QuarantineError."""
    with Index(store) as index:
        problems = index.rebuild()
        rows = index.rows(Query())
    for row in rows:
        # It may have been deleted meanwhile.
        with suppress(QuarantineError):
            _remember(store, store.read(row.id))
    return len(rows), problems


def _held(store: Store, row: Row) -> Held:
    # What nobody is at any more is in doubt, and grows old as everything does.
    at_work = row.state is State.PENDING or (
        row.state is State.RELEASING and store.is_locked(row.id)
    )
    return Held(row.id, row.kept_at, store.size_of(row.id), at_work)


def _is_purged(store: Store, item: str) -> bool:
    """Delete an item unless somebody is at work on it; return whether it went."""
    with ExitStack() as held:
        try:
            held.enter_context(store.locked(item, wait=0))
            state = store.read(item).state
        except QuarantineError:  # gone already, or held
            return False
        if state is State.PENDING:
            return False
        store.remove(item)
    return True


def _remember(store: Store, record: Record) -> None:
    for one in record.recipients if is_remembered(record) else ():
        if one.changed is not None and one.state is not State.HELD:
            Released(store.folder).remember(record.sha256, one.mailbox, one.changed)
