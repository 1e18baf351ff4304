"""Puts into quarantine what the rules say, before anybody hears 250 (contract 8).

A message is kept as it came. A part is kept as pending before the upstream is asked to
take the rest; how that ended settles it. What cannot be kept is put off: the client has
the message still.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from logging import getLogger
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, cast

from smtpguard.alarms import raise_alarm
from smtpguard.errors import QuarantineError
from smtpguard.mime import parse
from smtpguard.model.disposition import Outcome
from smtpguard.model.mailbox import Path
from smtpguard.quarantine.parts import (
    accept_part,
    are_doubted,
    doubt_abandoned,
    doubt_part,
    doubted_copies,
    keep_part,
    refuse_part,
    unsent_copies,
)
from smtpguard.quarantine.record import HeldPart, HeldRecipient, Kind, record_of
from smtpguard.quarantine.released import Released
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.upkeep import purge
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from smtpguard.dialogue.record import TransactionRecord
    from smtpguard.mime import Message, Octets
    from smtpguard.model.content import Spool
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.session import SessionFacts
    from smtpguard.ownmail import OwnMail
    from smtpguard.policy.quarantinereader import QuarantineSettings
    from smtpguard.quarantine.record import Record


logger = getLogger(__name__)

KEPT = "quarantine"
"""Key of a report: the ids of what is kept."""
COPIES = "copies"
"""Likewise, of copies that are to be sent."""
MAX_TOLD = 200
"""Characters of a subject or an author in a record."""
MAX_UNSETTLED = 10_000
"""Items whose settling waits for another try; of more it waits for the next start."""
_KEPT_PARAMETERS = frozenset({"REQUIRETLS", "SMTPUTF8"})
"""Of MAIL: what a copy may not do without either."""
_WENT_ON = frozenset({Outcome.RELAYED, Outcome.MODIFIED})


class FolderKeeper:
    """Keeps in one folder (``pipeline.Keeper``); for any thread."""

    def __init__(
        self,
        settings: QuarantineSettings,
        clock: Callable[[], datetime],
        own_mail: OwnMail | None = None,
    ) -> None:
        """Prepare; nothing is made before something is kept. ``own_mail`` sends
        copies."""
        self.settings = settings
        self.own_mail = own_mail
        self._clock = clock
        self._store = Store(FilePath(settings.folder), settings.max_size)
        self._has_doubts = True
        """Whether a part or copy may be in doubt, as far as this process knows."""
        self._unsettled: dict[str, TransactionRecord] = {}
        """By item: how its transaction ended, where that could not be noted."""
        self._told: set[str] = set()
        """Copies in doubt that somebody was told of."""
        self._released = Released(self._store.folder)

    def start(self) -> None:
        """Put in doubt what an earlier process has left unsettled; log it."""
        try:
            for item in doubt_abandoned(self._store):
                logger.warning("quarantine: %s is in doubt", item)
            self._has_doubts = are_doubted(self._store)
        except QuarantineError as error:
            logger.error("quarantine: %s", error)  # noqa: TRY400 - the text says it

    def is_for(self, settings: QuarantineSettings, own_mail: OwnMail | None) -> bool:
        """Whether it keeps what such rules say, as they say it."""
        return settings == self.settings and own_mail is self.own_mail

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
        kept: dict[str, list[str]] = {KEPT: [], COPIES: []}
        try:
            items = self._items(session, envelope, content, said)
            for record, chunks in items:
                put = Store.keep if record.part is None else keep_part
                item = put(self._store, record, chunks).id
                kept[COPIES if record.kind is Kind.COPY else KEPT].append(item)
                _PENDING[item] = self
        except (QuarantineError, OSError) as error:
            raise_alarm("quarantine", str(error))
            logger.error("tx=%s: %s", envelope.id, error)  # noqa: TRY400 - the text says it
            self.drop(kept_of(kept))
            return _put_off(said, error)
        found = {name: items for name, items in kept.items() if items}
        return replace(said, report={**said.report, **found})

    def _items(
        self,
        session: SessionFacts,
        envelope: Envelope,
        content: Spool,
        said: Disposition,
    ) -> Iterator[tuple[Record, Iterator[bytes]]]:
        """Yield what is to be kept: record and octets."""
        message = parse(cast("Octets", content.view()))
        subject, author = _field(message, "subject"), _field(message, "from")
        if said.outcome is Outcome.QUARANTINED:
            record = record_of(
                *(session, envelope, said, self._clock()),
                subject=subject,
                header_from=author,
            )
            yield record, content.chunks()
            return
        digest = hashlib.sha256(content.view()).hexdigest()
        for part in said.held:
            record = record_of(
                *(session, envelope, _about(said, part.path), self._clock()),
                subject=subject,
                header_from=author,
                part=HeldPart(part.path, part.names, part.type, digest),
            )
            yield record, part.chunks()
        if said.side.bcc:
            record = record_of(
                *(session, envelope, said, self._clock()),
                subject=subject,
                header_from=author,
                part=HeldPart("", (), "message/rfc822", digest),
            )
            # From nobody: no bounce tells the sender who has copies.
            to = tuple(HeldRecipient(Path(one), Path(one)) for one in said.side.bcc)
            asked = envelope.asked.parameters
            kept = tuple(one for one in asked if one.keyword in _KEPT_PARAMETERS)
            nobody = Path(None, kept)
            record = replace(record, reverse_path=nobody, recipients=to)
            yield record, (said.content or content).chunks()

    def settle(self, item: str, record: TransactionRecord) -> None:
        """Note how the transaction ended of whose message a part is kept.

        Where that cannot be it is tried again when it is tidied.
        """
        try:
            self._settle(item, record)
        except QuarantineError as error:
            logger.error("tx=%s: %s", record.id, error)  # noqa: TRY400 - the text says it
            raise_alarm("quarantine", f"{item} is not settled: {error}")
            if len(self._unsettled) < MAX_UNSETTLED:
                self._unsettled[item] = record

    def _settle(self, item: str, record: TransactionRecord) -> None:
        if record.outcome in _WENT_ON:
            kept = accept_part(self._store, item, doubts=self._has_doubts)
            if kept.kind is Kind.COPY and self.own_mail is not None:
                self.own_mail.send_copy(self._store, item)
        elif record.in_doubt:
            self._has_doubts = True
            doubt_part(self._store, item)
        else:
            refuse_part(self._store, item)

    def tidy(self) -> None:
        """Delete what is too old, or too much, and try again what did not work
        (``Keeper``)."""
        if not self._store.folder.exists():  # nothing was ever kept
            return
        unsettled, self._unsettled = self._unsettled, {}
        for item, record in unsettled.items():
            self.settle(item, record)
        try:
            for item in purge(self._store, self.settings, self._clock()):
                logger.info("quarantine: %s is purged", item)
            self._look_after_copies()
            self._has_doubts = are_doubted(self._store)
        except QuarantineError as error:
            logger.error("quarantine: %s", error)  # noqa: TRY400 - the text says it

    def _look_after_copies(self) -> None:
        """Send copies that were not, and tell of those in doubt."""
        if self.own_mail is not None:
            for item in unsent_copies(self._store):
                self.own_mail.send_copy(self._store, item)
        doubted = set(doubted_copies(self._store))
        if doubted - self._told:
            where = "smtpguard quarantine list --kind copy"
            raise_alarm("copies", f"{len(doubted)} in doubt: {where}")
        self._told = doubted

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


def kept_of(report: Mapping[str, Any]) -> list[str]:
    """Return the ids of all that is kept of a message, by its report."""
    return [item for key in (KEPT, COPIES) for item in report.get(key) or ()]


def settle(record: TransactionRecord) -> None:
    """Note how a transaction ended of which something is kept; it may take a while."""
    for item in kept_of(record.report):
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
    # It goes on to nobody now: nothing is added, and there is no copy.
    side = replace(said.side, add_header=(), bcc=())
    told = {"notify": [str(one) for one in side.notify]} if side else {}
    report = {**said.report, "side": told} if said.side else said.report
    is_full = isinstance(error, QuarantineError) and error.full
    reply = replies.STORAGE_FULL if is_full else replies.STORAGE_FAILED
    reason = f"not kept: {error}"
    return replace(
        said,
        outcome=Outcome.DEFERRED,
        reply=reply,
        content=None,
        reason=reason,
        report=report,
        held=(),
        side=side,
    )


def _field(message: Message, name: str) -> str:
    values = (one.value for one in message.fields if one.is_named(name))
    return next(values, "")[:MAX_TOLD]
