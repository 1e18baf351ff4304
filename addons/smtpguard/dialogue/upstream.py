"""The upstream's leg: one connection, its requests in order, and how far it has come.

Knows which commands may share a pipelining group (RFC 2920 3.1) and that a reply nobody
asked for means the two sides are out of step: then the connection is lost, never
guessed at. A new connection is a new ``Upstream``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.errors import ProtocolError
from smtpguard.wire import Receiver, ReplyReader


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.dialogue.transcript import Direction
    from smtpguard.model.reply import Reply
    from smtpguard.wire import Capabilities


POSITIVE = frozenset({250})


@dataclass(slots=True, eq=False)
class Request:
    """One command sent upstream (or its greeting), and the reply to it."""

    octets: bytes
    """As sent, with CRLF; b"" where only a reply is awaited."""
    until: float
    """When the reply must be there."""
    positive: frozenset[int] = POSITIVE
    """2yz and 3yz codes that make sense here; any other one is nonsense."""
    group_last: bool = False
    """Nothing may be sent before the reply to this one."""
    shown: bytes | None = None
    """What the transcript shows instead of ``octets``, where they hold a secret."""
    answered: Callable[[Request], None] | None = None
    """Called once, when ``reply`` or ``lost`` is known."""
    reply: Reply | None = None
    lost: str = ""

    @property
    def done(self) -> bool:
        """Whether the reply came or can come no more."""
        return self.reply is not None or bool(self.lost)


@dataclass(slots=True, eq=False)
class Upstream:
    """One connection to the upstream."""

    send: Callable[[bytes], None]
    record: Callable[[Direction, bytes], None]
    receiver: Receiver = field(default_factory=Receiver)
    opened: bool = False
    lost: str = ""
    """Why it can be used no more; "" while it can."""
    gone: bool = False
    """The upstream has closed it: it hears nothing more either."""
    secure: bool = False
    capabilities: Capabilities | None = None
    """From the last EHLO or HELO; None before it and after a TLS handshake."""
    greeted_as: bytes = b""
    identified: bool = False
    """PROXY was sent or XCLIENT accepted."""
    clear_noted: bool = False
    """It is on record why this connection is in clear."""
    tls_refused: bool = False
    """STARTTLS failed or is not to be tried: this connection stays in clear."""
    mail_open: bool = False
    """MAIL has gone up and neither RSET nor an end of data after it."""
    in_data: bool = False
    """DATA or a chunk has gone up without the reply that ends it: only closing undoes
    that, and what is sent now is not a command."""
    in_auth: bool = False
    """Within AUTH: what is sent now is taken for credentials."""
    in_tls: bool = False
    """STARTTLS was said: what is sent now is taken for a handshake."""
    early_refusal: Reply | None = None
    """What the upstream said against a message before it had all of it."""
    left: bool = False
    """We have closed it."""
    said_quit: bool = False
    said_goodbye: bool = False
    """It closed with 421: what was outstanding is refused, not in doubt."""
    noops: int = 0
    resets: int = 0
    sent_at: float = 0.0
    unread: int = 0
    """Octets that came after the last whole reply."""
    _reader: ReplyReader = field(default_factory=ReplyReader)
    _sent: deque[Request] = field(default_factory=deque)
    _queued: deque[Request] = field(default_factory=deque)

    @property
    def usable(self) -> bool:
        """Whether commands can be sent."""
        return self.opened and not self.lost

    @property
    def settled(self) -> bool:
        """Whether no reply is awaited."""
        return not self._sent and not self._queued

    @property
    def takes_quit(self) -> bool:
        """Whether QUIT would be understood as a command."""
        deaf = self.gone or self.in_data or self.in_auth or self.in_tls
        parting = self.said_quit or self.said_goodbye
        return self.opened and not deaf and not parting

    @property
    def until(self) -> float | None:
        """When the oldest awaited reply is overdue."""
        return self._sent[0].until if self._sent else None

    def request(self, request: Request, now: float) -> None:
        """Send a request as soon as the pipelining rules allow it."""
        if self.lost:
            self._finish(request, lost=self.lost)
            return
        self._queued.append(request)
        self._send_queued(now)

    def feed(self, data: bytes, now: float) -> None:
        """Take octets in and hand replies to their requests, in order."""
        if self.lost:
            return
        self.receiver.feed(data)
        self.unread += len(data)
        try:
            while (reply := self._reader.next_reply(self.receiver)) is not None:
                self.unread = len(self.receiver)
                self.record("S", reply.to_octets())
                self._take(reply)
                self._send_queued(now)
        except ProtocolError as error:
            self.lose(f"garbage from upstream: {error}")

    def lose(self, reason: str, *, gone: bool = False) -> None:
        """Mark the connection as lost; requests under way get no reply any more."""
        self.gone = self.gone or gone
        if self.lost:
            return
        self.lost = reason
        self.receiver.clear()
        waiting = [*self._sent, *self._queued]
        self._sent.clear()
        self._queued.clear()
        for request in waiting:
            self._finish(request, lost=reason)

    def _send_queued(self, now: float) -> None:
        while self._queued and self._may_send():
            request = self._queued.popleft()
            self._sent.append(request)
            if request.octets:
                self.sent_at = now
                shown = request.octets if request.shown is None else request.shown
                if shown:
                    self.record("s", shown)
                self.send(request.octets)

    def _may_send(self) -> bool:
        if not self._sent:
            return True
        pipelining = self.capabilities is not None and "PIPELINING" in self.capabilities
        return pipelining and not self._sent[-1].group_last

    def _take(self, reply: Reply) -> None:
        if reply.code == 421:
            # RFC 5321 3.8: the server is closing; whatever it answered, it is gone.
            self.said_goodbye = True
            self.lose(f"upstream says {reply}")
            return
        if not self._sent:
            self._take_unasked(reply)
            return
        request = self._sent[0]
        if reply.code < 400 and reply.code not in request.positive:
            self.lose(f"unexpected reply: {reply}")
            return
        self._sent.popleft()
        self._finish(request, reply=reply)

    def _take_unasked(self, reply: Reply) -> None:
        self.early_refusal = reply if self.in_data and reply.code >= 400 else None
        self.lose(f"reply without a command: {reply}")

    @staticmethod
    def _finish(request: Request, reply: Reply | None = None, lost: str = "") -> None:
        request.reply = reply
        request.lost = lost
        if request.answered is not None:
            request.answered(request)
