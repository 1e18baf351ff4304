"""The client's leg: unread octets, the reply queue, and what counts against it."""

from __future__ import annotations

from dataclasses import dataclass, field

from smtpguard.wire import Receiver, ReplyQueue


@dataclass(slots=True, eq=False)
class ClientLeg:
    """The client's connection as the dialogue sees it."""

    receiver: Receiver = field(default_factory=Receiver)
    replies: ReplyQueue = field(default_factory=ReplyQueue)
    octets: int = 0
    """Counts what has come in all."""
    changes: int = 0
    """Counts whatever came from the client: a wait can tell that something did."""
    taken: int = 0
    """Lines taken in this turn (``fairness``)."""
    owed: int = 0
    """Octets of replies that it was sent in this turn, and may not have read."""
    finished: bool = False
    """The client sends nothing more (FIN); it may still listen."""
    reset: bool = False
    """The client is gone altogether."""
    parting: bool = False
    """The session ends: what the upstream has not answered it will not any more."""
    flooded: bool = False
    """It sent on and on although nothing could be read: what came since is dropped."""
    in_tls: bool = False
    """Before a TLS handshake that comes first, within one, or after a failed one: no
    reply can be said."""
    dropped: bool = False
    """A rule closes the session without a reply, to earlier commands neither."""
    secure: bool = False
    name: str = ""
    """The server name it asked for in its ClientHello."""
    errors: int = 0
    """Syntax and sequence errors; policy answers do not count."""
    idle: float = 0.0
    """Commands that brought no mail on and are not forgotten yet (``fairness``)."""
    idle_since: float = 0.0
    """When the last one of them came."""
    named: float = 0.0
    """Commands of mails of which no message came, likewise."""
    opened: int = 0
    """Commands that open a session."""
    rejected: int = 0
    """Recipients refused by the rules or by the upstream."""
    mail_refused: bool = False
    """The last MAIL was refused: RCPT and DATA pipelined behind it are no errors."""
    auth_seen: bool = False
    """AUTH was tried: a line that is no command may be a password."""
    trusted: bool = False
    """It may tell us who the real client is (``trusted_clients``)."""
    identity_awaited: bool = False
    """A trusted client that has not yet told the real client's address (XCLIENT)."""

    def progress(self) -> None:
        """Forget what counts against a client that brings no mail: it has."""
        self.idle = self.named = 0.0

    @property
    def deaf(self) -> bool:
        """Whether nothing more is to be said to it."""
        return self.reset or self.in_tls or self.dropped
