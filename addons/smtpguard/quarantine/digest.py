"""One mail for each recipient that tells what is held for him: ids, senders, subjects.

Releasing is the administrator's; the mail names ids so that he can be asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpguard.quarantine.record import Kind, State
from smtpguard.quarantine.textmail import plain, send_text, text_mail


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy.deliveryreader import DeliverySettings
    from smtpguard.quarantine.delivery import Result
    from smtpguard.quarantine.record import Record


MAX_ITEMS: Final = 500
"""Items that one mail lists."""


def held_for(records: Iterable[Record]) -> dict[Mailbox, list[Record]]:
    """Return for each recipient the messages that are held for him."""
    found: dict[Mailbox, list[Record]] = {}
    for record in records:
        for one in record.recipients:
            is_held = one.state is State.HELD and not one.added
            if record.kind is Kind.MESSAGE and is_held:
                found.setdefault(one.mailbox, []).append(record)
    return found


def digest_mail(
    recipient: Mailbox, held: list[Record], sender: Mailbox, now: datetime
) -> bytes:
    """Return the mail to one recipient."""
    subject = f"Messages that are held for you: {len(held)}"
    return text_mail(recipient, sender, subject, _lines(recipient, held), now)


def send_digest(
    server: DeliverySettings,
    recipient: Mailbox,
    held: list[Record],
    sender: Mailbox,
    now: datetime,
) -> Result:
    """Send one recipient's mail."""
    return send_text(server, recipient, digest_mail(recipient, held, sender, now))


def _lines(recipient: Mailbox, held: list[Record]) -> Iterable[str]:
    yield f"These messages to {recipient} were not delivered. Ask your administrator"
    yield "to release one, and name its id."
    for record in held[:MAX_ITEMS]:
        when = record.kept_at.strftime("%Y-%m-%d %H:%M %Z")
        yield ""
        yield f"{record.id}  {when}"
        yield f"    From: {plain(record.header_from or str(record.reverse_path))}"
        yield f"    Subject: {plain(record.subject)}"
    if len(held) > MAX_ITEMS:
        yield ""
        yield f"... and {len(held) - MAX_ITEMS} more."
