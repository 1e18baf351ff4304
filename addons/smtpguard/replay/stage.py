"""Where a recorded session is played: the dialogue, its upstream, and a patient client.

Owns everything that is not the client's own doing: connections, handshakes, the
upstream's answers, the passing of time. Who plays the client says octets and hears
replies.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final

from smtpguard.dialogue import effects, events
from smtpguard.errors import ProtocolError
from smtpguard.model.session import Leg, SessionFacts, TlsFacts
from smtpguard.replay.answers import Upstream
from smtpguard.replay.memory import MemorySession
from smtpguard.replay.recording import Introduce, Quiet
from smtpguard.wire import Receiver, ReplyReader, proxyprotocol


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.model.decider import Decider
    from smtpguard.model.reply import Reply
    from smtpguard.replay.recording import Recording


PATIENCE: Final = 100
"""How often the client lets time pass for one reply."""
SEGMENT: Final = 64 * 1024


class Stage:
    """One session that is being played."""

    def __init__(self, recording: Recording, decider: Decider) -> None:
        facts = recording.session
        self.session = SessionFacts(
            id=str(facts.get("id", "replay")),
            client=address(facts.get("peer") or facts.get("client")),
            destination=address(facts.get("destination")),
            listener=str(facts.get("listener", "")),
            reverse_name=str(facts.get("reverse_name", "")),
            upstream_implicit_tls=facts.get("upstream_implicit_tls") is True,
            loop=facts.get("loop") is True,
        )
        own_name = str(facts.get("own_name") or "guard.example")
        self.memory = MemorySession(
            decider, self.session, options={"own_name": own_name}
        )
        self.upstream = Upstream(recording.answers)
        self.shakes = False
        """Whether the client takes part in a handshake that is begun now."""
        self._recording = recording
        self._receiver = Receiver()
        self._replies = ReplyReader()
        self._read = 0

    @property
    def over(self) -> bool:
        """Whether the client can neither say nor hear anything more."""
        return self.memory.ended or Leg.CLIENT in self.memory.closed

    @property
    def stands(self) -> bool:
        """Whether the rules would have to judge a message that is sent now."""
        transaction = self.memory.dialogue.transaction
        return transaction is not None and bool(transaction.envelope.standing)

    @property
    def invites(self) -> bool:
        """Whether DATA would be answered with 354 now."""
        transaction = self.memory.dialogue.transaction
        if transaction is None or transaction.binary:
            return False
        return self.stands and transaction.chunks is None

    def start(self) -> None:
        """Connect the client, with the PROXY header that was sent or is demanded."""
        trusted = self.memory.decider.trusted(self.session.client)
        sent = any(isinstance(step, Introduce) for step in self._recording.steps)
        self.memory.start()
        if sent or (trusted is not None and trusted.protocol == "proxy"):
            client = address(self._recording.session.get("client")) if sent else None
            self.send(_proxy_header(client))
        self._pump()

    def send(self, octets: bytes) -> None:
        """Have the client send octets."""
        for start in range(0, len(octets), SEGMENT):
            if not self.over:
                self.memory.from_client(octets[start : start + SEGMENT])
                self._pump()

    def hear(self) -> list[Reply]:
        """Return what the client hears next, letting time pass where it must."""
        heard = self._heard()
        for _ in range(PATIENCE):
            due = self.memory.dialogue.deadline
            if heard or self.memory.ended or due is None:
                break
            self.memory.pass_time(max(0.0, due - self.memory.now))
            self._pump()
            heard = self._heard()
        return heard

    def lose_upstream(self) -> None:
        """Have the upstream close its connection."""
        self.memory.feed(events.Closed(Leg.UPSTREAM))
        self._pump()

    def leave(self, *, reset: bool) -> None:
        """Have the client close its connection."""
        if not self.memory.ended:
            self.memory.feed(events.Closed(Leg.CLIENT, reset=reset))
            self._pump()

    def hang_up(self) -> None:
        """End a session that its recording has left open."""
        for reset in (False, True):
            self.leave(reset=reset)
            self.hear()

    def _heard(self) -> list[Reply]:
        said = self.memory.client_heard
        self._receiver.feed(bytes(said[self._read :]))
        self._read = len(said)
        heard = []
        while (reply := self._replies.next_reply(self._receiver)) is not None:
            heard.append(reply)
        return heard

    # -- the network -----------------------------------------------------------------

    def _pump(self) -> None:
        """Carry out what the dialogue waits for, until it waits for the client."""
        while self._answer_effect() or self._answer_upstream():
            pass

    def _answer_effect(self) -> bool:
        pending = self.memory.pending
        if not pending:
            return False
        match pending[0]:
            case effects.OpenUpstream():
                self._open_upstream()
            case effects.StartTls(Leg.UPSTREAM):
                self._upstream_tls()
            case effects.StartTls():
                self._client_tls()
            case other:
                raise AssertionError(f"nobody answers {other!r}")
        return True

    def _open_upstream(self) -> None:
        self.memory.upstream_heard.clear()
        implicit = self.session.upstream_implicit_tls
        if not self.upstream.connect() and not implicit:
            self.memory.opened("as recorded")
            return
        self.memory.opened()
        if not implicit:
            self.memory.from_upstream(self.upstream.greeting().to_octets())

    def _upstream_tls(self) -> None:
        if not self.upstream.shakes_hands():
            self.memory.upstream_tls(error="as recorded")
            return
        self.upstream.secure = True
        self.memory.upstream_tls(facts=_tls(self._recording.legs, Leg.UPSTREAM))
        if self.session.upstream_implicit_tls:
            self.memory.from_upstream(self.upstream.greeting().to_octets())

    def _client_tls(self) -> None:
        facts = _tls(self._recording.legs, Leg.CLIENT)
        if self.shakes:
            self.memory.client_tls(facts.name if facts else "", facts=facts)
        else:
            self.memory.client_tls(error="as recorded")

    def _answer_upstream(self) -> bool:
        octets = bytes(self.memory.upstream_heard)
        if not octets:
            return False
        self.memory.upstream_heard.clear()
        try:
            said = self.upstream.feed(octets)
        except ProtocolError as error:
            raise AssertionError(f"sent upstream: {error}") from error
        for reply in said:
            if reply is Quiet.SILENT:
                break
            if reply is Quiet.CLOSED:
                self.lose_upstream()
                break
            self.memory.from_upstream(reply.to_octets())
        return True


def address(value: object) -> tuple[str, int]:
    """Return an address as records hold it, or one of documentation (RFC 5737)."""
    match value:
        case [str(host), int(port), *_]:
            return host, port
    return "192.0.2.1", 0


def _proxy_header(client: tuple[str, int] | None) -> bytes:
    if client is None:
        return b"PROXY UNKNOWN\r\n"
    try:
        ipaddress.ip_address(client[0])
    except ValueError:
        return b"PROXY UNKNOWN\r\n"
    return proxyprotocol.build_v1(client, ("127.0.0.1", 0))


def _tls(legs: Mapping[str, Any], leg: Leg) -> TlsFacts | None:
    match legs.get(leg.value):
        case {"tls": {"version": str(version), "cipher": str(cipher), **rest}}:
            name, verified = rest.get("name", ""), rest.get("verified", "")
            return TlsFacts(version, cipher, str(name), str(verified))
    return None
