"""What a layer above says to the upgradeable TLS layers, and what it hears from them.

Commands go down the stack (towards the sockets) and are taken by the TLS layer of their
connection; events come up. None of them pauses anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmproxy.proxy import commands, events
from mitmproxy.tls import TlsData

# mitmproxy reads the type hints of completions at run time.
from smtpguard.model.session import TlsFacts  # noqa: TC001


if TYPE_CHECKING:
    from mitmproxy import connection


type Provide = Callable[[TlsData], None]
"""Sets ``ssl_conn`` for a handshake, or raises TlsRefusedError."""
type Quiet = Callable[[commands.StartHook], bool]
"""Whether nobody listens to a hook, so that it need not be raised."""


class TlsRefusedError(Exception):
    """A handshake must not take place; the text says why, for the log."""


class StartTls(commands.ConnectionCommand):
    """Begin TLS on an open connection that is in clear; ``StartTlsCompleted`` answers.

    Does not pause the layer that yields it. A layer written in mitmproxy's pausing
    manner may set ``blocking = True`` (and must leave ``hold`` off).
    """

    def __init__(
        self,
        connection: connection.Connection,
        name: str = "",
        data: bytes = b"",
        *,
        hold: bool = False,
    ) -> None:
        super().__init__(connection)
        self.name = name
        """To a server: the name or address to ask for and to verify."""
        self.data = data
        """Octets of the peer that were read already and belong to the handshake."""
        self.hold = hold
        """From a client: wait for ``ContinueTls`` after the ClientHello."""


class ContinueTls(commands.ConnectionCommand):
    """Go on with a client's handshake that is held after its ClientHello."""


@dataclass(repr=False)
class StartTlsCompleted(events.CommandCompleted):
    """A handshake has ended; after an error the connection is being closed."""

    command: StartTls
    reply: str | None
    """What went wrong, None if the connection is encrypted now."""
    facts: TlsFacts | None = None
    """Set if ``reply`` is None."""


@dataclass
class HelloReceived(events.ConnectionEvent):
    """The ClientHello of a held handshake is there."""

    name: str
    """The server name the client asks for, "" without one."""
