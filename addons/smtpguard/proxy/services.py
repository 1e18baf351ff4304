"""What one session needs of the process it runs in, as one value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mitmproxy.proxy import commands, events


if TYPE_CHECKING:
    from mitmproxy import tcp

    from smtpguard.dialogue import Dialogue, TransactionRecord
    from smtpguard.model.decider import Decider
    from smtpguard.options import GuardOptions
    from smtpguard.proxy.hooks import SmtpMessageData
    from smtpguard.proxy.pacing import Pacing
    from smtpguard.proxy.registry import Registry


class Recorder(Protocol):
    """Turns a session into what its flow shows (``record``)."""

    def update(self, dialogue: Dialogue) -> bool:
        """Bring the flow's messages up to date; tell whether there was anything new."""
        ...

    def transaction(self, record: TransactionRecord) -> None:
        """Take a transaction's outcome into the flow's comment and metadata."""
        ...

    def finish(self, dialogue: Dialogue, error: str | None = None) -> None:
        """Complete the flow; nothing follows."""
        ...


type MakeRecorder = Callable[[tcp.TCPFlow, GuardOptions], Recorder]


@dataclass(frozen=True, slots=True)
class Services:
    """What the layers of one session share with the process."""

    registry: Registry
    options: GuardOptions
    """As they were when the session began."""
    pacing: Pacing
    make_recorder: MakeRecorder
    decider: Decider | None = None
    """Who answers for the rules; asked directly where no other addon wants a say."""
    judge_at_once: Callable[[SmtpMessageData], bool] = lambda _: False
    """Judges a message on the spot; False where that has to go through the hook."""
    transaction_ended: Callable[[TransactionRecord], None] = lambda _: None
    """Told of each transaction that has ended. Never raises."""
    heard: frozenset[str] = field(default_factory=frozenset)
    """Hooks that other addons listen to, as they were when the session began."""
    clock: Callable[[], float] = time.monotonic


class ClientGone(events.Event):
    """The client's connection has ended in a way that layers are not told of.

    mitmproxy says nothing to a layer when a client that was half closed is reset.
    """


class StopRequested(events.Event):
    """The process is about to end."""


class Drain(commands.ConnectionCommand):
    """Say ``Drained`` once what was sent on a connection has left our buffers.

    Taken by the entry layer, which is the last to see what is sent.
    """


@dataclass
class Drained(events.Event):
    """The answer to ``Drain``."""

    command: Drain
