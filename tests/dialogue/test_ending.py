"""How a transaction ends."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.dialogue.ending import (
    abort_transaction,
    end_transaction,
    passed_on,
    refused_as,
)
from smtpguard.model.disposition import Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Settings
from tests.dialogue.peers import Rules, connected, enveloped, greeted, session


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (Reply(250, (b"2.1.0 a", b"2.1.0 b")), "250 2.1.0 OK"),
        (Reply(354, (b"Postfix here",)), "354 Go on"),
        (Reply(451, (b"4.3.0 x",)), "451 4.3.0 Try again later"),
        (Reply(550, (b"no code",)), "550 Refused"),
    ],
    ids=str,
)
def test_a_hidden_reply_says_its_codes_alone(reply: Reply, shown: str) -> None:
    hidden = session(Rules(Settings(hide_server=True)))
    connected(hidden)
    assert str(passed_on(hidden.dialogue, reply)) == shown
    open_ = session()
    connected(open_)
    assert passed_on(open_.dialogue, reply) is reply


def test_a_refusal_means_rejected_or_deferred() -> None:
    assert refused_as(Reply(550, (b"",))) is Outcome.REJECTED
    assert refused_as(Reply(450, (b"",))) is Outcome.DEFERRED


def test_ending_and_aborting_nothing_does_nothing() -> None:
    memory = greeted(session())
    end_transaction(memory.dialogue, Outcome.DEFERRED, None)
    abort_transaction(memory.dialogue, "RSET")
    memory.pass_time(0)
    assert memory.records == []
    assert not memory.upstream_heard


def test_a_message_whose_end_never_came_says_so() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\nbegun")
    memory.feed(events.Closed(Leg.CLIENT))
    (record,) = memory.records
    assert record.outcome is Outcome.DEFERRED
    assert record.reason == (
        "no end of data: client closed before the end of the message"
    )
    assert (record.size, record.reply) == (5, "")


def test_a_message_that_timed_out_shows_what_the_client_was_told() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\nbegun")
    memory.pass_time(181)
    (record,) = memory.records
    assert record.reply == "421 4.4.2 Timeout, closing connection"


def test_a_message_whose_client_is_gone_while_it_is_judged_was_whole() -> None:
    memory = enveloped(greeted(session(judge=None)))
    memory.from_client(b"DATA\r\nwhole\r\n.\r\n")
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    (record,) = memory.records
    assert (record.outcome, record.reason) == (Outcome.DEFERRED, "client gone")
