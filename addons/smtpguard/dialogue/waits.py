"""How the dialogue waits: tokens that are yielded, and what may end a wait early.

The dialogue is one generator that reads like the conversation it leads. Where it must
wait it yields a ``Wait``; the driver (``Dialogue.handle``) resumes it once ``ready()``
holds, or throws one of the interrupts below into it. So every wait has a deadline, and
every place that waits says, by what it catches, what happens when a peer goes away.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply


NEVER = float("inf")
"""A time that does not come."""


class Wait(NamedTuple):
    """Resume me when ``ready()`` holds, or throw ``Expired`` at ``until``."""

    ready: Callable[[], bool]
    until: float
    """Absolute time, in the dialogue's ``now``."""
    shielded: bool = False
    """True: neither a client that has gone nor a stop ends this wait."""


type Task[T] = Generator[Wait, None, T]


@dataclass(slots=True)
class Latch[T]:
    """Holds the answer to something that was asked for, once it has come."""

    value: T | None = None

    def clear(self) -> None:
        """Forget an earlier answer, before asking again."""
        self.value = None

    @property
    def is_set(self) -> bool:
        """Whether the answer has come."""
        return self.value is not None


class Interrupt(Exception):  # noqa: N818 - control flow, not errors
    """Base of what is thrown into a waiting dialogue; never leaves the package."""


class ClientGone(Interrupt):
    """The client has reset its connection: nobody is left to answer."""


class Expired(Interrupt):
    """A wait came to its deadline."""


class UpstreamLost(Interrupt):
    """The upstream is unreachable, has gone away or talks nonsense."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TlsFailed(UpstreamLost):
    """The upstream is lost because its TLS handshake failed."""


class Hangup(Interrupt):
    """The session ends now: with a last reply, or without one."""

    def __init__(self, reply: Reply | None, reason: str) -> None:
        super().__init__(reason)
        self.reply = reply
        self.reason = reason


class Anomaly(Hangup):
    """The session ends since its client breaks SMTP, which is counted."""

    def __init__(self, reply: Reply | None, what: str) -> None:
        super().__init__(reply, f"anomaly: {what}")
