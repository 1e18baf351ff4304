"""Puts into quarantine what the rules say, before anybody hears 250 (contract 8).

A message is kept as it came. A part is kept as pending before the upstream is asked to
take the rest; how that ended settles it. What cannot be kept is put off: the client has
the message still.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, cast

from smtpguard.errors import QuarantineError
from smtpguard.mime import parse
from smtpguard.model.disposition import Outcome
from smtpguard.quarantine.parts import (
    accept_part,
    doubt_abandoned,
    doubt_part,
    keep_part,
    refuse_part,
)
from smtpguard.quarantine.record import HeldPart, record_of
from smtpguard.quarantine.released import Released
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.upkeep import purge
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from smtpguard.dialogue.record import TransactionRecord
    from smtpguard.mime import Message, Octets
    from smtpguard.model.content import Spool
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.session import SessionFacts
    from smtpguard.policy.quarantinereader import QuarantineSettings
    from smtpguard.quarantine.record import Record


logger = getLogger(__name__)

KEPT = "quarantine"
"""Key of a report: the ids of what is kept."""
MAX_TOLD = 200
"""Characters of a subject or an author in a record."""
_WENT_ON = frozenset({Outcome.RELAYED, Outcome.MODIFIED})


class FolderKeeper:
    """Keeps in one folder (``pipeline.Keeper``); for any thread."""

    def __init__(
        self, settings: QuarantineSettings, clock: Callable[[], datetime]
    ) -> None:
        """Prepare; nothing is made before something is kept."""
        self.settings = settings
        self._clock = clock
        self._store = Store(Path(settings.folder), settings.max_size)
        self._released = Released(self._store.folder)

    def start(self) -> None:
        """Put in doubt what an earlier process has left unsettled; log it."""
        try:
            for item in doubt_abandoned(self._store):
                logger.warning("quarantine: %s is in doubt", item)
        except QuarantineError as error:
            logger.error("quarantine: %s", error)  # noqa: TRY400 - the text says it

    def stop(self) -> None:
        """Keep nothing more."""
        self._store.close()

    def was_released(self, sha256: str, mailbox: Mailbox) -> bool:
        """Whether it was released to a recipient within a day (``Keeper``)."""
        return self._released.was_released(sha256, mailbox, self._clock())

    def keep(
        self,
        session: SessionFacts,
        envelope: Envelope,
        content: Spool,
        said: Disposition,
    ) -> Disposition:
        """Keep what is to be kept (``Keeper``)."""
        kept: list[str] = []
        try:
            items = self._items(session, envelope, content, said)
            for record, chunks, is_part in items:
                put = keep_part if is_part else Store.keep
                kept.append(put(self._store, record, chunks).id)
                _PENDING[kept[-1]] = self
        except (QuarantineError, OSError) as error:
            logger.error("tx=%s: %s", envelope.id, error)  # noqa: TRY400 - the text says it
            self.drop(kept)
            return _put_off(said, error)
        return replace(said, report={**said.report, KEPT: kept})

    def _items(
        self,
        session: SessionFacts,
        envelope: Envelope,
        content: Spool,
        said: Disposition,
    ) -> Iterator[tuple[Record, Iterator[bytes], bool]]:
        """Yield what is to be kept: record, octets, and whether it is a part."""
        message = parse(cast("Octets", content.view()))
        subject, author = _field(message, "subject"), _field(message, "from")
        if said.outcome is Outcome.QUARANTINED:
            record = record_of(
                *(session, envelope, said, self._clock()),
                subject=subject,
                header_from=author,
            )
            yield record, content.chunks(), False
        digest = hashlib.sha256(content.view()).hexdigest() if said.held else ""
        for part in said.held:
            record = record_of(
                *(session, envelope, _about(said, part.path), self._clock()),
                subject=subject,
                header_from=author,
                part=HeldPart(part.path, part.names, part.type, digest),
            )
            yield record, part.chunks(), True

    def settle(self, item: str, record: TransactionRecord) -> None:
        """Note how the transaction ended of whose message a part is kept."""
        try:
            if record.outcome in _WENT_ON:
                accept_part(self._store, item)
            elif record.in_doubt:
                doubt_part(self._store, item)
            else:
                refuse_part(self._store, item)
        except QuarantineError as error:
            logger.error("tx=%s: %s", record.id, error)  # noqa: TRY400 - the text says it

    def tidy(self) -> None:
        """Delete what is too old, or too much (``Keeper``)."""
        try:
            for item in purge(self._store, self.settings, self._clock()):
                logger.info("quarantine: %s is purged", item)
        except QuarantineError as error:
            logger.error("quarantine: %s", error)  # noqa: TRY400 - the text says it

    def drop(self, kept: Sequence[str]) -> None:
        """Delete what was kept of a message that its client has still (``Keeper``)."""
        for item in kept:
            _PENDING.pop(item, None)
            try:
                refuse_part(self._store, item)
            except QuarantineError as error:
                logger.error("quarantine: %s", error)  # noqa: TRY400 - the text says it


_PENDING: dict[str, FolderKeeper] = {}
"""Who keeps what is not settled yet: the rules may name another folder by then, or
none, and another instance of the addon may be on duty."""


def settle(record: TransactionRecord) -> None:
    """Note how a transaction ended of which something is kept; it may take a while."""
    for item in record.report.get(KEPT, ()):
        keeper = _PENDING.pop(item, None)
        if keeper is not None and record.outcome is not Outcome.QUARANTINED:
            keeper.settle(item, record)


def _about(said: Disposition, path: str) -> Disposition:
    """Return what is said, of one part alone: each part has a record of its own."""
    parts = [
        one
        for one in said.report.get("parts", ())
        if f"{one.get('path')}.".startswith(f"{path}.")
    ]
    return replace(said, report={**said.report, "parts": parts})


def _put_off(said: Disposition, error: QuarantineError | OSError) -> Disposition:
    is_full = isinstance(error, QuarantineError) and error.full
    reply = replies.STORAGE_FULL if is_full else replies.STORAGE_FAILED
    reason = f"not kept: {error}"
    return replace(
        said,
        outcome=Outcome.DEFERRED,
        reply=reply,
        content=None,
        reason=reason,
        held=(),
    )


def _field(message: Message, name: str) -> str:
    values = (one.value for one in message.fields if one.is_named(name))
    return next(values, "")[:MAX_TOLD]
