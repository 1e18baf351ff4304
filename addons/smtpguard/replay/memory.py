"""A session in memory: the dialogue with both peers played by a few lists.

The one way in which tests, dialogue scripts and recordings drive a ``Dialogue`` without
a network. Time stands still unless it is moved on purpose, so results are the same
every time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from smtpguard.dialogue import Dialogue, Transaction, TransactionRecord, effects, events
from smtpguard.model.content import MemorySpool
from smtpguard.model.session import Leg, SessionFacts, TlsFacts


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.model.decider import Decider
    from smtpguard.model.disposition import Disposition


def judge_now(session: SessionFacts, transaction: Transaction) -> Disposition | None:
    """Judge a message by its own judge; whatever it raises leaves it undecided."""
    assert transaction.content is not None
    try:
        return transaction.judge.message(
            session, transaction.envelope, transaction.content
        )
    except Exception:  # noqa: BLE001 - as in proxy: undecided is 451
        return None


@dataclass(slots=True, eq=False)
class MemorySession:
    """A dialogue and what its peers have heard of it."""

    decider: Decider
    session: SessionFacts
    judge: Callable[[SessionFacts, Transaction], Disposition | None] | None = judge_now
    """None leaves verdicts to whoever drives the session."""
    options: dict[str, Any] = field(default_factory=dict)
    client_heard: bytearray = field(default_factory=bytearray)
    upstream_heard: bytearray = field(default_factory=bytearray)
    closed: set[Leg] = field(default_factory=set)
    pending: list[effects.Effect] = field(default_factory=list)
    """OpenUpstream, StartTls, AskVerdict ... that nobody has answered yet."""
    opens: int = 0
    log: list[str] = field(default_factory=list)
    records: list[TransactionRecord] = field(default_factory=list)
    ended: bool = False
    now: float = 1000.0
    dialogue: Dialogue = field(init=False)
    _events: deque[events.Event] = field(default_factory=deque)
    _hello: tuple[str, str | None, TlsFacts | None] = ("", None, None)

    def __post_init__(self) -> None:
        """Make the dialogue; nothing is said yet."""
        options = {"new_spool": MemorySpool, "own_name": "guard.example"}
        self.dialogue = Dialogue(
            self.session, self.decider, **{**options, **self.options}
        )

    def feed(self, event: events.Event) -> None:
        """Have one event happen now, and all that comes of it."""
        self._events.append(event)
        while self._events:
            for effect in self.dialogue.handle(self._events.popleft(), self.now):
                self._carry_out(effect)

    def _carry_out(self, effect: effects.Effect) -> None:  # noqa: C901, PLR0912 - a table
        match effect:
            case effects.Send(Leg.CLIENT, data):
                if Leg.CLIENT not in self.closed:
                    self.client_heard += data
            case effects.Send(Leg.UPSTREAM, data):
                if Leg.UPSTREAM not in self.closed:
                    self.upstream_heard += data
            case effects.Close(leg):
                self.closed.add(leg)
            case effects.OpenUpstream():
                self.closed.discard(Leg.UPSTREAM)
                self.opens += 1
                self.pending.append(effect)
            case effects.AskVerdict(transaction) if self.judge is not None:
                said = self.judge(self.session, transaction)
                self._events.append(events.Judged(transaction.id, said))
            case effects.Pace(leg):
                self._events.append(events.Drained(leg))
            case effects.ContinueTls():
                name, error, facts = self._hello
                if error is None and facts is None:
                    facts = TlsFacts("TLSv1.3", "TEST", name)
                self._events.append(events.TlsFinished(Leg.CLIENT, facts, error))
            case effects.Log(_, text):
                self.log.append(text)
            case effects.TransactionEnded(record):
                self.records.append(record)
            case effects.SessionEnded():
                self.ended = True
            case effects.PauseReading() | effects.ResumeReading():
                pass
            case _:
                self.pending.append(effect)

    def take[E: effects.Effect](self, kind: type[E]) -> E | None:
        """Remove and return the oldest unanswered effect of that kind."""
        for effect in self.pending:
            if isinstance(effect, kind):
                self.pending.remove(effect)
                return effect
        return None

    def start(self) -> None:
        """Connect the client."""
        self.feed(events.Started())

    def opened(self, error: str | None = None) -> None:
        """Answer the oldest OpenUpstream."""
        assert self.take(effects.OpenUpstream) is not None, "nothing to open"
        self.feed(events.Opened(error))

    def from_client(self, data: bytes) -> None:
        """Have the client send octets."""
        self.feed(events.Received(Leg.CLIENT, data))

    def from_upstream(self, data: bytes) -> None:
        """Have the upstream send octets."""
        self.feed(events.Received(Leg.UPSTREAM, data))

    def client_tls(
        self,
        name: str = "",
        error: str | None = None,
        facts: TlsFacts | None = None,
    ) -> None:
        """Have the client shake hands; it ends when the dialogue lets it go on."""
        started = self.take(effects.StartTls)
        assert started is not None, "no handshake was begun"
        assert started.leg is Leg.CLIENT
        self._hello = (name, error, facts)
        self.feed(events.HelloReceived(name))

    def upstream_tls(
        self,
        error: str | None = None,
        verified: str = "ok",
        facts: TlsFacts | None = None,
    ) -> None:
        """Have the upstream shake hands."""
        started = self.take(effects.StartTls)
        assert started is not None, "no handshake was begun"
        assert started.leg is Leg.UPSTREAM
        if error is None and facts is None:
            facts = TlsFacts("TLSv1.3", "TEST", started.name, verified)
        self.feed(events.TlsFinished(Leg.UPSTREAM, facts, error))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, waking the dialogue whenever it asked for it."""
        end = self.now + seconds
        while (due := self.dialogue.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.feed(events.Woke())
            if self.dialogue.deadline == due:
                break
        self.now = end
        self.feed(events.Woke())
