"""MAIL, RCPT and RSET, where the scripts of the rows do not show it."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.decision import Action, Decision
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import replies
from tests.dialogue.peers import (
    EHLO_REPLY,
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    new_facts,
    session,
)
from tests.judging import make_pipeline, names, rules


def test_mail_before_ehlo_is_503_and_what_is_pipelined_behind_it_no_error() -> None:
    memory = forget_heard(connected(session(Rules(Settings(limits=Limits(errors=2))))))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
    assert [line[:3] for line in lines(memory.client_heard)] == ["503"] * 3
    assert not memory.ended


def test_an_upstream_that_cannot_be_dialled_is_451_and_the_session_goes_on() -> None:
    memory = greeted(session())
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.opened("Connection refused")
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == ["250 2.0.0 OK"]


@pytest.mark.parametrize(
    "octets",
    [
        b"RSET now\r\n",
        b"QUIT now\r\n",
        b"DATA now\r\n",
        b"VRFY\r\n",
        b"MAIL\r\n",
        b"RCPT\r\n",
    ],
    ids=repr,
)
def test_an_argument_too_many_or_missing_is_501(octets: bytes) -> None:
    memory = enveloped(greeted(session()))
    if octets.startswith(b"MAIL"):
        memory = greeted(session())
    memory.from_client(octets)
    assert lines(memory.client_heard)[0].startswith("501 5.5.4")
    assert not memory.ended


@pytest.mark.parametrize(
    ("reply", "counted"), [("250 ok", 0), ("450 later", 0), ("550 no", 1)]
)
def test_recipients_that_the_upstream_refuses_for_good_count(
    reply: str, counted: int
) -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(reply.encode() + b"\r\n")
    assert memory.dialogue.client.rejected == counted


def test_recipients_that_are_put_off_to_their_own_mail_do_not_count() -> None:
    """The client did nothing wrong: it sends them again by themselves."""
    apart = Decision(Action.TEMPFAIL, "differing", replies.OTHER_RECIPIENTS)
    memory = enveloped(greeted(session(Rules(recipients={"x@d.example": apart}))))
    memory.from_client(b"RCPT TO:<x@d.example>\r\n" * 60)
    assert set(lines(memory.client_heard)) == {str(replies.OTHER_RECIPIENTS)}
    assert memory.dialogue.client.rejected == 0


def test_recipients_behind_a_refused_mail_do_not_count() -> None:
    memory = greeted(session())
    rcpts = b"".join(b"RCPT TO:<r%d@d.example>\r\n" % n for n in range(60))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n" + rcpts)
    memory.from_upstream(b"550 not you\r\n" + b"503 no MAIL\r\n" * 60)
    assert lines(memory.client_heard) == ["550 not you"] + ["503 no MAIL"] * 60
    assert memory.dialogue.client.rejected == 0


def test_a_refused_mail_excuses_only_what_is_behind_it() -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"550 not you\r\n")
    enveloped(memory)
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"250 queued\r\n")
    memory.from_client(b"DATA\r\n")
    assert memory.dialogue.client.errors == 1


def test_a_client_that_goes_in_the_delay_ends_the_session() -> None:
    memory = enveloped(
        greeted(session(Rules(Settings(limits=Limits(rejected_recipients=0))))), 0
    )
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.ended


def test_a_message_that_every_recipient_was_refused_is_on_record() -> None:
    memory = enveloped(greeted(session()), recipients=0)
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"550 5.1.1 no\r\n")
    memory.from_client(b"RSET\r\n")
    (record,) = memory.records
    assert (record.outcome, record.reply) == ("rejected", "550 5.1.1 no")
    assert record.rcpt_to == (
        {
            "asked": "c@d.example",
            "address": "c@d.example",
            "reply": "550 5.1.1 no",
            "rule": "",
            "action": "allow",
        },
    )


def test_a_client_that_only_asks_leaves_nothing_on_record() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RSET\r\n")
    assert memory.records == []


def test_how_a_clear_leg_came_about_is_noted_once() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RSET\r\n")
    memory.from_upstream(b"250 ok\r\n")
    enveloped(memory)
    assert memory.session.upstream_leg.history == ["clear: not offered"]


# -- recipients who differ -------------------------------------------------------------

ANNA_AND_BERT = (
    b"MAIL FROM:<a@out.test>\r\nRCPT TO:<anna@own.test>\r\n"
    b"RCPT TO:<bert@own.test>\r\nDATA\r\n"
)
APART = str(replies.OTHER_RECIPIENTS)
FULL = "452 4.2.2 mailbox full"


def differing() -> MemorySession:
    """Return a session under a rule on content that speaks of Anna alone."""
    anna = names('{match: "*.exe", action: strip, when: {to: "anna@own.test"}}')
    return greeted(MemorySession(make_pipeline(rules(anna)), new_facts()))


def test_who_comes_first_is_known_when_the_upstream_has_answered() -> None:
    """Else Bert would be put off for Anna's sake as long as her mailbox is full."""
    memory = differing()
    memory.from_client(ANNA_AND_BERT)
    assert b"bert" not in memory.upstream_heard
    memory.from_upstream(f"250 ok\r\n{FULL}\r\n".encode())
    assert memory.upstream_heard.endswith(b"RCPT TO:<bert@own.test>\r\n")
    memory.from_upstream(b"250 bert\r\n")
    heard = lines(memory.client_heard)
    assert heard[:3] == ["250 ok", FULL, "250 bert"]
    assert heard[3].startswith("354 ")


def test_a_recipient_is_put_off_once_one_of_another_class_stands() -> None:
    memory = differing()
    memory.from_client(ANNA_AND_BERT)
    memory.from_upstream(b"250 ok\r\n250 anna\r\n")
    heard = lines(memory.client_heard)
    assert heard[:3] == ["250 ok", "250 anna", APART]
    assert heard[3].startswith("354 ")
    assert b"bert" not in memory.upstream_heard


def test_a_recipient_that_waited_in_vain_for_a_refused_mail_is_no_error() -> None:
    memory = differing()
    memory.from_client(ANNA_AND_BERT)
    memory.from_upstream(b"550 not you\r\n503 no MAIL\r\n")
    heard = lines(memory.client_heard)
    assert heard == ["550 not you", "503 no MAIL", *[str(replies.BAD_SEQUENCE)] * 2]
    assert memory.dialogue.client.errors == 0


def test_a_recipient_waits_no_longer_than_the_upstream_is_there() -> None:
    """Then it is the first, of a transaction that the next upstream is told again."""
    memory = differing()
    memory.from_client(ANNA_AND_BERT)
    memory.from_upstream(b"250 ok\r\n")
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    memory.from_upstream(EHLO_REPLY)
    assert memory.upstream_heard.count(b"MAIL FROM:<a@out.test>") == 2
    memory.from_upstream(b"250 ok\r\n")
    assert memory.upstream_heard.endswith(b"RCPT TO:<bert@own.test>\r\n")
    memory.from_upstream(b"250 bert\r\n")
    assert [line[:3] for line in lines(memory.client_heard)] == [
        "250",
        "451",
        "250",
        "354",
    ]


def test_a_client_that_goes_while_a_recipient_waits_ends_the_session() -> None:
    memory = differing()
    memory.from_client(ANNA_AND_BERT)
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.ended
