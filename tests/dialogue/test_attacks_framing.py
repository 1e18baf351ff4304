"""Where a message or a command ends: rows F3, F4 and F9 of the attack list."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, Settings
from smtpguard.policy.replies import UNKNOWN_RECIPIENT
from tests.dialogue.peers import (
    Rules,
    enveloped,
    greeted,
    lines,
    session,
    with_data,
)
from tests.dialogue.world import Watched


CHUNKING = b"250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
EVIL = (
    b"MAIL FROM:<s@evil.example>\r\nRCPT TO:<v@d.example>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled"
)


# -- F3: chunks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    [
        b"-1",
        b"",
        b"x",
        b"10 FIRST",
        b"1e3",
        b"0x10",
        b"10LAST",
        b"99999999999999999999",
    ],
    ids=repr,
)
@pytest.mark.parametrize("where", ["enveloped", "greeted"])
def test_F3_a_chunk_whose_size_cannot_be_read_closes_the_session(
    where: str, argument: bytes
) -> None:
    memory = greeted(session(), CHUNKING)
    if where == "enveloped":
        enveloped(memory)
    memory.from_client(b"BDAT " + argument + b"\r\n" + EVIL)
    heard = lines(memory.client_heard)
    assert [line[:3] for line in heard] in (["501"], ["421"])
    assert memory.closed == {Leg.CLIENT, Leg.UPSTREAM}
    assert b"evil" not in memory.upstream_heard


@pytest.mark.parametrize("size", [2**33, 2**41])
def test_F3_a_chunk_beyond_all_limits_closes_the_session(size: int) -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT %d\r\n" % size + EVIL)
    assert [line[:3] for line in lines(memory.client_heard)] in (["421"], ["501"])
    assert memory.ended


def test_F3_an_empty_last_chunk_is_an_empty_message() -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT 0 LAST\r\n")
    assert bytes(memory.upstream_heard) == b"BDAT 0 LAST\r\n"


def test_F3_a_chunk_that_stalls_ends_in_421_and_is_never_delivered() -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT 10 LAST\r\nhello")
    memory.pass_time(181)
    assert lines(memory.client_heard) == ["421 4.4.2 Timeout, closing connection"]
    assert b"BDAT" not in memory.upstream_heard


def test_F3_a_chunk_after_a_message_is_out_of_place_and_consumed() -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(b"BDAT 5 LAST\r\nhelloBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    memory.from_upstream(b"250 queued\r\n")
    assert lines(memory.client_heard) == [
        "250 queued",
        "503 5.5.1 Bad sequence of commands",
        "250 2.0.0 OK",
    ]


def test_F3_an_upstream_refusal_in_the_middle_of_chunks_shifts_no_reply() -> None:
    memory = greeted(session(), CHUNKING)
    memory.from_client(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
        b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n"
    )
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(b"500 5.5.1 what\r\n")
    memory.from_upstream(b"250 reset\r\n")
    assert [line[:9] for line in lines(memory.client_heard)] == [
        "250 ok",
        "500 5.5.1",
        "554 5.5.1",
        "554 5.5.1",
        "250 2.0.0",
    ]


def test_F3_a_chunk_that_rules_refuse_is_consumed() -> None:
    """Another addon's refusal too: its octets are never commands."""
    memory = enveloped(greeted(session(ask_commands=False), CHUNKING))
    memory.dialogue.ask_commands = True
    memory.from_client(b"BDAT 6 LAST\r\nQUIT\r\n")
    memory.feed(events.CommandJudged(Reply(550, (b"5.7.1 no chunks",))))
    memory.dialogue.ask_commands = False
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == ["550 5.7.1 no chunks", "250 2.0.0 OK"]


# -- F4: pipelining -------------------------------------------------------------------


def test_F4_a_whole_session_in_one_segment_is_answered_in_order() -> None:
    memory = session()
    memory.start()
    memory.from_client(
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
        b"DATA\r\nSubject: x\r\n\r\n.\r\nRSET\r\nQUIT\r\n"
    )
    memory.opened()
    for reply in (
        b"220 mx",
        b"250-mx\r\n250 PIPELINING",
        b"250 a",
        b"250 c",
        b"354 go",
    ):
        memory.from_upstream(reply + b"\r\n")
    memory.from_upstream(b"250 queued\r\n")
    memory.from_upstream(b"221 bye\r\n")
    codes = [line[:3] for line in lines(memory.client_heard) if line[3:4] != "-"]
    assert codes == ["220", "250", "250", "250", "354", "250", "250", "221"]
    assert memory.ended


