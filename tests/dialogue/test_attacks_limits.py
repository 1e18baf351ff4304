"""Floods, slow peers and broken commands: rows F5 to F8, F10 and F12."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.dialogue.engine import HIGH_WATER, MAX_UNREAD
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import parse_mailbox, replies
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
    memory.client_heard.clear()
    memory.from_client(
        b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(3000))
    )
    memory.from_upstream(b"250 ok\r\n" * 100)
    heard = lines(memory.client_heard)
    assert heard == ["250 ok"] * 100 + ["452 4.5.3 Too many recipients"] * 2900
    assert memory.dialogue.transaction is not None
    assert len(memory.dialogue.transaction.envelope.recipients) == 100


def test_F5_recipients_without_a_limit_of_ours_are_bounded_all_the_same() -> None:
    rules = Rules(Settings(limits=Limits(recipients=None, rejected_recipients=10**6)))
    denied = Decision(Action.DENY, reply=replies.MAILBOX_UNAVAILABLE)
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
    memory = enveloped(greeted(session(kind=Reading, judge=None)))
    assert isinstance(memory, Reading)
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_client(b"NOOP\r\n" * (HIGH_WATER // 6))
    assert not hasattr(memory, "reading")
    memory.from_client(b"NOOP\r\n")
    assert memory.reading is False
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, None))
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


# -- F6: NUL, controls and 8-bit in commands ------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"MAIL FROM:<a\0b@x.example>\r\n",
        b"MAIL FROM:<a@x.example>\rRCPT TO:<y@x.example>\r\n",
        b"MAIL FROM:<a@x.example>\nRCPT TO:<y@x.example>\r\n",
        b"EHLO x\r\x0bY\r\n",
        b"EHLO x\x0bY\r\n",
        b"EHLO x\x00\r\n",
        b"EHLO \x1b[31mred\r\n",
        b"MAIL\tFROM:<a@x.example>\r\n",
        b"MAIL FROM:<a\x7f@x.example>\r\n",
        b"MAIL FROM:<\xff@x.example>\r\n",
        b"MAIL FROM:<a@x.example>\x08\r\n",
        b"\xe2\x80\xaeLIAM FROM:<a@x.example>\r\n",
    ],
    ids=repr,
)
def test_F6_controls_in_a_command_are_refused_and_go_nowhere(octets: bytes) -> None:
    memory = greeted(session())
    memory.from_client(octets)
    heard = lines(memory.client_heard)
    assert len(heard) == 1
    assert heard[0][:3] in {"500", "501", "553"}
    assert bytes(memory.upstream_heard) in {b"", b"QUIT\r\n"}


# -- F7: spoofing and private verbs ---------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"XCLIENT ADDR=10.0.0.1 LOGIN=admin",
        b"XFORWARD ADDR=10.0.0.1",
        b"BURL imap://u@h/x;urlauth=submit+u LAST",
        b"ETRN d.example",
        b"TURN",
        b"ATRN d.example",
        b"VERB",
        b"EXPN staff",
        b"LHLO c.example",
        b"SEND FROM:<a@b.example>",
        b"SOML FROM:<a@b.example>",
        b"XEXCH50 2 2",
        b"XADR a",
        b"X-ANYTHING",
        b"AUTH=PLAIN",
        b"DATAx",
        b"MAILFROM:<a@b.example>",
    ],
    ids=repr,
)
def test_F7_verbs_that_are_none_of_ours_stay_here(octets: bytes) -> None:
    memory = greeted(session())
    memory.from_client(octets + b"\r\n")
    (heard,) = lines(memory.client_heard)
    assert heard[:9] in {"502 5.5.1", "550 5.7.1"}
    assert not memory.upstream_heard
    assert memory.session.client == ("192.0.2.1", 50000)


@pytest.mark.parametrize("verb", ["GET / HTTP/1.1", "POST /", "CONNECT x:25", "PRI *"])
def test_F7_what_a_browser_says_ends_the_session(verb: str) -> None:
    memory = connected(session())
    memory.client_heard.clear()
    memory.from_client(verb.encode() + b"\r\nMAIL FROM:<a@b.example>\r\n")
    assert [line[:9] for line in lines(memory.client_heard)] == ["502 5.5.1"]
    assert memory.closed == CLOSED


# -- F8: what was not offered ---------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        ("MAIL FROM:<jörg@x.example>", "553 5.6.7"),
        ("MAIL FROM:<jörg@x.example> SMTPUTF8", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> BODY=8BITMIME", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> BODY=BINARYMIME", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> SIZE=10", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> RET=FULL", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> ENVID=x", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> MT-PRIORITY=3", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> AUTH=<>", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> REQUIRETLS", "550 5.7.30"),
        ("MAIL FROM:<a@x.example> XFOO=1", "555 5.5.4"),
        ("MAIL FROM:<a@x.example> =1", "501 5.5.4"),
    ],
)
def test_F8_a_parameter_that_was_not_offered_is_refused_here(
    octets: str, answer: str
) -> None:
    memory = greeted(session(), b"250 mx.example\r\n")
    memory.from_client(octets.encode() + b"\r\n")
    (heard,) = lines(memory.client_heard)
    assert heard.startswith(answer)
    assert not memory.upstream_heard


def test_F8_a_size_smaller_than_the_message_is_no_fault_of_the_message() -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example> SIZE=1\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"DATA\r\nlonger than that\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard.endswith(b"longer than that\r\n.\r\n")


def test_F8_8_bit_text_in_a_7_bit_session_arrives_unchanged() -> None:
    """Bytes are sacred: nobody recodes it, and nobody could without breaking it."""
    memory = enveloped(greeted(session(), b"250 mx.example\r\n"))
    memory.from_client(b"DATA\r\n\xc3\xbc\xff\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard == b"DATA\r\n\xc3\xbc\xff\r\n.\r\n"


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


# -- F12: one transaction after another -----------------------------------------------


def test_F12_nothing_of_a_denied_message_is_in_the_next() -> None:
    texts = []

    def verdict(envelope: object, content: object) -> Disposition:
        texts.append(bytes(content.view()))  # type: ignore[attr-defined]
        if len(texts) == 1:
            return Disposition(Outcome.REJECTED, Reply(550, (b"5.7.1 no",)))
        return Disposition(Outcome.RELAYED)

    memory = enveloped(greeted(session(Rules(verdict=verdict))), recipients=2)
    memory.from_client(b"DATA\r\nfirst\r\n.\r\n")
    memory.from_upstream(b"250 reset\r\n")
    enveloped(memory)
    memory.from_client(b"DATA\r\nsecond\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard == b"DATA\r\nsecond\r\n.\r\n"
    assert texts == [b"first\r\n", b"second\r\n"]
    memory.from_upstream(b"250 queued\r\n")
    assert [len(record.rcpt_to) for record in memory.records] == [2, 1]
    assert [record.id for record in memory.records] == ["s1.1", "s1.2"]


def test_F12_rset_forgets_on_both_legs() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RSET\r\n")
    assert lines(memory.client_heard) == ["250 2.0.0 OK"]
    assert lines(memory.upstream_heard) == ["RSET"]
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"DATA\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]


def test_F12_mail_twice_and_rcpt_before_mail_are_503() -> None:
    memory = greeted(session())
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]
    enveloped(memory)
    memory.from_client(b"MAIL FROM:<other@b.example>\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]
    assert not memory.upstream_heard


def test_F12_a_rewritten_recipient_keeps_the_orcpt_it_came_with() -> None:
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("new@d.example"))
    rules = Rules(recipients={"old@d.example": rewrite})
    memory = greeted(session(rules), b"250-mx.example\r\n250 DSN\r\n")
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    forget_heard(memory)
    memory.from_client(b"RCPT TO:<old@d.example> ORCPT=rfc822;first@e.example\r\n")
    assert lines(memory.upstream_heard) == [
        "RCPT TO:<new@d.example> ORCPT=rfc822;first@e.example"
    ]


def test_F12_a_rewrite_does_not_leak_into_the_next_transaction() -> None:
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("new@d.example"))
    memory = greeted(session(Rules(recipients={"old@d.example": rewrite})))
    for name, expected in [("old", "new"), ("r0", "r0"), ("new", "new")]:
        memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
        memory.from_upstream(b"250 ok\r\n")
        forget_heard(memory)
        memory.from_client(f"RCPT TO:<{name}@d.example>\r\n".encode())
        assert lines(memory.upstream_heard) == [f"RCPT TO:<{expected}@d.example>"]
        memory.from_upstream(b"250 ok\r\n")
        memory.from_client(b"RSET\r\n")
        memory.from_upstream(b"250 ok\r\n")
