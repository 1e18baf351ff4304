"""The dialogue: two SMTP legs, one state machine, no input or output of its own.

Theory of operation
===================

``handle(event, now)`` takes one event and returns what is to be done about it. Between
events the dialogue is one suspended generator (``verbs.converse``), so that its code
reads in the order in which things are said: open the upstream, greet, take a command,
answer it.

*The client's leg.* Commands are taken one at a time, in order. Each one opens a slot in
the reply queue and answers it now or when the upstream has replied; slots are sent in
order, so a reply of ours never overtakes one of the upstream's (RFC 2920). A command
whose meaning depends on earlier replies (DATA, STARTTLS, EHLO ...) first waits until
all slots are answered; octets that come meanwhile stay unread, and unparsed. A client
has its turn (``fairness``): so many commands and replies, then it must have read what
it was told, and other sessions are served.

*The upstream's leg.* MAIL and RCPT go up as the client sends them, pipelined where the
upstream allows it. No octet of a message goes up before the verdict. Losing the
upstream answers what is outstanding with a 4yz; before DATA it is dialled again once.

*Promises.* A message is accepted only in ``delivery.deliver`` (the upstream's 250 is
passed on) and ``delivery.conclude`` (a rule's discard, logged before). Everything that
is undecided, late, lost or raises ends in a 4yz there, or in a closed connection.

The files beside this one hold the verbs; this one holds the driver and what they share.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from smtpguard.dialogue import effects, events
from smtpguard.dialogue.asking import sound
from smtpguard.dialogue.client import ClientLeg
from smtpguard.dialogue.exchange import leave
from smtpguard.dialogue.opening import IMPLICIT_PORT
from smtpguard.dialogue.transcript import Entry, Transcript
from smtpguard.dialogue.verbs import converse
from smtpguard.dialogue.waits import (
    NEVER,
    Anomaly,
    ClientGone,
    Expired,
    Hangup,
    Interrupt,
    Latch,
    Task,
    Wait,
)
from smtpguard.model.disposition import Outcome
from smtpguard.model.session import Leg
from smtpguard.model.settings import Settings
from smtpguard.wire import printable, replies


if TYPE_CHECKING:
    from collections.abc import Callable, Generator, MutableMapping

    from smtpguard.dialogue.transaction import Transaction
    from smtpguard.dialogue.transcript import Direction
    from smtpguard.dialogue.upstream import Upstream
    from smtpguard.model.content import Spool
    from smtpguard.model.decider import Decider
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import SessionFacts, TlsFacts


HIGH_WATER = 256 * 1024
"""Unread octets of the client at which reading is paused; a whole pipelining group of
100 recipients is 30 KiB."""
LOW_WATER = 64 * 1024
MAX_UNREAD = 4 * 1024 * 1024
"""Where pausing does not help (no transport to pause): the session ends."""
MERGED_OCTETS = 64 * 1024
"""Up to here, what is sent in a row leaves in one piece."""


class Dialogue:
    """One client's session, from its connection to its end."""

    def __init__(
        self,
        session: SessionFacts,
        decider: Decider,
        *,
        new_spool: Callable[[], Spool],
        own_name: str,
        ask_commands: bool = False,
        record_auth: bool = False,
        record_limit: int = 0,
        downgrades: MutableMapping[tuple[str, int], float] | None = None,
    ) -> None:
        self.session = session
        self.decider = decider
        self.settings = Settings()
        self.new_spool = new_spool
        self.own_name = own_name.encode("ascii", "replace")
        self.ask_commands = ask_commands
        self.record_auth = record_auth
        self.record_limit = record_limit
        """Octets of each message that the transcript keeps."""
        self.downgrades = {} if downgrades is None else downgrades
        """Upstreams whose handshake failed, until when they are dialled in clear."""
        self.client = ClientLeg(in_tls=session.destination[1] == IMPLICIT_PORT)
        self.upstream: Upstream | None = None
        self.greeting: Reply | None = None
        """The upstream's, from its last connection."""
        self.transaction: Transaction | None = None
        self.transactions = 0
        self.transcript = Transcript()
        self.now = 0.0
        self.stopping = False
        self.ended = False
        self.cap = NEVER
        """No wait is longer than until then, whatever it asked for."""
        self.opened: Latch[events.Opened] = Latch()
        self.hello: Latch[events.HelloReceived] = Latch()
        self.command_judged: Latch[events.CommandJudged] = Latch()
        self.drained: set[Leg] = set()
        """Legs whose ``pace`` has been answered."""
        self.tls_finished: dict[Leg, events.TlsFinished] = {}
        self.judging: dict[str, Transaction] = {}
        """Messages whose verdict was asked for and has not come."""
        self.commands_asked = 0
        """Commands about which others were asked and have not answered."""
        self._stop_until = NEVER
        self._paused = False
        self._out: list[effects.Effect] = []
        self._task: Generator[Wait, None, None] | None = None
        self._wait: Wait | None = None

    # -- the driver ------------------------------------------------------------------

    def handle(self, event: events.Event, now: float) -> list[effects.Effect]:
        """Take one event that happened at ``now``; return the effects in order."""
        self.now = now
        if isinstance(event, events.Started):
            self._task = converse(self)
            self._resume()
        elif not self.ended or isinstance(event, events.Judged):
            self._note(event)
        self._run()
        self._overdue()
        self._bound()
        if self.upstream is not None and self.upstream.lost:
            leave(self, self.upstream.lost)
        self.flush()
        self._balance()
        out, self._out = self._out, []
        return out

    def abandon(self) -> list[effects.Effect]:
        """End without a word to anybody; return the effects not handed out yet.

        For a fault of ours: whatever would go on from here may be the fault.
        """
        self._task = self._wait = None
        self.ended = True
        out, self._out = self._out, []
        return out

    @property
    def deadline(self) -> float | None:
        """When ``Woke`` is due; None once the session has ended."""
        if self._wait is None:
            return None
        until = min(self._wait.until, self._stop_until)
        if self.upstream is not None and self.upstream.until is not None:
            until = min(until, self.upstream.until)
        return None if until == NEVER else until

    def _note(self, event: events.Event) -> None:
        match event:
            case events.Received(leg, data):
                self._received(leg, data)
            case events.Closed(leg, reset):
                self._closed(leg, reset=reset)
            case events.Opened():
                self.opened.value = event
            case events.HelloReceived():
                self.hello.value = event
            case events.TlsFinished():
                self._tls_finished(event)
            case events.Judged(transaction, disposition):
                self._judged(transaction, disposition)
            case events.CommandJudged():
                self._command_judged(event)
            case events.Drained(leg):
                self.drained.add(leg)
            case events.Stopping():
                self.stopping = True
                self._stop_until = self.now + self.settings.deadlines.stop

    def _run(self) -> None:
        """Resume the dialogue as long as it need not wait."""
        while (wait := self._wait) is not None:
            if self.client.reset and not wait.shielded:
                self._resume(ClientGone())
            elif wait.ready():
                self._resume()
            elif (interrupt := self._overrun(wait)) is not None:
                self._resume(interrupt)
            else:
                return

    def _overrun(self, wait: Wait) -> Interrupt | None:
        """Return what ends a wait that has not come true, None if nothing does."""
        if not wait.shielded:
            if self.client.flooded:
                return Anomaly(replies.LIMIT_CLOSE, "client sends without waiting")
            if self.now >= self._stop_until:
                return Hangup(replies.SHUTTING_DOWN, "stopping")
        return Expired() if self.now >= min(wait.until, self._stop_until) else None

    def _resume(self, interrupt: Interrupt | None = None) -> None:
        assert self._task is not None
        try:
            if interrupt is None:
                self._wait = next(self._task)
            else:
                self._wait = self._task.throw(interrupt)
        except StopIteration:
            self._task = self._wait = None
            self.ended = True
            self.emit(effects.SessionEnded())

    def _overdue(self) -> None:
        upstream = self.upstream
        if upstream and upstream.until is not None and self.now >= upstream.until:
            upstream.lose("no reply in time")
            self._run()

    def _bound(self) -> None:
        """Drop what comes beyond all bounds; the session ends at its next wait."""
        if len(self.client.receiver) > MAX_UNREAD and not self.client.flooded:
            self.client.flooded = True
            self.client.receiver.clear()
            self._run()

    def _balance(self) -> None:
        unread = len(self.client.receiver)
        if not self._paused and unread > HIGH_WATER and not self.ended:
            self._paused = True
            self.emit(effects.PauseReading())
        elif self._paused and unread < LOW_WATER:
            self._paused = False
            self.emit(effects.ResumeReading())

    # -- what happened ---------------------------------------------------------------

    def _received(self, leg: Leg, data: bytes) -> None:
        if leg is Leg.UPSTREAM:
            if self.upstream is not None:
                self.upstream.feed(data, self.now)
            return
        self.client.octets += len(data)
        self.client.changes += 1
        if not self.client.flooded:
            self.client.receiver.feed(data)

    def _closed(self, leg: Leg, *, reset: bool) -> None:
        word = "reset" if reset else "closed"
        if leg is Leg.UPSTREAM:
            if self.upstream is not None and not self.upstream.gone:
                self.mark("S", word)
                self.upstream.lose("upstream closed the connection", gone=True)
            return
        if not self.client.finished or (reset and not self.client.reset):
            self.mark("C", word)
        self.client.finished = True
        self.client.reset = self.client.reset or reset
        self.client.changes += 1

    def _tls_finished(self, event: events.TlsFinished) -> None:
        self.tls_finished[event.leg] = event
        if event.error is None:
            return
        if event.leg is Leg.CLIENT:
            self.log(f"client's TLS handshake failed: {event.error}")
            self.client.finished = self.client.reset = True
        elif self.upstream is not None:
            self.upstream.lose(f"TLS handshake failed: {event.error}", gone=True)

    def _judged(self, transaction_id: str, said: object) -> None:
        transaction = self.judging.pop(transaction_id, None)
        if transaction is None:
            return
        # Whatever another addon may have left in the hook's data is no verdict.
        disposition = sound(said)
        transaction.verdict_came = True
        transaction.disposition = disposition
        if not transaction.ended:
            return
        transaction.close(judging=False)
        if disposition is not None and disposition.outcome is Outcome.QUARANTINED:
            # In the log alone (contract 2.1): the transaction's record is closed.
            self.log(
                f"{transaction_id}: in doubt: client gone before the quarantine's 250",
                logging.WARNING,
            )

    def _command_judged(self, event: events.CommandJudged) -> None:
        """Take the answer to the oldest question; only the newest is waited for."""
        if self.commands_asked == 1:
            self.command_judged.value = event
        self.commands_asked = max(0, self.commands_asked - 1)

    # -- what the verbs share --------------------------------------------------------

    def emit(self, effect: effects.Effect) -> None:
        """Have something done, after all that was emitted before."""
        if (
            isinstance(effect, effects.Send)
            and self._out
            and isinstance(last := self._out[-1], effects.Send)
            and last.leg is effect.leg
            and len(last.data) + len(effect.data) <= MERGED_OCTETS
        ):
            self._out[-1] = effects.Send(effect.leg, last.data + effect.data)
        else:
            self._out.append(effect)

    def log(self, text: str, level: int = logging.INFO) -> None:
        """Log one line, whatever a peer had its hands in made printable."""
        octets = text.encode("utf-8", "backslashreplace")
        self.emit(effects.Log(level, printable(octets)))

    def record(self, direction: Direction, octets: bytes) -> None:
        """Add a line of octets to the transcript."""
        entry = Entry(direction, octets, "line", self.now)
        self.transcript.entries.append(entry)

    def mark(self, direction: Direction, text: str) -> None:
        """Add an event that is no octets of a peer to the transcript."""
        entry = Entry(direction, text.encode(), "mark", self.now)
        self.transcript.entries.append(entry)

    def send_upstream(self, data: bytes) -> None:
        """Send octets upstream."""
        self.emit(effects.Send(Leg.UPSTREAM, data))

    def pace(self, leg: Leg) -> None:
        """Have ``drained`` tell when what was sent on a leg has left our buffers."""
        self.drained.discard(leg)
        self.emit(effects.Pace(leg))

    def flush(self) -> None:
        """Send every reply whose turn has come, if anybody is to hear it."""
        replies = self.client.replies
        if not replies.answered or self.client.deaf:
            return
        for reply in replies.ready():
            octets = reply.to_octets()
            self.record("c", octets)
            self.client.owed += len(octets)
            self.emit(effects.Send(Leg.CLIENT, octets))

    def answer(self, reply: Reply) -> None:
        """Answer the current command at once (in its turn)."""
        self.client.replies.answer(reply)

    def wait(
        self, ready: Callable[[], bool], seconds: float, *, shielded: bool = False
    ) -> Task[None]:
        """Wait for at most so many seconds. Raises ClientGone, Expired."""
        yield from self.wait_until(ready, self.now + seconds, shielded=shielded)

    def wait_until(
        self, ready: Callable[[], bool], until: float, *, shielded: bool = False
    ) -> Task[None]:
        """Wait until ``ready()`` or that time. Raises ClientGone, Expired.

        Unless ``shielded``, also Hangup where the session must end.
        """
        if not ready() or (self.client.reset and not shielded):
            self.flush()
            yield Wait(ready, min(until, self.cap), shielded)

    def set_tls(self, leg: Leg, facts: TlsFacts, how: str) -> None:
        """Note that a leg is encrypted now."""
        self.session.leg(leg).tls = facts
        self.session.leg(leg).history.append(how)
        self.mark("C" if leg is Leg.CLIENT else "S", f"tls {facts.version}")
