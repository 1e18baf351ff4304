"""The mail log: one line for each transaction, as a mail administrator greps for it.

Printable ASCII only, whatever the peers sent: a line break, an escape sequence or a
quote in an address must not make a second line or a second field (attacks P1).
"""

from __future__ import annotations

import hashlib
import traceback
from typing import TYPE_CHECKING, Literal


if TYPE_CHECKING:
    from smtpguard.dialogue.record import TransactionRecord


type Addresses = Literal["full", "hashed", "none"]


def line(record: TransactionRecord, addresses: Addresses) -> str:
    """Return the log line of a transaction that has ended."""
    fields = [
        ("tx", record.id),
        ("client", record.client),
        ("tls", record.tls),
        ("from", f"<{shown(record.mail_from, addresses)}>"),
        ("to", _recipients(record, addresses)),
        ("rcpts", str(len(record.rcpt_to))),
        ("size", str(record.size)),
        ("policy", record.policy),
        ("disposition", str(record.outcome)),
        ("rule", record.rule),
        ("action", record.action),
        ("in_doubt", record.in_doubt),
        ("duration", f"{record.duration:.3f}"),
        ("reply", _quoted(record.reply)),
        ("reason", _quoted(record.reason)),
    ]
    return " ".join(f"{name}={_bare(value)}" for name, value in fields if value)


def shown(address: str, addresses: Addresses) -> str:
    """Return an address as the log may show it.

    ``hashed`` is the beginning of the SHA-256 of the lower-case address: the same
    address has the same hash everywhere, so that lines can be brought together.
    """
    if addresses == "full" or not address:
        return address
    if addresses == "none":
        return "hidden"
    return hashlib.sha256(address.lower().encode("utf-8", "replace")).hexdigest()[:16]


def printable(text: str) -> str:
    """Return text as printable ASCII on one line, everything else as escapes."""
    if text.isascii() and text.isprintable():
        return text
    escaped = text.encode("unicode_escape", "backslashreplace").decode("ascii")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)


def describe(error: BaseException) -> str:
    """Return a traceback that is safe to log: it may quote what a peer has sent."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(printable(line) for line in lines)


def _recipients(record: TransactionRecord, addresses: Addresses) -> str:
    return ",".join(
        f"<{shown(str(rcpt.get('address', '')), addresses)}>"
        f":{str(rcpt.get('reply', ''))[:3] or '-'}"
        for rcpt in record.rcpt_to
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if text else ""


def _bare(value: str) -> str:
    """Escape, and keep spaces inside quotes only."""
    safe = printable(value)
    return safe if safe.startswith('"') else safe.replace(" ", "\\x20")
