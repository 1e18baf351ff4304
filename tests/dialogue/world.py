"""A whole session in memory, and what may go wrong in it.

``World.run`` plays a plan to its end. Every event that the dialogue is given is a
point; ``Fault`` makes one thing go wrong before one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from smtpguard.dialogue import Transaction, effects, events
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import script_session
from tests.dialogue.plans import CLOSED, SILENT, Item, Plan
from tests.dialogue.simclient import EVENTS, SimClient
from tests.dialogue.simupstream import SimUpstream, messages_in


SAID = {
    "421": b"421 4.3.2 going down\r\n",
    "4xx": b"451 4.3.0 not now\r\n",
    "5xx": b"554 5.0.0 never\r\n",
    "2xx": b"250 2.0.0 fine\r\n",
    "garbage": b"\xff\x00 what\n",
}
FAULTS = ("reset", "half-close", "stall", *SAID)
"""What can go wrong on a leg."""
OWN_FAULTS = ("hook", "disk")
"""What can go wrong with us."""
STEPS = 400
"""More than any session needs that is to end."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, before the event of that number."""

    point: int
    kind: str
    leg: Leg | None = None


class FragileSpool(MemorySpool):
    """A spool on a disk that may be full."""

    def __init__(self, use_disk: Callable[[], None]) -> None:
        use_disk()
        super().__init__()
        self._use_disk = use_disk

    def write(self, data: bytes) -> None:
        self._use_disk()
        super().write(data)

    def chunks(self) -> Iterator[bytes]:
        self._use_disk()
        return super().chunks()


@dataclass(slots=True, eq=False)
class Watched(MemorySession):
    """A session whose every effect somebody sees; what is sent and paced stays in our
    buffers until ``Drained``."""

    watch: Callable[[effects.Effect], None] = lambda _: None

    def _carry_out(self, effect: effects.Effect) -> None:
        self.watch(effect)
        if isinstance(effect, effects.Pace):
            self.pending.append(effect)
        else:
            MemorySession._carry_out(self, effect)


