"""Random events in random order: never an exception, always an end.

The peers say what they like, sensible or not, and what the dialogue asks for is
answered late or not at all. ``handle`` must not raise, nothing may be sent on a leg
that was closed, and once both peers are gone the session must end.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from smtpguard.dialogue import Dialogue, effects, events
from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg, TlsFacts
from smtpguard.model.settings import (
    ClientTls,
    Deadlines,
    Implicit,
    Limits,
    ServerTls,
    Settings,
)
from smtpguard.wire import parse_mailbox
from tests.dialogue.peers import FullDisk, Rules, new_facts


CLIENT_SAYS = [
    b"EHLO c.example\r\n",
    b"HELO c.example\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN AA==\r\n",
    b"AUTH LOGIN\r\n",
    b"dXNlcg==\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<x@b.example> SIZE=10 BODY=8BITMIME\r\n",
    b"RCPT TO:<c@d.example>\r\n",
    b"RCPT TO:<old@d.example>\r\n",
    b"RCPT TO:<denied@d.example>\r\n",
    b"RCPT TO:<broken@d.example>\r\n",
    b"DATA\r\n",
    b"Subject: x\r\n\r\nhi\r\n.\r\n",
    b".\r\n",
    b"BDAT 5\r\nhello",
    b"BDAT 5 LAST\r\nhello",
    b"BDAT 100\r\nhe",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY x\r\n",
    b"ETRN d.example\r\n",
    b"XCLIENT ADDR=198.51.100.7\r\n",
    b"PROXY TCP4 198.51.100.7 192.0.2.9 1 25\r\n",
    b"QUIT\r\n",
    b"x" * 3000,
    b"\r\n",
    b"\x16\x03\x01",
    b"\n",
    b"\0",
]
UPSTREAM_SAYS = [
    b"220 mx.example ESMTP\r\n",
    b"220-mx.example\r\n",
    b"220 go\r\n",
    b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 STARTTLS\r\n",
    b"250-mx.example\r\n250-SIZE 100\r\n250-AUTH PLAIN LOGIN\r\n250 XCLIENT ADDR\r\n",
    b"250 ok\r\n",
    b"250 ok\r\n250 ok\r\n",
    b"250",
    b"235 ok\r\n",
    b"334 go\r\n",
    b"354 go\r\n",
    b"421 bye\r\n",
    b"451 later\r\n",
    b"550 no\r\n",
    b"221 bye\r\n",
    b"what\r\n",
    b"\0",
]
SENSIBLE = {
    b"": b"220 mx.example ESMTP\r\n",
    b"EHLO": b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 XCLIENT ADDR\r\n",
    b"STARTTLS": b"220 go\r\n",
    b"XCLIENT": b"220 go\r\n",
    b"DATA": b"354 go\r\n",
    b"AUTH": b"235 ok\r\n",
    b"QUIT": b"221 bye\r\n",
}
"""What an upstream says to a command, else 250."""
IMPLICIT: list[Implicit] = ["port"] * 5
IMPLICIT += ["true", "false", "auto"]
VERDICTS = [
    None,
    Disposition(Outcome.RELAYED),
    Disposition(Outcome.RELAYED),
    Disposition(Outcome.MODIFIED, content=MemorySpool()),
    Disposition(Outcome.REJECTED, Reply(550, (b"5.7.1 no",))),
    Disposition(Outcome.DISCARDED, Reply(250, (b"2.0.0 ok",))),
    Disposition(Outcome.DROPPED),
    Disposition(Outcome.QUARANTINED, Reply(250, (b"2.0.0 ok",))),
    Disposition(Outcome.DEFERRED),
]


def some_rules(chance: random.Random) -> Rules:
    settings = Settings(
        identity=chance.choice(["none", "none", "xclient", "proxy_v1", "proxy_v2"]),
        client_tls=ClientTls(
            starttls=chance.choice(["allowed", "required", "none"]),
            implicit=chance.choice(IMPLICIT),
        ),
        server_tls=ServerTls(
            starttls=chance.choice(["preferred", "required", "follow", "none"])
        ),
        deadlines=Deadlines(keepalive=20.0, data=30.0),
        limits=Limits(errors=50, recipients=chance.choice([2, 100, None]), message=200),
        bare_newlines=chance.choice(["refuse", "normalise"]),
        hide_server=chance.random() < 0.2,
        etrn=chance.random() < 0.5,
    )
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("c@d.example"))
    denied = Decision(Action.DENY, reply=Reply(550, (b"5.1.1 no",)))
    return Rules(
        settings,
        protocol=chance.choice([""] * 10 + ["proxy", "xclient"]),
        recipients={
            "old@d.example": rewrite,
            "denied@d.example": denied,
            "broken@d.example": RuntimeError("a fault of the rules"),
        },
    )


@dataclass
class Walk:
    """One random session."""

    chance: random.Random
    now: float = 0.0
    asked: list[effects.Effect] = field(default_factory=list)
    closed: set[Leg] = field(default_factory=lambda: {Leg.UPSTREAM})
    ends: int = 0
    seen: set[object] = field(default_factory=set)
    """Kinds of effects, and outcomes."""

    def __post_init__(self) -> None:
        chance = self.chance
        self.sense = chance.choice([0.2, 0.8, 0.95, 0.99])
        self.dialogue = Dialogue(
            new_facts(
                reverse_name=chance.choice(["", "mx.example"]),
                upstream_implicit_tls=chance.random() < 0.1,
            ),
            some_rules(chance),
            new_spool=lambda: FullDisk(chance.choice([3, 10**6])),
            own_name="guard.example",
            ask_commands=chance.random() < 0.1,
            record_limit=chance.choice([0, 10]),
        )

    def feed(self, event: events.Event) -> None:
        for effect in self.dialogue.handle(event, self.now):
            self.seen.add(type(effect))
            match effect:
                case effects.TransactionEnded(record):
                    self.seen.add(record.outcome)
                case effects.Send(leg):
                    assert not self.ends
                    assert leg not in self.closed, effect
                case effects.Close(leg):
                    self.closed.add(leg)
                case effects.SessionEnded():
                    self.ends += 1
                case effects.OpenUpstream():
                    self.closed.discard(Leg.UPSTREAM)
                    self.asked.append(effect)
                case _:
                    self.asked.append(effect)

    def step(self) -> None:
        chance = self.chance
        self.now += chance.choice([0] * 20 + [0.1, 1, 10, 100])
        if self.asked and chance.random() < 0.9:
            self.answer(self.asked.pop(chance.randrange(len(self.asked))))
            return
        if chance.random() < self.sense:
            self.sensible()
            return
        kind = chance.random()
        if kind < 0.5:
            said = b"".join(chance.choices(CLIENT_SAYS, k=chance.choice([1, 1, 2, 5])))
            self.feed(events.Received(Leg.CLIENT, said))
        elif kind < 0.9:
            self.feed(events.Received(Leg.UPSTREAM, chance.choice(UPSTREAM_SAYS)))
        elif kind < 0.96:
            self.feed(events.Woke())
        elif kind < 0.98:
            leg = chance.choice(list(Leg))
            self.feed(events.Closed(leg, reset=chance.random() < 0.3))
        elif kind < 0.985:
            self.feed(events.Stopping())

    def sensible(self) -> None:
        """Have one of the peers say what makes sense now."""
        d = self.dialogue
        if d.upstream is not None and d.upstream._sent and self.chance.random() < 0.7:
            verb = d.upstream._sent[0].octets.split(b" ")[0].strip()
            said = SENSIBLE.get(verb, b"250 ok\r\n")
            self.feed(events.Received(Leg.UPSTREAM, said))
            return
        tx = d.transaction
        if not d.session.helo:
            said = b"EHLO c.example\r\n"
        elif tx is None:
            said = b"MAIL FROM:<a@b.example>\r\n"
        elif not tx.envelope.standing:
            said = b"RCPT TO:<c@d.example>\r\n"
        elif tx.content is not None and tx.chunks is None:
            said = b"hi\r\n.\r\n"
        else:
            said = self.chance.choice([b"DATA\r\n", b"BDAT 5 LAST\r\nhello"])
        self.feed(events.Received(Leg.CLIENT, said))

    def answer(self, effect: effects.Effect) -> None:
        """Answer something that the dialogue asked for, whenever that was."""
        chance = self.chance
        fails = "failed" if chance.random() < 0.1 else None
        match effect:
            case effects.OpenUpstream():
                self.feed(events.Opened(fails))
            case effects.StartTls(Leg.CLIENT) if not fails:
                self.feed(events.HelloReceived("mx.example"))
            case effects.StartTls(leg):
                facts = None if fails else TlsFacts("TLSv1.3", "TEST", "", "ok")
                self.feed(events.TlsFinished(leg, facts, fails))
            case effects.ContinueTls():
                self.feed(events.TlsFinished(Leg.CLIENT, TlsFacts("TLSv1.3", "TEST")))
            case effects.AskVerdict(transaction):
                said = chance.choice(VERDICTS)
                self.feed(events.Judged(transaction.id, said))
            case effects.AskCommand():
                refusal = Reply(550, (b"5.7.1 no",)) if chance.random() < 0.2 else None
                self.feed(events.CommandJudged(refusal))
            case effects.Pace(leg):
                self.feed(events.Drained(leg))

    def finish(self) -> None:
        for leg in Leg:
            self.feed(events.Closed(leg, reset=True))
        for _ in range(100):
            due = self.dialogue.deadline
            if due is None:
                break
            self.now = max(self.now, due)
            self.feed(events.Woke())


@pytest.mark.parametrize("seed", range(20))
def test_random_events_never_raise_and_the_session_always_ends(seed: int) -> None:
    for number in range(40):
        walk = Walk(random.Random(seed * 1000 + number))
        walk.feed(events.Started())
        for _ in range(walk.chance.choice([10, 50, 200])):
            walk.step()
        walk.finish()
        assert walk.dialogue.ended
        assert walk.ends == 1
        assert walk.dialogue.transaction is None
        assert Leg.CLIENT in walk.closed
        assert Leg.UPSTREAM in walk.closed


def test_the_walks_come_far_enough_to_mean_something() -> None:
    seen: set[object] = set()
    for number in range(600):
        walk = Walk(random.Random(number))
        walk.feed(events.Started())
        for _ in range(100):
            walk.step()
        seen |= walk.seen
    assert seen >= {*Outcome, effects.StartTls, effects.AskCommand}
