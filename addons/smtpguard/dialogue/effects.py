"""What a dialogue wants done: the outputs of ``Dialogue.handle``.

Imperatives, as mitmproxy names its commands. They are carried out in order. An effect
on a connection that is closed already is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpguard.dialogue.record import TransactionRecord
    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.model.session import Leg
    from smtpguard.wire.command import Command


@dataclass(frozen=True, slots=True)
class Send:
    """Send octets, encrypted if the leg has TLS."""

    leg: Leg
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the leg's connection once what was sent has left."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class OpenUpstream:
    """Open a new connection to the upstream; ``Opened`` answers.

    After the first time it replaces a connection that is closed or lost: events of the
    old one no longer reach the dialogue.
    """


@dataclass(frozen=True, slots=True)
class StartTls:
    """Begin a TLS handshake on an open leg; ``TlsFinished`` answers.

    On the client's leg ``HelloReceived`` comes before it.
    """

    leg: Leg
    name: str = ""
    """Upstream: the name to send (SNI, unless it is an address) and to verify."""
    data: bytes = b""
    """Octets of the peer that were read already (implicit TLS, told by its first)."""


@dataclass(frozen=True, slots=True)
class ContinueTls:
    """Go on with the client's handshake after ``HelloReceived``."""


@dataclass(frozen=True, slots=True)
class AskVerdict:
    """Judge a whole message; ``Judged`` answers."""

    transaction: Transaction


@dataclass(frozen=True, slots=True)
class AskCommand:
    """Ask other addons about a command; ``CommandJudged`` answers."""

    command: Command


@dataclass(frozen=True, slots=True)
class Pace:
    """Say ``Drained`` once the octets sent on a leg have left our buffers.

    Never at once: whoever else waits for the process has a turn before.
    """

    leg: Leg


@dataclass(frozen=True, slots=True)
class PauseReading:
    """Take no more octets from the client for now."""


@dataclass(frozen=True, slots=True)
class ResumeReading:
    """Take octets from the client again."""


@dataclass(frozen=True, slots=True)
class Log:
    """One line for the log; printable ASCII."""

    level: int
    """As in ``logging``."""
    text: str


@dataclass(frozen=True, slots=True)
class TransactionEnded:
    """A transaction has its final outcome."""

    record: TransactionRecord


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """Both legs are closed or about to be; nothing follows."""


type Effect = (
    Send
    | Close
    | OpenUpstream
    | StartTls
    | ContinueTls
    | AskVerdict
    | AskCommand
    | Pace
    | PauseReading
    | ResumeReading
    | Log
    | TransactionEnded
    | SessionEnded
)
