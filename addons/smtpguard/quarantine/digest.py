"""One mail for each recipient that tells what is held for him: ids, senders, subjects.

Releasing is the administrator's; the mail names ids so that he can be asked. What
others have written stands in the body alone, without controls, as quoted-printable: no
header field can be made of it, and the mail is 7-bit.
"""

from __future__ import annotations

import quopri
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from smtpguard.model.content import MemorySpool
from smtpguard.model.mailbox import Path
from smtpguard.quarantine.delivery import Mail, deliver
from smtpguard.quarantine.ids import new_id
from smtpguard.quarantine.record import Kind, State


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy.deliveryreader import DeliverySettings
    from smtpguard.quarantine.delivery import Result
    from smtpguard.quarantine.record import Record


MAX_TEXT: Final = 120
"""Characters of a sender or subject."""
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
    # An address outside ASCII stands in the envelope alone.
    is_ascii = recipient.octets.isascii()
    to = b"<%s>" % recipient.octets if is_ascii else b"undisclosed-recipients:;"
    domain = sender.domain.encode("ascii")
    fields = (
        b"From: <%s>" % sender.octets,
        b"To: " + to,
        b"Subject: Messages that are held for you: %d" % len(held),
        b"Date: " + format_datetime(now).encode("ascii"),
        b"Message-ID: <%s@%s>" % (new_id(now).encode("ascii"), domain),
        b"Auto-Submitted: auto-generated",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: quoted-printable",
    )
    text = "\n".join(_lines(recipient, held)) + "\n"
    body = quopri.encodestring(text.encode()).replace(b"\n", b"\r\n")
    return b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def send_digest(
    server: DeliverySettings,
    recipient: Mailbox,
    held: list[Record],
    sender: Mailbox,
    now: datetime,
) -> Result:
    """Send one recipient's mail, from the null reverse-path: nobody answers it."""
    content = MemorySpool()
    content.write(digest_mail(recipient, held, sender, now))
    mail = Mail(Path(None), [Path(recipient)], content)
    (result,) = deliver(server, mail, lambda _: None)
    return result


def _lines(recipient: Mailbox, held: list[Record]) -> Iterable[str]:
    yield f"These messages to {recipient} were not delivered. Ask your administrator"
    yield "to release one, and name its id."
    for record in held[:MAX_ITEMS]:
        when = record.kept_at.strftime("%Y-%m-%d %H:%M %Z")
        yield ""
        yield f"{record.id}  {when}"
        yield f"    From: {_plain(record.header_from or str(record.reverse_path))}"
        yield f"    Subject: {_plain(record.subject)}"
    if len(held) > MAX_ITEMS:
        yield ""
        yield f"... and {len(held) - MAX_ITEMS} more."


def _plain(text: str) -> str:
    """Return a text of others on one line: what does not print is a blank."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= MAX_TEXT else f"{shown[: MAX_TEXT - 3]}..."