class World:
    """Both peers of one session, and us between them."""

    def __init__(self, plan: Plan, fault: Fault | None = None) -> None:
        self.plan = plan
        self.points = 0
        self.faults: list[str] = []
        """Promises that were broken on the way."""
        self.discarded: set[int] = set()
        """Messages that a rule had discarded, on record before the reply."""
        self.late: set[int] = set()
        """Messages whose client was gone when the upstream said 2yz."""
        self.client = SimClient(plan, self._answered)
        self.upstream = SimUpstream(plan, self.faults.append)
        self._fault = fault
        self._disk_full = self._hook_fails = False
        base = script_session(plan.script)
        self._judges = base.judge is not None
        options = {**base.options, "new_spool": lambda: FragileSpool(self._use_disk)}
        rules: Any = base.decider
        self.memory = Watched(rules, base.session, None, options, watch=self._see)
        for name in ("helo", "mail", "rcpt"):
            setattr(rules, name, self._fragile(getattr(rules, name)))

    def run(self) -> World:
        """Play the plan to its end, and a while longer."""
        self.feed(events.Started())
        for _ in range(STEPS):
            if self.memory.ended or not (self._act() or self._grow_old()):
                break
        if not self.memory.ended:
            self.faults.append("the session does not end")
        return self

    # -- the course of events --------------------------------------------------------

    def feed(self, event: events.Event, items: Sequence[Item] = ()) -> None:
        """Have an event happen, unless a fault takes its place or its peer away.

        ``items`` are what the client's octets say.
        """
        fault = self._fault
        if fault is not None and fault.point == self.points:
            self._fault = None
            if self._strike(fault, event, items):
                return
        self.points += 1
        match event:
            case events.Received(Leg.UPSTREAM, data):
                if not self.upstream.speaks:
                    return
                self._upstream_says(data)
            case events.Received(Leg.CLIENT, _):
                if self.client.silent:
                    return
                self.client.say(items)
        self._happen(event)

    def _happen(self, event: events.Event) -> None:
        self.memory.feed(event)
        self.upstream.listen()
        self.client.hear(bytes(self.memory.client_heard))
        self.memory.client_heard.clear()

    def _act(self) -> bool:
        """Have somebody do the next thing; false where nobody has anything to do."""
        return (
            self._answer_effects()
            or (self.upstream.speaks and self._upstream_acts())
            or (not self.client.silent and self._client_acts())
        )

    def _grow_old(self) -> bool:
        due = self.memory.dialogue.deadline
        if due is None:
            return False
        self.memory.now = max(self.memory.now, due)
        self.feed(events.Woke())
        return True

    def _pending(self, kind: type[effects.Effect], leg: Leg | None = None) -> bool:
        return any(
            isinstance(effect, kind)
            and (leg is None or getattr(effect, "leg", 0) is leg)
            for effect in self.memory.pending
        )

    def _answer_effects(self) -> bool:
        if self.memory.take(effects.OpenUpstream) is not None:
            self._open_upstream()
            return True
        asked = self.memory.take(effects.AskVerdict) if self._judges else None
        if asked is not None:
            verdict = self._judge(asked.transaction)
            self.feed(events.Judged(asked.transaction.id, verdict))
            return True
        pace = self.memory.take(effects.Pace)
        if pace is not None:
            self.feed(events.Drained(pace.leg))
            return True
        return False

    def _see(self, effect: effects.Effect) -> None:
        """Note what the dialogue does, in its order."""
        match effect:
            case effects.Send(Leg.UPSTREAM, data):
                self.upstream.hear(data)
            case effects.Close(Leg.UPSTREAM):
                self.upstream.be_left()
            case effects.TransactionEnded(record):
                if record.outcome is Outcome.DISCARDED:
                    self.discarded.add(max(self.upstream.judged))

    # -- the upstream ----------------------------------------------------------------

    def _open_upstream(self) -> None:
        if self.plan.answers.known.get("open", [None])[0] == b"":
            self.plan.answers.to("open")
            self._happen(events.Opened("Connection refused"))
            return
        self.upstream.connect()
        self.feed(events.Opened())
        if not self.memory.session.upstream_implicit_tls:
            self.upstream.greet()

    def _upstream_acts(self) -> bool:
        upstream = self.upstream
        if self._pending(effects.StartTls, Leg.UPSTREAM):
            self._shake_upstream()
            return True
        if upstream.replies:
            said = upstream.replies.popleft()
            if said in {SILENT, CLOSED}:
                upstream.fall_silent()
            else:
                upstream.answered += 1
                self.feed(events.Received(Leg.UPSTREAM, said))
            if said == CLOSED:
                self.feed(events.Closed(Leg.UPSTREAM))
            return True
        unasked = self.plan.answers.unasked.pop(upstream.answered, [])
        for octets in unasked:
            if octets is None:
                upstream.fall_silent()
                self.feed(events.Closed(Leg.UPSTREAM))
            else:
                self.feed(events.Received(Leg.UPSTREAM, octets))
        return bool(unasked)

    def _shake_upstream(self) -> None:
        failed = self.plan.answers.to("tls")
        if failed:
            self.upstream.fall_silent()
        self.memory.upstream_tls(failed.decode() if failed else None)
        self._happen(events.Woke())
        if not failed and self.memory.session.upstream_implicit_tls:
            self.upstream.greet()

    def _upstream_says(self, said: bytes) -> None:
        before = self.upstream.accepted.copy()
        self.upstream.say(said)
        if self.client.gone:
            self.late.update(self.upstream.accepted - before)

    # -- the client ------------------------------------------------------------------

    def _client_acts(self) -> bool:
        item = self.client.next_item()
        shakes = item is not None and item.kind in {"tls", "tls-fails"}
        if shakes and self._pending(effects.StartTls, Leg.CLIENT):
            self._client_does(self.client.take_event())
        elif self.client.waits:
            return False
        elif item is None:
            self.client.silent = True
            self.feed(events.Closed(Leg.CLIENT))
        elif item.kind in EVENTS:
            self._client_does(self.client.take_event())
        elif items := self.client.take_octets():
            said = b"".join(item.octets for item in items)
            self.feed(events.Received(Leg.CLIENT, said), items)
        return True

    def _client_does(self, item: Item) -> None:
        if item.kind in {"close", "reset"}:
            self.client.silent = True
            self.client.gone = item.kind == "reset"
            self.feed(events.Closed(Leg.CLIENT, reset=self.client.gone))
        elif self._pending(effects.StartTls, Leg.CLIENT):
            error = "failed" if item.kind == "tls-fails" else None
            self.memory.client_tls(item.octets.decode(), error)
            self._happen(events.Woke())

    def _answered(self, message: int, reply: Reply) -> None:
        """Check what must hold in the moment in which the client has its answer."""
        link = self.upstream.link
        if link is not None and self.upstream.speaks and link.mail_open:
            self.faults.append(f"upstream left within a transaction at {reply}")
        kept = self.upstream.accepted[message] or message in self.discarded
        if reply.is_positive and not kept:
            self.faults.append(f"told {reply} before anybody had message {message}")

    # -- us --------------------------------------------------------------------------

    def _use_disk(self) -> None:
        if self._disk_full:
            raise OSError(28, "No space left on device")

    def _fragile[**P, T](self, ask: Callable[P, T]) -> Callable[P, T]:
        """Make the rules fail where a fault says so."""

        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            if self._hook_fails:
                self._hook_fails = False
                raise RuntimeError("a fault of the rules")
            return ask(*args, **kwargs)

        return asked

    def _judge(self, transaction: Transaction) -> Disposition | None:
        content = transaction.content
        assert content is not None
        self.upstream.judged.update(messages_in(self.plan, bytes(content.view())))
        judge = self._fragile(transaction.judge.message)
        try:
            return judge(self.memory.session, transaction.envelope, content)
        except RuntimeError:
            return None

    # -- what goes wrong -------------------------------------------------------------

    def _strike(self, fault: Fault, event: events.Event, items: Sequence[Item]) -> bool:
        """Have something go wrong; true where it stands in place of the event."""
        match fault.kind, fault.leg:
            case "hook", _:
                self._hook_fails = True
            case "disk", _:
                self._disk_full = True
            case kind, Leg.UPSTREAM if self.upstream.speaks:
                struck = self._strike_upstream(kind)
                return struck and isinstance(event, events.Received) and not items
            case kind, Leg.CLIENT if not self.client.silent:
                text = self.client.invited or any(i.kind == "body" for i in items[:1])
                self._strike_client(kind, within_text=text)
        return False

    def _strike_upstream(self, kind: str) -> bool:
        if kind not in SAID:
            self.upstream.fall_silent(deaf=kind == "reset")
            if kind != "stall":
                self._happen(events.Closed(Leg.UPSTREAM, reset=kind == "reset"))
            return True
        upstream = self.memory.dialogue.upstream
        if upstream is None or upstream.in_tls:
            return False
        self._upstream_says(SAID[kind])
        self._happen(events.Received(Leg.UPSTREAM, SAID[kind]))
        if kind in {"421", "garbage"} and self.upstream.speaks:
            self.upstream.fall_silent()
            self._happen(events.Closed(Leg.UPSTREAM))
        return True

    def _strike_client(self, kind: str, *, within_text: bool) -> None:
        if kind not in SAID:
            self.client.silent = True
            self.client.gone = kind == "reset"
            if kind != "stall":
                self._happen(events.Closed(Leg.CLIENT, reset=self.client.gone))
        elif not self.memory.dialogue.client.in_tls:
            if not within_text:
                self.client.say([Item("noise")])
            self._happen(events.Received(Leg.CLIENT, SAID[kind]))
