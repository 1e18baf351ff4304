"""A client and an upstream that act out a plan, and what may go wrong meanwhile.

``World.run`` plays a plan to its end. Every event that the dialogue is given is a
point; ``Fault`` makes one thing go wrong before one of them. The upstream accepts a copy
exactly when it says 2yz to the end of a message; the client notes what it was told.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Buffer, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from smtpguard.dialogue import Transaction, effects, events
from smtpguard.model.content import MemorySpool
from smtpguard.model.disposition import Disposition
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import DataReader, Receiver, ReplyReader
from tests.dialogue.peers import script_session
from tests.dialogue.plans import CLOSED, SILENT, Item, Plan, question_of, token


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


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, before the event of that number."""

    point: int
    kind: str
    leg: Leg | None = None


class FragileSpool(MemorySpool):
    """A spool on a disk that may be full."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def write(self, data: bytes) -> None:
        self._world.use_disk()
        super().write(data)

    def chunks(self) -> Iterator[bytes]:
        self._world.use_disk()
        return super().chunks()


@dataclass(slots=True, eq=False)
class Watched(MemorySession):
    """A session whose every effect somebody sees."""

    watch: Callable[[effects.Effect], None] = lambda _: None

    def _carry_out(self, effect: effects.Effect) -> None:
        self.watch(effect)
        if isinstance(effect, effects.Pace):
            self.pending.append(effect)
        else:
            MemorySession._carry_out(self, effect)


class Link:
    """One connection of the upstream."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self.data: DataReader | None = None
        self.chunk = 0
        self.message = bytearray()
        self.mail_open = False
        self.asked: deque[tuple[str, int]] = deque()
        """Questions without an answer, each with the message it ends, or 0."""
        self.silent = False
        """It sends nothing more."""
        self.dead = False
        """Nor does it hear anything."""
        self.ours = True
        """We have not closed it."""


