"""Releasing: what is held goes on to whom it was meant for, once.

Whoever releases holds the item from beginning to end. ``releasing`` of each recipient
is on the disk before the final dot leaves, so whatever happens then is not done twice:
what is found in that state is in doubt, and only ``force`` sends it again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from smtpguard.errors import QuarantineError
from smtpguard.model.mailbox import Path
from smtpguard.policy.deliveryreader import DeliverySettings
from smtpguard.quarantine.delivery import Fate, Mail, deliver
from smtpguard.quarantine.record import HeldRecipient, Kind, State
from smtpguard.quarantine.released import Released
from smtpguard.quarantine.survey import whole


if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from smtpguard.model.content import Content
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.quarantine.delivery import Result
    from smtpguard.quarantine.record import Record, Upstream
    from smtpguard.quarantine.store import Store


_AFTER: Final = {
    Fate.SENT: State.RELEASED,
    Fate.FAILED: State.HELD,
    Fate.IN_DOUBT: State.RELEASING,
}


def release(
    store: Store,
    item: str,
    delivery: DeliverySettings | None,
    clock: Callable[[], datetime],
    *,
    recipients: Sequence[Mailbox] = (),
    to: Sequence[Mailbox] = (),
    force: bool = False,
    helo: str | None = None,
) -> dict[str, Result]:
    """Send a message that is held; return what became of it for each recipient.

    To all whom it is held for, to ``recipients`` of them alone, or to others in ``to``.
    Without ``delivery`` it goes to the upstream it was meant for. ``force`` sends it
    also to whom it has gone or may have gone. Raises QuarantineError.
    """
    with store.locked(item):
        record = store.read(item)
        if record.kind is Kind.PART:
            raise QuarantineError(f"{item}: a part is exported, not released")
        record, numbers = _chosen(record, recipients, to, force=force)
        if not numbers:
            raise QuarantineError(f"{item}: {_why_not(record)}")
        content = whole(store, record)
        attempt = _Release(store, record, numbers, clock)
        return attempt.run(
            content, delivery or upstream_delivery(record.upstream), helo
        )


class _Release:
    """One attempt, by who holds the item."""

    def __init__(
        self,
        store: Store,
        record: Record,
        numbers: Sequence[int],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._record = record
        self._numbers = numbers
        self._clock = clock
        self._released = Released(store.folder)

    def run(
        self, content: Content, server: DeliverySettings, helo: str | None
    ) -> dict[str, Result]:
        chosen = [self._record.recipients[number] for number in self._numbers]
        mail = Mail(
            self._record.reverse_path,
            [one.forward_path for one in chosen],
            content,
        )
        results = deliver(server, mail, self._commit, helo)
        for one, result in zip(chosen, results, strict=True):
            if result.fate is Fate.FAILED:
                self._released.forget(self._record.sha256, one.mailbox)
        numbered = dict(zip(self._numbers, results, strict=True))
        self._write({at: (_AFTER[r.fate], r) for at, r in numbered.items()})
        addresses = [str(one.mailbox) for one in chosen]
        return dict(zip(addresses, results, strict=True))

    def _commit(self, accepted: Sequence[int]) -> None:
        """Note, before the final dot, whom it will be released to."""
        numbers = [self._numbers[at] for at in accepted]
        mailboxes = [self._record.recipients[at].mailbox for at in numbers]
        try:
            for mailbox in mailboxes:
                self._released.remember(self._record.sha256, mailbox, self._clock())
            self._write(dict.fromkeys(numbers, (State.RELEASING, None)))
        except QuarantineError:
            for mailbox in mailboxes:
                self._released.forget(self._record.sha256, mailbox)
            raise

    def _write(self, states: Mapping[int, tuple[State, Result | None]]) -> None:
        now, changed = self._clock(), {}
        for number, (state, result) in states.items():
            error = result.text if result and result.fate is not Fate.SENT else ""
            one = self._record.recipients[number]
            changed[number] = replace(one, state=state, error=error, changed=now)
        self._record = self._record.with_recipients(changed)
        self._store.write(self._record)


def upstream_delivery(upstream: Upstream) -> DeliverySettings:
    """Return how a message would have gone on in its session, TLS no weaker."""
    return DeliverySettings(upstream.host, upstream.port, upstream.tls)


def _chosen(
    record: Record,
    recipients: Sequence[Mailbox],
    to: Sequence[Mailbox],
    *,
    force: bool,
) -> tuple[Record, list[int]]:
    """Return the record, with those of ``to`` in it, and who is to get the message."""
    known = {one.mailbox: at for at, one in enumerate(record.recipients)}
    if to:
        new = [mailbox for mailbox in dict.fromkeys(to) if mailbox not in known]
        more = [HeldRecipient(Path(one), Path(one), added=True) for one in new]
        record = replace(record, recipients=(*record.recipients, *more))
        known |= {one: len(known) + at for at, one in enumerate(new)}
    missing = next((one for one in recipients if one not in known), None)
    if missing is not None:
        raise QuarantineError(f"{record.id}: is not held for {missing}")
    named = [known[one] for one in dict.fromkeys((*recipients, *to))]
    # Whom an administrator once named instead gets nothing that he does not name.
    numbers = named or [at for at, one in enumerate(record.recipients) if not one.added]
    states = {State.HELD, *((State.RELEASING, State.RELEASED) if force else ())}
    return record, [at for at in numbers if record.recipients[at].state in states]


def _why_not(record: Record) -> str:
    if record.state is State.RELEASING:
        return "may have been delivered; --force sends it again"
    return "is held for nobody; --force sends it again"
