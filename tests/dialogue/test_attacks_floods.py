"""Floods and slow peers: rows F5 and F10 of the attack list."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.dialogue.engine import HIGH_WATER, MAX_UNREAD
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, ServerTls, Settings
from smtpguard.policy.replies import UNKNOWN_RECIPIENT
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    new_facts,
    secured,
    session,
)
from tests.dialogue.world import Watched


CLOSED = {Leg.CLIENT, Leg.UPSTREAM}


def unlimited(**limits: int) -> Rules:
    return Rules(Settings(limits=Limits(**{"errors": 10**6, **limits})))


# -- F5: overlong ---------------------------------------------------------------------


def test_F5_a_command_of_100_kB_is_cut_off_with_500() -> None:
    memory = greeted(session())
    memory.from_client(b"NOOP " + b"x" * 100_000)
    assert lines(memory.client_heard) == ["500 5.5.2 Line too long"]
    assert memory.closed == CLOSED


def test_F5_a_command_over_the_limit_is_read_to_its_end_first() -> None:
    memory = greeted(session())
    memory.from_client(b"NOOP " + b"x" * 3000)
    assert not memory.client_heard
    memory.from_client(b"\r\nNOOP\r\n")
    assert lines(memory.client_heard) == ["500 5.5.2 Line too long"]
    assert memory.closed == CLOSED


@pytest.mark.parametrize(("size", "answer"), [(2048, "250 2.0.0"), (2049, "500 5.5.2")])
def test_F5_the_limit_of_a_command_counts_its_end(size: int, answer: str) -> None:
    memory = greeted(session())
    memory.from_client(b"NOOP " + b"x" * (size - 7) + b"\r\n")
    assert [line[:9] for line in lines(memory.client_heard)] == [answer]


@pytest.mark.parametrize(("size", "passes"), [(12288, True), (12289, False)])
def test_F5_an_auth_line_may_have_12288_octets(size: int, passes: bool) -> None:
    memory = secured(session(), b"250-mx.example\r\n250 AUTH PLAIN\r\n")
    memory.from_client(b"AUTH PLAIN " + b"x" * (size - 13) + b"\r\n")
    assert bool(memory.upstream_heard.startswith(b"AUTH PLAIN")) is passes
    assert memory.ended is not passes


def test_F5_a_text_line_of_300_kB_is_reported_and_passed() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\n" + b"x" * 300_000 + b"\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard.endswith(b"x" * 300_000 + b"\r\n.\r\n")
    assert any("1 lines over 998" in line for line in memory.log)


def test_F5_a_message_far_over_the_limit_is_given_up() -> None:
    memory = enveloped(greeted(session(unlimited(message=1000))))
    memory.from_client(b"DATA\r\n" + b"x" * 1999)
    assert not memory.ended
    memory.client_heard.clear()
    memory.from_client(b"xx")
    assert lines(memory.client_heard) == [
        "421 4.7.0 Limit exceeded, closing connection"
    ]
    assert memory.closed == CLOSED


def test_F5_every_recipient_of_many_has_its_reply() -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    forget_heard(memory)
    memory.from_client(
        b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(3000))
    )
    while waiting := memory.upstream_heard.count(b"RCPT"):
        memory.upstream_heard.clear()
        memory.from_upstream(b"250 ok\r\n" * waiting)
    heard = lines(memory.client_heard)
    assert heard == ["250 ok"] * 100 + ["452 4.5.3 Too many recipients"] * 2900
    assert memory.dialogue.transaction is not None
    assert len(memory.dialogue.transaction.envelope.recipients) == 100


def test_F5_recipients_without_a_limit_of_ours_are_bounded_all_the_same() -> None:
    rules = Rules(Settings(limits=Limits(recipients=None, rejected_recipients=10**6)))
    denied = Decision(Action.DENY, reply=UNKNOWN_RECIPIENT)
    rules.recipients["*"] = denied
    memory = greeted(session(rules))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.client_heard.clear()
    memory.from_client(b"RCPT TO:<r@d.example>\r\n" * 10_002)
    heard = lines(memory.client_heard)
    assert len(heard) == 10_002
    assert (
        heard[-3:]
        == ["550 5.1.1 Mailbox unavailable"] + ["452 4.5.3 Too many recipients"] * 2
    )


@pytest.mark.parametrize(
    "reply",
    [
        b"250-x\r\n" * 10_000 + b"250 x\r\n",
        b"250 " + b"x" * 1_000_000 + b"\r\n",
        b"250-" + b"x" * 1_000_000,
        b"250-" + b"x" * 2000 + b"\r\n250-" * 1_000,
    ],
    ids=["lines", "line", "unended", "long lines"],
)
def test_F5_an_upstreams_endless_reply_loses_it(reply: bytes) -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    for start in range(0, len(reply), 65536):
        memory.from_upstream(reply[start : start + 65536])
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]
    assert Leg.UPSTREAM in memory.closed
    assert memory.dialogue.upstream is not None
    assert len(memory.dialogue.upstream.receiver) == 0


class Reading(MemorySession):
    """Notes whether the client is being read from."""

    __slots__ = ("reading",)

    def _carry_out(self, effect: effects.Effect) -> None:
        if isinstance(effect, effects.PauseReading | effects.ResumeReading):
            self.reading = isinstance(effect, effects.ResumeReading)
        MemorySession._carry_out(self, effect)


def test_F5_a_client_that_sends_without_waiting_is_not_read_from() -> None:
    rules = unlimited(commands=10**6)
    memory = enveloped(greeted(session(rules, kind=Reading, judge=None)))
    assert isinstance(memory, Reading)
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_client(b"NOOP\r\n" * (HIGH_WATER // 6))
    assert not hasattr(memory, "reading")
    memory.from_client(b"NOOP\r\n")
    assert memory.reading is False
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, None))
    memory.from_upstream(b"250 reset\r\n")
    assert memory.reading is True


@pytest.mark.parametrize("moment", ["verdict", "data", "greeting"])
def test_F5_a_client_that_cannot_be_paused_is_cut_off(moment: str) -> None:
    """400 MiB pushed during a verdict: nothing of it is kept."""
    memory = session(judge=None)
    if moment == "greeting":
        memory.start()
        memory.opened()
    else:
        enveloped(greeted(memory))
        memory.from_client(b"DATA\r\nx\r\n.\r\n")
        if moment == "data":
            asked = memory.take(effects.AskVerdict)
            assert asked is not None
            said = Disposition(Outcome.RELAYED)
            memory.feed(events.Judged(asked.transaction.id, said))
    memory.client_heard.clear()
    for _ in range(400):
        memory.from_client(b"x" * 2**20)
        assert len(memory.dialogue.client.receiver) <= MAX_UNREAD
    assert lines(memory.client_heard) == [
        "421 4.7.0 Limit exceeded, closing connection"
    ]
    assert memory.ended


def test_F5_a_flood_while_the_final_reply_is_awaited_changes_nothing_of_it() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.client_heard.clear()
    for _ in range(10):
        memory.from_client(b"x" * 2**20)
    assert len(memory.dialogue.client.receiver) == 0
    memory.from_upstream(b"250 queued\r\n")
    assert lines(memory.client_heard) == [
        "250 queued",
        "421 4.7.0 Limit exceeded, closing connection",
    ]
    assert memory.records[0].outcome is Outcome.RELAYED


# -- F10: slow peers ------------------------------------------------------------------


def drip(memory: MemorySession, octets: bytes, seconds: float) -> float:
    """Have the client send octet by octet; return when the session ended."""
    start = memory.now
    for octet in octets:
        memory.from_client(bytes([octet]))
        memory.pass_time(seconds)
        if memory.ended:
            break
    return memory.now - start


@pytest.mark.parametrize(
    "begin", [connected, greeted, enveloped], ids=lambda f: f.__name__
)
def test_F10_a_command_that_drips_ends_after_five_minutes(begin: object) -> None:
    memory = session()
    if begin is enveloped:
        greeted(memory)
    begin(memory)  # type: ignore[operator]
    took = drip(memory, b"NOOP" + b"x" * 100, 30)
    assert 270 <= took <= 330
    assert b"421 4.4.2" in memory.client_heard


def test_F10_a_message_that_drips_ends_after_three_minutes() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\n")
    took = drip(memory, b"x" * 100, 30)
    assert 180 <= took <= 210


def test_F10_a_message_over_the_floor_may_take_its_time() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\n")
    for _ in range(60):
        memory.from_client(b"x" * 100_000)
        memory.pass_time(100)
        memory.from_upstream(b"250 ok\r\n" * memory.upstream_heard.count(b"NOOP"))
        memory.upstream_heard.clear()
    assert not memory.ended


def test_F10_a_handshake_has_thirty_seconds() -> None:
    memory = connected(session())
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250 mx.example\r\n")
    memory.pass_time(29)
    assert not memory.ended
    memory.pass_time(2)
    assert memory.ended


def test_F10_an_upstreams_handshake_has_thirty_seconds() -> None:
    rules = Rules(Settings(server_tls=ServerTls(starttls="required")))
    facts = new_facts(reverse_name="mx.example")
    memory = forget_heard(connected(session(rules, facts=facts)))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    memory.from_upstream(b"220 go\r\n")
    memory.pass_time(29)
    assert not memory.client_heard
    memory.pass_time(2)
    assert lines(memory.client_heard) == ["454 4.7.0 TLS not available"]
    assert Leg.UPSTREAM in memory.closed


def test_F10_an_upstream_that_drips_its_reply_is_lost_in_time() -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    for octet in b"250-" + b"x" * 100:
        memory.from_upstream(bytes([octet]))
        memory.pass_time(10)
        if memory.client_heard:
            break
    assert 1290 <= memory.now <= 1310
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]


def test_F10_an_upstream_that_does_not_read_is_given_up() -> None:
    memory = enveloped(greeted(session(kind=Watched)))
    memory.from_client(b"DATA\r\n" + (b"x" * 998 + b"\r\n") * 600 + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.client_heard.clear()
    memory.pass_time(181)
    assert lines(memory.client_heard) == ["451 4.4.2 Next server does not answer"]
    assert Leg.UPSTREAM in memory.closed
    assert memory.records[0].in_doubt == ""


def test_F10_a_client_is_not_timed_out_while_it_waits_for_us() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<slow@d.example>\r\n")
    memory.pass_time(299)
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.client_heard) == ["250 ok"]
    memory.pass_time(299)
    assert not memory.ended
    memory.pass_time(2)
    assert memory.ended