@dataclass
class World:
    """Both peers of one session."""

    plan: Plan
    fault: Fault | None = None
    points: int = 0
    told: dict[int, int] = field(default_factory=dict)
    """What the client was told of each message."""
    sent: set[int] = field(default_factory=set)
    """Messages whose end the client has sent."""
    accepted: Counter[int] = field(default_factory=Counter)
    dotted: Counter[int] = field(default_factory=Counter)
    """Ends of messages that the upstream heard."""
    faults: list[str] = field(default_factory=list)
    """Promises that were broken on the way."""

    def __post_init__(self) -> None:
        base = script_session(self.plan.script)
        self._wire_up(base)
        self.disk_full = False
        self.link: Link | None = None
        self.replies: deque[bytes] = deque()
        self.answered = 0
        self.hook_fails = False
        self.discarded: list[str] = []
        self.judged: set[int] = set()
        self.blocks = deque(deque(block) for block in self.plan.blocks)
        self.waiting: deque[Item] = deque([Item("greeting")])
        self.hearing = Receiver()
        self.reader = ReplyReader()
        self.invited = False
        self.client_silent = False
        self.client_dead = False
        self.reset_before = False
        """The client was gone when the upstream said 2yz."""

    def _wire_up(self, base: MemorySession) -> None:
        options = {**base.options, "new_spool": self.new_spool}
        self.judges = base.judge is not None
        self.memory = Watched(base.decider, base.session, None, options, watch=self.see)
        rules = base.decider
        for name in ("helo", "mail", "rcpt"):
            setattr(rules, name, self.fragile(getattr(rules, name)))

    def fragile[**P, T](self, ask: Callable[P, T]) -> Callable[P, T]:
        """Make the rules fail where a fault says so."""

        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            if self.hook_fails:
                self.hook_fails = False
                raise RuntimeError("a fault of the rules")
            return ask(*args, **kwargs)

        return asked

    def judge(self, transaction: Transaction) -> Disposition | None:
        assert transaction.content is not None
        self.judged.update(self.messages_in(transaction.content.view()))
        judge = self.fragile(transaction.judge.message)
        try:
            return judge(self.memory.session, transaction.envelope, transaction.content)
        except RuntimeError:
            return None

    def new_spool(self) -> FragileSpool:
        self.use_disk()
        return FragileSpool(self)

    def use_disk(self) -> None:
        if self.disk_full:
            raise OSError(28, "No space left on device")

    def messages_in(self, content: Buffer) -> list[int]:
        octets = bytes(content)
        return [n for n in range(1, self.plan.messages + 1) if token(n) in octets]

    # -- the course of events --------------------------------------------------------

    def run(self) -> World:
        """Play the plan to its end, and a while longer."""
        self.feed(events.Started())
        for _ in range(400):
            if self.memory.ended:
                break
            if not self.act() and not self.grow_old():
                break
        if not self.memory.ended:
            self.faults.append("the session does not end")
        return self

    def act(self) -> bool:
        """Have somebody do the next thing; false where nobody has anything to do."""
        if self.memory.ended:
            return False
        if any(isinstance(e, effects.OpenUpstream) for e in self.memory.pending):
            return self.open_upstream()
        asked = self.memory.take(effects.AskVerdict) if self.judges else None
        if asked is not None:
            said = self.judge(asked.transaction)
            self.feed(events.Judged(asked.transaction.id, said))
            return True
        if self.memory.take(effects.Pace) is not None:
            self.feed(events.Drained())
            return True
        starting = [e for e in self.memory.pending if isinstance(e, effects.StartTls)]
        if any(e.leg is Leg.UPSTREAM for e in starting) and self.speaks_upstream():
            return self.shake_upstream()
        if self.replies and self.speaks_upstream():
            said = self.replies.popleft()
            if said in {SILENT, CLOSED}:
                return self.falls_silent(said)
            self.answered += 1
            self.feed(events.Received(Leg.UPSTREAM, said))
            return True
        if self.speaks_upstream() and self.plan_unasked():
            return True
        return self.client_acts()

    def grow_old(self) -> bool:
        """Let time pass; the client leaves where it has nothing to wait for."""
        due = self.memory.dialogue.deadline
        if due is None:
            return False
        self.memory.now = max(self.memory.now, due)
        self.feed(events.Woke())
        return True

    def feed(self, event: events.Event, items: Sequence[Item] = ()) -> None:
        """Have an event happen, unless a fault takes its place or its peer away.

        ``items`` are what the client's octets say.
        """
        fault = self.fault
        if fault is not None and fault.point == self.points:
            self.fault = None
            if self.strike(fault, event, items):
                return
        self.points += 1
        if items and not self.client_silent:
            self.invited = False
            self.waiting.extend(items)
            self.sent.update(item.message for item in items if item.message)
        if isinstance(event, events.Received) and event.leg is Leg.UPSTREAM:
            if not self.speaks_upstream():
                return
            self.note_answer(event.data)
        elif isinstance(event, events.Received) and self.client_silent:
            return
        self.memory.feed(event)
        self.hear()

    def hear(self) -> None:
        self.listen_upstream()
        self.listen_client()

    # -- what goes wrong -------------------------------------------------------------

    def strike(self, fault: Fault, event: events.Event, items: Sequence[Item]) -> bool:
        """Have something go wrong; true where it stands in place of the event."""
        match fault.kind, fault.leg:
            case "hook", _:
                self.hook_fails = True
            case "disk", _:
                self.disk_full = True
            case _, Leg.UPSTREAM:
                instead = isinstance(event, events.Received)
                instead = instead and event.leg is Leg.UPSTREAM
                return self.strike_upstream(fault.kind) and instead
            case _, Leg.CLIENT:
                in_text = bool(items) and items[0].kind == "body"
                self.strike_client(fault.kind, in_text=in_text or self.invited)
        return False

    def strike_upstream(self, kind: str) -> bool:
        link = self.link
        if link is None or link.silent or not link.ours:
            return False
        if kind in SAID:
            if self.memory.dialogue.upstream.in_tls:  # type: ignore[union-attr]
                return False
            self.note_answer(SAID[kind])
            self.memory.feed(events.Received(Leg.UPSTREAM, SAID[kind]))
            if kind in {"421", "garbage"}:
                link.silent = True
                self.memory.feed(events.Closed(Leg.UPSTREAM))
            self.hear()
            return True
        link.silent = True
        link.dead = kind == "reset"
        if kind != "stall":
            self.memory.feed(events.Closed(Leg.UPSTREAM, reset=link.dead))
            self.hear()
        return True

    def strike_client(self, kind: str, *, in_text: bool) -> None:
        if self.client_silent:
            return
        if kind in SAID:
            if self.memory.dialogue.client.in_tls:
                return
            if not in_text:
                self.waiting.append(Item("noise"))
            self.memory.feed(events.Received(Leg.CLIENT, SAID[kind]))
            self.hear()
            return
        self.client_silent = True
        self.client_dead = kind == "reset"
        if kind != "stall":
            self.memory.feed(events.Closed(Leg.CLIENT, reset=self.client_dead))
            self.hear()

    # -- the upstream ----------------------------------------------------------------

    def speaks_upstream(self) -> bool:
        return self.link is not None and not self.link.silent and self.link.ours

    def open_upstream(self) -> bool:
        answer = self.plan.answers.to("open")
        if answer == b"":
            self.memory.opened("Connection refused")
            self.hear()
            return True
        self.link = Link()
        self.replies.clear()
        self.memory.take(effects.OpenUpstream)
        self.feed(events.Opened())
        if not self.memory.session.upstream_implicit_tls:
            self.replies.append(answer or b"220 mx.example ESMTP\r\n")
        return True

    def shake_upstream(self) -> bool:
        failed = self.plan.answers.to("tls")
        if failed:
            assert self.link is not None
            self.link.silent = True
        self.memory.upstream_tls(failed.decode() if failed else None)
        self.hear()
        if not failed and self.memory.session.upstream_implicit_tls:
            self.replies.append(
                self.plan.answers.to("open") or b"220 mx.example ESMTP\r\n"
            )
        return True

    def falls_silent(self, said: bytes) -> bool:
        assert self.link is not None
        self.link.silent = True
        if said == CLOSED:
            self.feed(events.Closed(Leg.UPSTREAM))
        return True

    def plan_unasked(self) -> bool:
        todo = self.plan.answers.unasked.pop(self.answered, [])
        for said in todo:
            assert self.link is not None
            if said is None:
                self.link.silent = True
                self.feed(events.Closed(Leg.UPSTREAM))
            else:
                self.feed(events.Received(Leg.UPSTREAM, said))
        return bool(todo)

    def see(self, effect: effects.Effect) -> None:
        """Note what the dialogue does, in its order."""
        match effect:
            case effects.Send(Leg.UPSTREAM, data) if self.link and self.link.ours:
                if not self.link.dead:
                    self.link.receiver.feed(data)
            case effects.Close(Leg.UPSTREAM) if self.link:
                self.listen_upstream()
                self.link.ours = False
            case effects.TransactionEnded(record) if record.outcome == "discarded":
                self.discarded.append(record.id)

    def listen_upstream(self) -> None:
        link = self.link
        while link is not None and self.take_upstream(link):
            pass

    def take_upstream(self, link: Link) -> bool:
        """Take a command or an end of data that the upstream has heard."""
        if link.chunk:
            octets = link.receiver.take(link.chunk)
            link.chunk -= len(octets)
            link.message += octets
            return bool(octets) and (link.chunk or self.end_message(link)) is True
        if link.data is not None:
            if not link.data.read(link.receiver, link.message.extend):
                return False
            link.data = None
            return self.end_message(link)
        line = link.receiver.next_line(20000)
        return line is not None and self.take_command(link, line)

    def take_command(self, link: Link, line: bytes) -> bool:
        question = question_of(line)
        if question == "PROXY":
            return True
        if question in {"DATA", "."} and self.plan.messages and not self.judged:
            self.faults.append("octets went up before any verdict")
        if question == ".":
            link.chunk = int(line.split()[1])
            return link.chunk > 0 or self.end_message(link)
        if question in {"RSET", "QUIT", "EHLO", "HELO"}:
            link.mail_open = False
        link.asked.append((question, 0))
        default = {
            "DATA": b"354 go ahead\r\n",
            "STARTTLS": b"220 go ahead\r\n",
            "QUIT": b"221 bye\r\n",
        }
        answer = self.plan.answers.to(question) or default.get(
            question, b"250 2.0.0 ok\r\n"
        )
        self.replies.append(answer)
        return True

    def end_message(self, link: Link) -> bool:
        octets = bytes(link.message)
        link.message.clear()
        messages = self.messages_in(octets)
        if len(messages) != 1:
            self.faults.append(f"a message that nobody sent went up: {octets!r}")
        for message in messages:
            self.dotted[message] += 1
            if message not in self.judged:
                self.faults.append("a message went up before its verdict")
        self.replies.append(self.plan.answers.to(".") or b"250 2.0.0 queued\r\n")
        link.asked.append((".", messages[0] if messages else 0))
        return True

    def note_answer(self, said: bytes) -> None:
        """Do what the upstream says: 2yz to the end of a message accepts it."""
        link = self.link
        if link is None or not link.asked or not said[:3].isdigit():
            return
        question, message = link.asked.popleft()
        if question.startswith("MAIL"):
            link.mail_open = said.startswith(b"2")
        elif question == "DATA" and said.startswith(b"354"):
            link.data = DataReader(limit=10**6)
        elif question == ".":
            link.mail_open = False
            self.dotted[message] -= 1
            if said.startswith(b"2"):
                self.accepted[message] += 1
                self.reset_before = self.client_dead

    # -- the client ------------------------------------------------------------------

    def client_acts(self) -> bool:
        if self.client_silent:
            return False
        while self.blocks and not self.blocks[0]:
            self.blocks.popleft()
        if self.waiting and not self.may_shake():
            return False
        if not self.blocks:
            self.client_silent = True
            self.feed(events.Closed(Leg.CLIENT))
            return True
        self.say(self.blocks[0])
        return True

    def say(self, block: deque[Item]) -> None:
        """Say what the client says without waiting, up to an event of its own."""
        items: list[Item] = []
        invited = self.invited
        while block and block[0].kind not in {"tls", "tls-fails", "close", "reset"}:
            item = block.popleft()
            if item.kind != "body" or invited:
                items.append(item)
            invited = False
        if items:
            octets = b"".join(item.octets for item in items)
            self.feed(events.Received(Leg.CLIENT, octets), items)
        if block and not self.client_silent:
            self.client_does(block.popleft())

    def may_shake(self) -> bool:
        """Whether TLS comes first: the greeting is awaited within it."""
        first = self.blocks[0][0].kind if self.blocks else ""
        return first in {"tls", "tls-fails"} and any(
            isinstance(effect, effects.StartTls) for effect in self.memory.pending
        )

    def client_does(self, item: Item) -> None:
        match item.kind:
            case "tls" | "tls-fails":
                if any(isinstance(e, effects.StartTls) for e in self.memory.pending):
                    error = "failed" if item.kind == "tls-fails" else None
                    self.memory.client_tls(item.octets.decode(), error)
                    self.hear()
            case _:
                self.client_silent = True
                self.client_dead = item.kind == "reset"
                self.feed(events.Closed(Leg.CLIENT, reset=self.client_dead))

    def listen_client(self) -> None:
        heard = self.memory.client_heard
        self.hearing.feed(bytes(heard))
        heard.clear()
        while (reply := self.reader.next_reply(self.hearing)) is not None:
            self.client_hears(reply)

    def client_hears(self, reply: Reply) -> None:
        if not self.waiting:
            return
        item = self.waiting.popleft()
        if item.message:
            self.told[item.message] = reply.code
            self.check_answered(item.message, reply)
        elif item.kind == "data":
            self.invited = reply.code == 354
        if reply.code == 421:
            self.waiting.clear()

    def check_answered(self, message: int, reply: Reply) -> None:
        """Check what must hold at the moment in which the client has its answer."""
        link = self.link
        if link is not None and link.ours and not link.silent and link.mail_open:
            self.faults.append(f"upstream left within a transaction at {reply}")
        if reply.is_positive and not self.accepted[message] and not self.discarded:
            self.faults.append(f"told {reply} before anybody had message {message}")
