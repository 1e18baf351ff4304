"""Releasing: what is held goes on to whom it was meant for, once.

Whoever releases holds the item from beginning to end. ``releasing`` of each recipient
is on the disk before the final dot leaves, so whatever happens then is not done twice:
what is found in that state is in doubt, and only ``force`` sends it again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.errors import NotReleasedError, QuarantineError
from smtpguard.model.mailbox import Path
from smtpguard.policy.deliveryreader import DeliverySettings
from smtpguard.quarantine.delivery import Fate, Mail, deliver
from smtpguard.quarantine.record import HeldRecipient, Kind, State, address
from smtpguard.quarantine.released import Released, is_remembered
from smtpguard.quarantine.survey import whole


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from smtpguard.model.content import Content
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.quarantine.delivery import Result
    from smtpguard.quarantine.record import Record, Upstream
    from smtpguard.quarantine.store import Store


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
) -> dict[Mailbox, Result]:
    """Send a message that is held; return what became of it for each recipient.

    To all whom it is held for, to ``recipients`` of them alone, or to others in ``to``.
    Without ``delivery`` it goes to the upstream it was meant for. ``force`` sends it
    also to whom it has gone or may have gone. A copy goes once all have it. Raises
    QuarantineError; NotReleasedError where nobody is left to send it to.
    """
    with store.locked(item):
        record = store.read(item)
        if record.kind is Kind.PART:
            raise QuarantineError(f"{item}: a part is exported, not released")
        if record.part is not None:
            if record.state is State.PENDING:
                raise QuarantineError(f"{item}: its message is still under way")
            record = replace(record, part=replace(record.part, state=State.KEPT))
        record, numbers = _chosen(record, recipients, to, force=force)
        if not numbers:
            raise NotReleasedError(f"{item}: {_why_not(record)}")
        content = whole(store, record)
        attempt = _Release(store, record, numbers, clock)
        found = attempt.run(
            content, delivery or upstream_delivery(record.upstream), helo
        )
        if attempt.has_gone and record.kind is Kind.COPY:
            store.remove(item)
        return found


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
        self._before = record.recipients
        self._numbers = numbers
        self._clock = clock
        self._released = Released(store.folder)

    @property
    def has_gone(self) -> bool:
        """Whether all for whom the item is kept have it."""
        return self._record.state is State.RELEASED

    def run(
        self, content: Content, server: DeliverySettings, helo: str | None
    ) -> dict[Mailbox, Result]:
        paths = [self._before[number].forward_path for number in self._numbers]
        mail = Mail(self._record.reverse_path, paths, content)
        results = deliver(server, mail, self._commit, helo)
        numbered = dict(zip(self._numbers, results, strict=True))
        self._forget(at for at, r in numbered.items() if r.fate is Fate.FAILED)
        self._write({at: self._after(at, result) for at, result in numbered.items()})
        return {self._before[at].mailbox: result for at, result in numbered.items()}

    def _after(self, number: int, result: Result) -> HeldRecipient:
        """Return a recipient after the attempt; a failed one is what it was before."""
        before = self._before[number]
        match result.fate:
            case Fate.SENT:
                return replace(before, state=State.RELEASED, error="")
            case Fate.IN_DOUBT:
                return replace(before, state=State.RELEASING, error=result.text)
        return replace(before, error=result.text)

    def _commit(self, accepted: Sequence[int]) -> None:
        """Note, before the final dot, whom it will be released to."""
        numbers = [self._numbers[at] for at in accepted]
        sha256 = self._record.sha256
        try:
            for at in numbers if is_remembered(self._record) else ():
                mailbox = self._before[at].mailbox
                self._released.remember(sha256, mailbox, self._clock())
            about_to = {
                at: replace(self._before[at], state=State.RELEASING) for at in numbers
            }
            self._write(about_to)
        except QuarantineError:
            self._forget(numbers)
            raise

    def _forget(self, numbers: Iterable[int]) -> None:
        for at in numbers:
            # Who had it before, or may have had it, has it still.
            if self._before[at].state is State.HELD:
                self._released.forget(self._record.sha256, self._before[at].mailbox)

    def _write(self, changed: Mapping[int, HeldRecipient]) -> None:
        now = self._clock()
        timed = {at: replace(one, changed=now) for at, one in changed.items()}
        self._record = self._record.with_recipients(timed)
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
    known = {address(one.mailbox) for one in record.recipients}
    missing = [one for one in recipients if address(one) not in known]
    if missing:
        raise QuarantineError(f"{record.id}: is not held for {missing[0]}")
    new = {address(one): one for one in to if address(one) not in known}
    more = [HeldRecipient(Path(one), Path(one), added=True) for one in new.values()]
    record = replace(record, recipients=(*record.recipients, *more))
    named = {address(one) for one in (*recipients, *to)}
    states = {State.HELD, *((State.RELEASING, State.RELEASED) if force else ())}
    numbers = [
        number
        for number, one in enumerate(record.recipients)
        # Whom an administrator once named instead gets nothing that he does not name.
        if (address(one.mailbox) in named if named else not one.added)
        and one.state in states
    ]
    return record, numbers


def _why_not(record: Record) -> str:
    if record.state is State.RELEASING:
        return "may have been delivered; --force sends it again"
    return "is released already; --force sends it again"
