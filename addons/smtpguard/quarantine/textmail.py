"""A mail that smtpguard itself writes: a text, from nobody who answers (RFC 3834).

What others have written stands in the body alone, without controls, as
quoted-printable: no header field can be made of it, and the mail is 7-bit.
"""

from __future__ import annotations

import quopri
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from smtpguard.model.content import MemorySpool
from smtpguard.model.mailbox import Path
from smtpguard.quarantine.delivery import Mail, deliver
from smtpguard.quarantine.ids import new_id


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy.deliveryreader import DeliverySettings
    from smtpguard.quarantine.delivery import Result


MAX_TEXT: Final = 120
"""Characters of a sender or subject."""


def text_mail(
    recipient: Mailbox,
    sender: Mailbox,
    subject: str,
    lines: Iterable[str],
    now: datetime,
) -> bytes:
    """Return the mail; ``subject`` is ASCII, and nothing that others have written."""
    # An address outside ASCII stands in the envelope alone.
    is_ascii = recipient.octets.isascii()
    to = b"<%s>" % recipient.octets if is_ascii else b"undisclosed-recipients:;"
    domain = sender.domain.encode("ascii")
    fields = (
        b"From: <%s>" % sender.octets,
        b"To: " + to,
        b"Subject: " + subject.encode("ascii"),
        b"Date: " + format_datetime(now).encode("ascii"),
        b"Message-ID: <%s@%s>" % (new_id(now).encode("ascii"), domain),
        b"Auto-Submitted: auto-generated",
        b"MIME-Version: 1.0",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Transfer-Encoding: quoted-printable",
    )
    text = "\n".join(lines) + "\n"
    body = quopri.encodestring(text.encode()).replace(b"\n", b"\r\n")
    return b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def send_text(server: DeliverySettings, recipient: Mailbox, mail: bytes) -> Result:
    """Send such a mail, from the null reverse-path: nobody answers it."""
    content = MemorySpool()
    content.write(mail)
    (result,) = deliver(
        server, Mail(Path(None), [Path(recipient)], content), lambda _: None
    )
    return result


def plain(text: str, limit: int = MAX_TEXT) -> str:
    """Return a text of others on one line: what does not print is a blank."""
    shown = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[: limit - 3]}..."
