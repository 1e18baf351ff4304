"""Mail that smtpguard itself sends while it runs: copies, notices, alarms (contract 8).

All of it goes by ``delivery``, from threads that no session waits for. A copy lies in
the quarantine until it is sent, and stays there where it cannot be. Notices are
gathered, so that a flood of spam is no flood of notices; one that cannot be sent is
lost, and the log says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from smtpguard.alarms import raise_alarm
from smtpguard.errors import QuarantineError
from smtpguard.quarantine.delivery import Fate
from smtpguard.quarantine.release import release
from smtpguard.quarantine.textmail import plain, send_text, text_mail
from smtpguard.wire import parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from smtpguard.dialogue.record import TransactionRecord
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy.deliveryreader import DeliverySettings
    from smtpguard.quarantine.delivery import Result
    from smtpguard.quarantine.store import Store


logger = logging.getLogger(__name__)

SENDERS: Final = 4
"""Copies that are sent at the same time."""
MAX_WAITING: Final = 10_000
"""Copies that wait to be sent; more stay in the quarantine."""
EVERY: Final = 60.0
"""Seconds between two mails of notices to one address."""
MAX_NOTICES: Final = 200
"""Notices of one mail; more are counted."""
STOP_SECONDS: Final = 5.0
MAX_REASON: Final = 500
MAX_TOLD_RECIPIENTS: Final = 20


@dataclass(frozen=True, slots=True)
class Notice:
    """One event that somebody is told of."""

    word: str
    """What it is, in ASCII: an outcome, ``alarm``."""
    lines: tuple[str, ...]
    """All that is told of it, each without controls."""


@dataclass(slots=True)
class _Box:
    """What one address is still to be told."""

    notices: list[Notice] = field(default_factory=list)
    more: int = 0
    due: float = 0.0
    """When its next mail may go."""


class OwnMail:
    """The sender of one process; for any thread. Starts no thread before it must."""

    def __init__(
        self,
        delivery: DeliverySettings,
        clock: Callable[[], datetime],
        alarmed: tuple[Mailbox, ...] = (),
        every: float = EVERY,
    ) -> None:
        """Prepare; ``alarmed`` are told of alarms."""
        self.delivery = delivery
        self.alarmed = alarmed
        self._clock = clock
        self._every = every
        self._changed = threading.Condition()
        """Guards all that stands below."""
        self._copies: deque[tuple[Store, str]] = deque()
        self._senders = 0
        self._boxes: dict[Mailbox, _Box] = {}
        self._is_telling = False
        self._is_ended = False

    def is_for(self, delivery: DeliverySettings, alarmed: tuple[Mailbox, ...]) -> bool:
        """Whether it sends as such rules say."""
        return (self.delivery, self.alarmed) == (delivery, alarmed)

    def send_copy(self, store: Store, item: str) -> None:
        """Have a copy sent that lies in the quarantine; it goes when it was."""
        with self._changed:
            has_room = len(self._copies) < MAX_WAITING
            if has_room:
                self._copies.append((store, item))
            if has_room and self._senders < SENDERS:
                # Without a thread it waits for the next one that has one.
                self._senders += _is_started(self._send_copies, "smtpguard copies")
        if not has_room:
            _stays(item, f"{MAX_WAITING} others wait")

    def notify(self, record: TransactionRecord) -> None:
        """Tell those of a transaction that has ended whom its report names."""
        side = record.report.get("side")
        named = side.get("notify") if isinstance(side, dict) else None
        if not isinstance(named, list):  # any addon may have made the report
            return
        found = []
        for one in named:
            with suppress(ValueError):
                found.append(parse_mailbox(str(one)))
        if found:
            self.tell(found, notice_of(record, self._clock()))

    def alarm(self, text: str) -> None:
        """Tell of an alarm whoever is to be told, which may be nobody."""
        if self.alarmed:
            self.tell(self.alarmed, Notice("alarm", (plain(text, MAX_REASON),)))

    def tell(self, to: Iterable[Mailbox], notice: Notice) -> None:
        """Have some addresses told of something, at once or with the next mail."""
        with self._changed:
            for mailbox in to:
                box = self._boxes.setdefault(mailbox, _Box())
                if len(box.notices) < MAX_NOTICES:
                    box.notices.append(notice)
                else:
                    box.more += 1
            if not self._is_telling:
                self._is_telling = _is_started(self._tell_all, "smtpguard notices")
            self._changed.notify_all()

    def retire(self) -> None:
        """Send what waits without waiting for more: another one is there now."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Send what waits, for a few seconds at most."""
        self.retire()
        with self._changed:
            self._changed.wait_for(
                lambda: not self._senders and not self._is_telling, STOP_SECONDS
            )
            left = len(self._copies) + self._senders
            self._copies.clear()
        if left:
            logger.warning("copies that are not sent, or in doubt: %d", left)

    # -- threads -----------------------------------------------------------------------

    def _send_copies(self) -> None:
        while (found := self._next_copy()) is not None:
            store, item = found
            try:
                self._send_copy(store, item)
            except Exception:
                logger.exception("copy %s", item)

    def _next_copy(self) -> tuple[Store, str] | None:
        """Take what waits; None where nothing does, and then the thread ends."""
        with self._changed:
            if self._copies:
                return self._copies.popleft()
            self._senders -= 1
            self._changed.notify_all()
            return None

    def _send_copy(self, store: Store, item: str) -> None:
        try:
            results = release(store, item, self.delivery, self._clock)
            failed = [one for one in results.values() if one.fate is not Fate.SENT]
            if failed:
                _stays(item, _words(failed[0]))
        except QuarantineError as error:
            # Another process may be at it, or done with it: at a start all look.
            try:
                is_theirs = store.is_locked(item) or not store.size_of(item)
            except OSError:
                is_theirs = False
            if not is_theirs:
                _stays(item, str(error))

    def _tell_all(self) -> None:
        while (found := self._next_box()) is not None:
            mailbox, box = found
            try:
                self._send(mailbox, box)
            except Exception:
                logger.exception("a mail of notices was not sent")

    def _next_box(self) -> tuple[Mailbox, _Box] | None:
        """Wait for a box that is due and take what is in it; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                full = {to: box for to, box in self._boxes.items() if box.notices}
                for to, box in full.items():
                    if box.due <= now or self._is_ended:
                        self._boxes[to] = _Box(due=now + self._every)
                        return to, box
                if self._is_ended:
                    self._is_telling = False
                    self._changed.notify_all()
                    return None
                due = [box.due for box in full.values()]
                self._changed.wait(min(due) - now if due else None)

    def _send(self, mailbox: Mailbox, box: _Box) -> None:
        sender = self.delivery.sender
        assert sender is not None, "checked when the rules were loaded"
        mail = text_mail(
            mailbox, sender, _subject(box), list(_lines(box)), self._clock()
        )
        result = send_text(self.delivery, mailbox, mail)
        if result.fate is not Fate.SENT:
            count = len(box.notices) + box.more
            logger.error("notices that were not sent: %d: %s", count, _words(result))


def notice_of(record: TransactionRecord, now: datetime) -> Notice:
    """Return what is told of a transaction that has ended."""
    recipients = [str(one.get("address", "")) for one in record.rcpt_to]
    more = len(recipients) - MAX_TOLD_RECIPIENTS
    to = ", ".join(recipients[:MAX_TOLD_RECIPIENTS])
    rows = {
        "Client": record.client,
        "From": f"<{record.mail_from}>",
        "To": to + (f" and {more} more" if more > 0 else ""),
        "Rule": f"{record.policy}, {record.rule}: {record.action}",
        "Reason": record.reason,
        "Reply": record.reply,
        "In doubt": record.in_doubt,
        "Kept": ", ".join(map(str, record.report.get("quarantine") or ())),
    }
    when = now.strftime("%Y-%m-%d %H:%M:%S %z")
    lines = [f"{when}  {record.id}  {record.outcome}"]
    lines += [
        f"    {name}: {plain(text, MAX_REASON)}" for name, text in rows.items() if text
    ]
    return Notice(str(record.outcome), tuple(lines))


def _is_started(target: Callable[[], None], name: str) -> bool:
    """Start a thread; False where there can be no more."""
    # A server that does not answer must not hold up the end of the process.
    thread = threading.Thread(target=target, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        logger.error("%s: %s", name, error)  # noqa: TRY400 - the text says it
        return False
    return True


def _words(result: Result) -> str:
    """Return why something was not sent, for the log: a reply may quote addresses."""
    code = result.text[:3]
    return f"answered {code}" if code.isdigit() else result.text


def _stays(item: str, reason: str) -> None:
    raise_alarm("copies", f"{item} stays in the quarantine: {reason}")


def _subject(box: _Box) -> str:
    words: dict[str, int] = {}
    for notice in box.notices:
        words[notice.word] = words.get(notice.word, 0) + 1
    told = ", ".join(f"{count} {word}" for word, count in words.items())
    return f"smtpguard: {told}" + (f", {box.more} more" if box.more else "")


def _lines(box: _Box) -> Iterator[str]:
    for notice in box.notices:
        yield from notice.lines
        yield ""
    if box.more:
        yield f"... and {box.more} more; the log has all."
