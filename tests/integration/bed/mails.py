"""The mails that the bed sends, and where to.

Each mail carries a token of its own, by which its copies are found again among all that
were delivered in a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal


if TYPE_CHECKING:
    from pathlib import Path


type Tls = Literal["clear", "starttls", "implicit"]

SENDER = "sender@client.example.test"
"""The client MTAs of the bed throw away what they would have to return to it."""

SERVER_NAME = "mail.example.test"

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client sends to, and how."""

    host: str
    port: int
    tls: Tls
    trust: Path
    """The PEM of the authority that the server's certificate must come from."""
    name: str = SERVER_NAME
    """The server's name in TLS, sent as SNI and verified where a client can."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message and its envelope."""

    token: str
    reverse_path: str
    forward_paths: tuple[str, ...]
    message: bytes
    """As it ends on the wire, before dot-stuffing: CRLF, ending with CRLF."""

    @property
    def unix(self) -> bytes:
        """The message with LF, for programs that read files and mean lines."""
        return self.message.replace(b"\r\n", b"\n")


def make_mail(
    *forward_paths: str,
    reverse_path: str = SENDER,
    body: bytes = b"Hello.\r\n.\r\n..two dots\r\n.one dot\r\nEnd.\r\n",
    fields: bytes = b"",
) -> Mail:
    """Return a mail with a token that no other mail of this run has.

    ``fields`` are further header fields, with CRLF. The default body has lines that
    need dot-stuffing.
    """
    token = f"bed-token-{next(_numbers):05d}"
    header = (
        f"From: <{SENDER}>\r\n"
        f"To: <{forward_paths[0]}>\r\n"
        f"Subject: {token}\r\n"
        f"Message-ID: <{token}@client.example.test>\r\n"
        "Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    ).encode("ascii")
    message = header + fields + b"\r\n" + body
    return Mail(token, reverse_path, forward_paths, message)
