"""Short forms for tests about paths."""

from __future__ import annotations

import functools

from smtpguard.errors import ProtocolError
from smtpguard.model.mailbox import Mailbox
from smtpguard.wire.path import parse_mail, parse_rcpt
from tests.wire.feeding import outcome


def rcpt(path: str | bytes, *, smtputf8: bool = True) -> Mailbox:
    """Return the mailbox of ``RCPT TO:`` with that path."""
    octets = path.encode() if isinstance(path, str) else path
    mailbox = parse_rcpt(b"TO:" + octets, smtputf8=smtputf8).mailbox
    assert mailbox is not None
    return mailbox


def refusal(octets: bytes) -> ProtocolError:
    """Return why an argument of MAIL (``FROM:``) or RCPT (``TO:``) is refused."""
    parse = functools.partial(parse_rcpt, smtputf8=True)
    found = outcome(lambda: (parse if octets[:1] == b"T" else parse_mail)(octets))
    assert isinstance(found, ProtocolError)
    return found