def test_F4_a_text_behind_a_refused_data_is_commands_and_says_so() -> None:
    """No 354 was said, so there is no text; each line gets its reply."""
    memory = greeted(session(Rules(Settings(limits=Limits(errors=100)))))
    memory.from_client(
        b"MAIL FROM:<a@b.example>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n"
    )
    memory.from_upstream(b"250 ok\r\n")
    heard = [line[:3] for line in lines(memory.client_heard)]
    assert heard == ["250", "554", "502", "500", "502", "500"]


def test_F4_our_denial_shifts_no_reply() -> None:
    denied = Decision(Action.DENY, reply=UNKNOWN_RECIPIENT)
    memory = greeted(session(Rules(recipients={"r1@d.example": denied})))
    rcpts = b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(3))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n" + rcpts)
    memory.from_upstream(b"250 mail\r\n")
    memory.from_upstream(b"250 r0\r\n")
    memory.from_upstream(b"250 r2\r\n")
    assert lines(memory.client_heard) == [
        "250 mail",
        "250 r0",
        "550 5.1.1 Mailbox unavailable",
        "250 r2",
    ]


def test_F4_ten_thousand_pipelined_commands_neither_recurse_nor_run_away() -> None:
    rules = Rules(Settings(limits=Limits(commands=10_001)))
    memory = greeted(session(rules))
    memory.from_client(b"NOOP\r\n" * 10_000)
    assert memory.client_heard == b"250 2.0.0 OK\r\n" * 10_000


# -- F9: ends that are none -----------------------------------------------------------


BEGUN = [b"", b"x", b"Subject: x\r\n", b"Subject: x\r\n.", b"Subject: x\r\n.\r", b"."]


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("text", BEGUN, ids=repr)
def test_F9_a_client_that_goes_before_its_dot_has_sent_no_message(
    text: bytes, reset: bool
) -> None:
    memory = with_data(enveloped(greeted(session())))
    memory.from_client(text)
    memory.feed(events.Closed(Leg.CLIENT, reset=reset))
    assert memory.ended
    assert b"DATA" not in memory.upstream_heard
    assert memory.decider.judged == 0  # type: ignore[attr-defined]
    assert [record.outcome for record in memory.records] == [Outcome.DEFERRED]


@pytest.mark.parametrize("chunk", [b"BDAT 10 LAST\r\nhello", b"BDAT 5\r\nhello"])
def test_F9_a_client_that_goes_between_chunks_has_sent_no_message(chunk: bytes) -> None:
    memory = enveloped(greeted(session(), CHUNKING))
    memory.from_client(chunk)
    memory.feed(events.Closed(Leg.CLIENT))
    assert memory.ended
    assert b"BDAT" not in memory.upstream_heard


def test_F9_a_half_close_after_the_dot_still_gets_its_answer() -> None:
    memory = with_data(enveloped(greeted(session())))
    memory.from_client(b"x\r\n.\r\n")
    memory.feed(events.Closed(Leg.CLIENT))
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"250 queued\r\n")
    assert lines(memory.client_heard) == ["250 queued"]


@pytest.mark.parametrize("early", [b"250 queued\r\n", b"354 again\r\n", b"220 hi\r\n"])
def test_F9_a_250_before_the_dot_is_no_acceptance(early: bytes) -> None:
    """In the segment of the 354, so before any octet of the message has gone up."""
    memory = with_data(enveloped(greeted(session())))
    memory.from_client(b"x\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n" + early)
    assert lines(memory.client_heard)[0].startswith("451 4.4.2")
    assert b".\r\n" not in memory.upstream_heard
    assert Leg.UPSTREAM in memory.closed
    assert memory.records[0].in_doubt == ""


def test_F9_a_refusal_before_the_dot_is_the_answer_to_the_message() -> None:
    memory = with_data(enveloped(greeted(session(kind=Watched))))
    memory.from_client((b"x" * 998 + b"\r\n") * 600 + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"552 5.3.4 too large for me\r\n")
    assert lines(memory.client_heard) == ["552 5.3.4 too large for me"]
    assert not memory.upstream_heard.endswith(b"\r\n.\r\n")
    assert Leg.UPSTREAM in memory.closed


def test_F9_421_at_any_point_is_a_refusal_for_now() -> None:
    for count in range(4):
        memory = greeted(session())
        said = [b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"250 queued\r\n"]
        memory.from_client(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n"
        )
        for reply in [*said[:count], b"421 4.3.2 going\r\n"]:
            memory.from_upstream(reply)
        heard = [line[:3] for line in lines(memory.client_heard)]
        assert "250" not in heard[count:]
        assert not any(record.in_doubt for record in memory.records)
