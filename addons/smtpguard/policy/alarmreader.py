"""``alarm`` of a rule file: who is told when smtpguard cannot do its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.policy.shapes import Key, Shape, shaped
from smtpguard.policy.sideactions import MAILBOXES


if TYPE_CHECKING:
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy.shapes import Fields


_NOTIFY = Key("notify", MAILBOXES, "Who gets a mail, by delivery.", required=True)
ALARM = Key(
    "alarm",
    shaped(Shape((_NOTIFY,))),
    "Who is told when scanners fail, or a list or the quarantine.",
)


def read_alarm(fields: Fields | None) -> tuple[Mailbox, ...]:
    """Return whom to tell; nobody without the key."""
    return fields.get(_NOTIFY, ()) if fields else ()
