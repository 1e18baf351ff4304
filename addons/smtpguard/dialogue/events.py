"""What happens to a dialogue: the inputs of ``Dialogue.handle``.

Past participles, as mitmproxy names its events. Each one arrives together with the time
(seconds, any monotonic origin), so the dialogue itself needs no clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import Leg, TlsFacts


@dataclass(frozen=True, slots=True)
class Started:
    """The client is connected."""


@dataclass(frozen=True, slots=True)
class Received:
    """Octets came, decrypted if the leg has TLS."""

    leg: Leg
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer will send nothing more."""

    leg: Leg
    reset: bool = False
    """True where the peer cannot receive any more either (TCP reset)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """``OpenUpstream`` has ended."""

    error: str | None = None


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """After ``StartTls(CLIENT)``: the ClientHello is there, the handshake is held until
    ``ContinueTls``."""

    name: str = ""
    """The server name the client asks for (SNI), "" without one."""


@dataclass(frozen=True, slots=True)
class TlsFinished:
    """A handshake begun by ``StartTls`` has ended.

    After an error the connection of that leg is closed; no ``Closed`` need follow.
    """

    leg: Leg
    facts: TlsFacts | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """The answer to ``AskVerdict``; None is undecided, which is 451."""

    transaction: str
    disposition: Disposition | None


@dataclass(frozen=True, slots=True)
class CommandJudged:
    """The answer to ``AskCommand``."""

    reply: Reply | None
    """None lets the command go on; else it is answered with this."""


@dataclass(frozen=True, slots=True)
class Drained:
    """The answer to ``Pace``: what was sent on that leg has left our buffers."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class Woke:
    """``Dialogue.deadline`` may have passed."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The process is about to end: finish what is in flight, begin nothing new."""


type Event = (
    Started
    | Received
    | Closed
    | Opened
    | HelloReceived
    | TlsFinished
    | Judged
    | CommandJudged
    | Drained
    | Woke
    | Stopping
)
