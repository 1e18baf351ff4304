"""Finds items: SQLite, made from the records and never the truth.

Nobody who keeps or releases writes it. Whoever asks brings it up to date first: it
knows of each record file what ``Store.stamps`` said when it was read, and reads those
that differ. So it cannot be wrong for longer than until the next question, and one that
is missing, damaged or of another version is simply made again. Where its file cannot be
written it is made in memory.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self

from smtpguard.errors import QuarantineError
from smtpguard.quarantine import locks
from smtpguard.quarantine.record import Kind, State


if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from smtpguard.quarantine.record import Record
    from smtpguard.quarantine.store import Store


VERSION: Final = 1
BUSY: Final = 10.0
"""Seconds for another process that writes."""
NAME: Final = "index.sqlite"
_SCHEMA: Final = """
CREATE TABLE item (
    id TEXT PRIMARY KEY,
    stamp TEXT NOT NULL,
    kept_at TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipients TEXT NOT NULL,
    size INTEGER NOT NULL,
    policy TEXT NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    subject TEXT NOT NULL,
    header_from TEXT NOT NULL,
    names TEXT NOT NULL,
    key TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX item_state ON item (state);
CREATE INDEX item_key ON item (key);
"""
_COLUMNS: Final = (
    *("id", "stamp", "kept_at", "kind", "state", "sender", "recipients", "size"),
    *("policy", "rule", "reason", "subject", "header_from", "names", "key"),
)
_PUT: Final = f"INSERT OR REPLACE INTO item VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - no value in it
_GET: Final = f"SELECT {', '.join(_COLUMNS)} FROM item"  # noqa: S608 - likewise
_DAMAGE: Final = frozenset(
    {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
)
_BETWEEN: Final = "\n"
"""Between several values of one column; no address holds it."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a list shows of an item."""

    id: str
    kept_at: datetime
    kind: Kind
    state: State
    sender: str
    recipients: tuple[str, ...]
    size: int
    policy: str
    rule: str
    reason: str
    subject: str
    header_from: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Which items; what is None does not matter."""

    state: State | None = None
    kind: Kind | None = None
    recipient: str | None = None
    """An address, or ``@domain``; without case."""
    sender: str | None = None
    """Likewise; ``<>`` is the null reverse-path."""
    since: datetime | None = None

    def where(self) -> tuple[str, list[str]]:
        """Return a condition of SQL and its values."""
        terms: list[tuple[str, str]] = []
        if self.state is not None:
            terms.append(("state = ?", self.state))
        if self.kind is not None:
            terms.append(("kind = ?", self.kind))
        if self.recipient is not None:
            terms.append(
                ("instr(lower(recipients), lower(?))", _sought(self.recipient))
            )
        if self.sender is not None:
            terms.append(("instr(lower(sender), lower(?))", _sought(self.sender)))
        if self.since is not None:
            terms.append(("kept_at >= ?", _time(self.since)))
        if not terms:
            return "TRUE", []
        conditions, values = zip(*terms, strict=True)
        return " AND ".join(conditions), list(values)


class Index:
    """The index of a store, for one thread; a context that closes it."""

    def __init__(self, store: Store) -> None:
        """Open or make it. Raises QuarantineError where the folder is not there."""
        self._store = store
        path = store.folder / NAME
        if not store.folder.is_dir():
            raise QuarantineError(f"{store.folder}: no such folder")
        try:
            try:
                self._database = _opened(path)
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._database = _made_again(path)
        except (OSError, QuarantineError, sqlite3.Error):
            self._database = _prepared(sqlite3.connect(":memory:"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def refresh(self) -> list[QuarantineError]:
        """Bring it up to date; return why records could not be read.

        Raises QuarantineError where the folder or the index itself cannot be.
        """
        try:
            return self._refresh()
        except sqlite3.Error as error:
            raise QuarantineError(f"{NAME}: {error}") from error

    def rebuild(self) -> list[QuarantineError]:
        """Make it from all records, as ``refresh`` does from those that differ."""
        with suppress(sqlite3.Error), self._database:
            self._database.execute("DELETE FROM item")
        return self.refresh()

    def rows(self, query: Query) -> list[Row]:
        """Return what is known of some items, the oldest first; not brought up to date.

        Raises QuarantineError.
        """
        where, values = query.where()
        return [_row(found) for found in self._ask(f"{where} ORDER BY id", values)]

    def in_state(self, state: State) -> list[str]:
        """Return the ids of the items in a state. Raises QuarantineError."""
        return [row.id for row in self.rows(Query(state=state))]

    def doubted(self, key: tuple[str, ...]) -> list[str]:
        """Return the ids of parts in doubt with this key, brought up to date.

        Raises QuarantineError.
        """
        self.refresh()
        values = [_BETWEEN.join(key), State.IN_DOUBT]
        return [found["id"] for found in self._ask("key = ? AND state = ?", values)]

    def _ask(self, where: str, values: list[str]) -> list[dict[str, str]]:
        statement = f"{_GET} WHERE {where}"
        try:
            found = self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise QuarantineError(f"{NAME}: {error}") from error
        return [dict(zip(_COLUMNS, row, strict=True)) for row in found]

    def _refresh(self) -> list[QuarantineError]:
        there = self._store.stamps()
        known = dict(self._database.execute("SELECT id, stamp FROM item"))
        changed = [item for item, stamp in there.items() if known.get(item) != stamp]
        gone = [item for item in known if item not in there]
        problems: dict[str, QuarantineError] = {}
        with self._database:
            for item in sorted(changed):
                try:
                    record = self._store.read(item)
                except QuarantineError as error:
                    problems[item] = error
                else:
                    self._database.execute(_PUT, _values(record, there[item]))
            for item in (*gone, *problems):
                self._database.execute("DELETE FROM item WHERE id = ?", (item,))
        # One that went while this looked is no damage.
        still = self._store.stamps() if problems else {}
        return [error for item, error in problems.items() if item in still]


def _opened(path: Path) -> sqlite3.Connection:
    """Return a database that is whole. Raises OSError, sqlite3.Error."""
    # SQLite gives what it makes beside a file the file's own mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return _prepared(sqlite3.connect(path, timeout=BUSY))


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    """Return a database that has the table and no damage. Raises sqlite3.Error."""
    try:
        database.execute("PRAGMA journal_mode = WAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            _make_table(database)
        database.execute(f"{_GET} LIMIT 1").fetchone()
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _make_table(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    with database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == VERSION:  # another process was quicker
            return
        database.execute("DROP TABLE IF EXISTS item")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether making it again helps; it does not against a lock or a full disk."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in _DAMAGE


def _made_again(path: Path) -> sqlite3.Connection:
    """Return a new database in place of a damaged one. Raises as ``_opened``."""
    with locks.locked(path):
        try:
            return _opened(path)  # another process may have made it meanwhile
        except sqlite3.Error:
            for end in ("-wal", "-shm", ""):
                path.with_name(path.name + end).unlink(missing_ok=True)
    return _opened(path)


def _values(record: Record, stamp: str) -> tuple[str | float, ...]:
    recipients = [str(one.mailbox) for one in record.recipients]
    mailbox = record.reverse_path.mailbox
    return (
        record.id,
        stamp,
        _time(record.kept_at),
        record.kind,
        record.state,
        _column([str(mailbox) if mailbox else "<>"]),
        _column(recipients),
        record.size,
        record.policy,
        record.rule,
        record.reason,
        record.subject,
        record.header_from,
        _column(record.part.names if record.part else ()),
        _BETWEEN.join(record.key),
    )


def _row(found: dict[str, str]) -> Row:
    return Row(
        found["id"],
        datetime.fromisoformat(found["kept_at"]),
        Kind(found["kind"]),
        State(found["state"]),
        found["sender"].strip(_BETWEEN),
        _split(found["recipients"]),
        int(found["size"]),
        found["policy"],
        found["rule"],
        found["reason"],
        found["subject"],
        found["header_from"],
        _split(found["names"]),
    )


def _time(when: datetime) -> str:
    """Return a time as text that sorts as times do."""
    return when.astimezone(UTC).isoformat(timespec="microseconds")


def _column(values: Iterable[str]) -> str:
    """Return several values as one, each with a line's end before and behind it."""
    lines = [value.replace(_BETWEEN, " ") for value in values]
    return f"{_BETWEEN}{_BETWEEN.join(lines)}{_BETWEEN}" if lines else ""


def _split(column: str) -> tuple[str, ...]:
    return tuple(column.strip(_BETWEEN).split(_BETWEEN)) if column else ()


def _sought(address: str) -> str:
    before = "" if address.startswith("@") else _BETWEEN
    return f"{before}{address}{_BETWEEN}"
