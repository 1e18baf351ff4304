"""Parts that are kept while the rest of their message goes on, and copies of it.

A part is ``pending`` before the upstream is asked to take the rest, and belongs to the
process that asks. The answer settles it: ``kept``, or deleted since the client keeps
the whole message. Where no answer came, or the process is gone before it was settled,
it is in doubt. Once the same message was taken, sent again, its part is there twice,
and the one in doubt goes; not before, since until then it may be the only one.
"""

from __future__ import annotations

from dataclasses import replace
from logging import getLogger
from typing import TYPE_CHECKING

from smtpguard.errors import QuarantineError
from smtpguard.quarantine import locks
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.record import Kind, State


if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtpguard.quarantine.index import Row
    from smtpguard.quarantine.record import HeldPart, Record
    from smtpguard.quarantine.store import Store


logger = getLogger(__name__)


def keep_part(store: Store, record: Record, chunks: Iterable[bytes]) -> Record:
    """Keep a part as pending; it is on the disk when this returns its record.

    Raises as ``Store.keep``.
    """
    owned = replace(_part(record), state=State.PENDING, owner=store.owner())
    return store.keep(replace(record, part=owned), chunks)


def accept_part(store: Store, item: str, *, doubts: bool = True) -> Record:
    """Note that the upstream has taken the rest of the message: the part is kept.

    ``doubts``: whether one may be in doubt of which this is another one; to look for it
    is to look at the whole folder. Returns the record. Raises QuarantineError; then it
    stays pending, and is in doubt once this process is gone.
    """
    record = _settle(store, item, State.KEPT)
    try:
        if doubts:
            _remove_doubted(store, record)
    except QuarantineError as error:
        # The part is kept, and another one is in doubt: no loss.
        logger.warning("the part in doubt before %s stays: %s", item, error)
    return record


def _remove_doubted(store: Store, record: Record) -> None:
    with Index(store) as index:
        doubted = index.doubted(record.key)
    for item in doubted:
        with store.locked(item):
            if store.read(item).state is State.IN_DOUBT:
                store.remove(item)


def refuse_part(store: Store, item: str) -> None:
    """Note that the upstream has not taken the message: the part is deleted.

    Raises QuarantineError.
    """
    store.delete(item)


def doubt_part(store: Store, item: str) -> None:
    """Note that nobody can tell whether the upstream has taken the message.

    Raises QuarantineError.
    """
    _settle(store, item, State.IN_DOUBT)


def doubt_abandoned(store: Store) -> list[str]:
    """Put in doubt what is pending and whose process is gone; return the ids.

    To be called at the start. One that cannot be is told in the log. Raises
    QuarantineError.
    """
    if not store.folder.is_dir():  # nothing was ever kept
        return []
    with Index(store) as index:
        index.refresh()
        pending = index.in_state(State.PENDING)
    found = []
    for item in pending:
        try:
            if _is_doubted(store, item):
                found.append(item)
        except QuarantineError as error:
            logger.warning("a part is still pending: %s", error)
    return found


def unsent_copies(store: Store) -> list[str]:
    """Return the copies that are to be sent and were not. Raises QuarantineError."""
    return [row.id for row in _rows(store, Query(State.HELD, Kind.COPY))]


def doubted_copies(store: Store) -> list[str]:
    """Return the copies of which nobody can tell whether they are to be sent, or have
    arrived. Raises QuarantineError."""
    copies = _rows(store, Query(kind=Kind.COPY))
    return [
        row.id
        for row in copies
        if row.state is State.IN_DOUBT
        or (row.state is State.RELEASING and not store.is_locked(row.id))
    ]


def are_doubted(store: Store) -> bool:
    """Whether any part or copy is in doubt. Raises QuarantineError."""
    return bool(_rows(store, Query(State.IN_DOUBT)))


def _rows(store: Store, query: Query) -> list[Row]:
    if not store.folder.is_dir():  # nothing was ever kept
        return []
    with Index(store) as index:
        index.refresh()
        return index.rows(query)


def _is_doubted(store: Store, item: str) -> bool:
    """Put a part in doubt where its process is gone; return whether it is now."""
    with store.locked(item):
        record = store.read(item)
        part = _part(record)
        if part.state is not State.PENDING or locks.is_alive(store.folder, part.owner):
            return False
        _write_state(store, record, State.IN_DOUBT)
        return True


def _settle(store: Store, item: str, state: State) -> Record:
    with store.locked(item):
        return _write_state(store, store.read(item), state)


def _write_state(store: Store, record: Record, state: State) -> Record:
    settled = replace(record, part=replace(_part(record), state=state, owner=""))
    store.write(settled)
    return settled


def _part(record: Record) -> HeldPart:
    if record.part is None:
        raise QuarantineError(f"{record.id}: is no part")
    return record.part
