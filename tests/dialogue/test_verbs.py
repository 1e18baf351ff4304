"""How commands are taken, counted, recorded; and the farewell."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.dialogue.verbs import HANDLERS
from smtpguard.dialogue.waits import Task, UpstreamLost
from smtpguard.model.session import Leg
from smtpguard.model.settings import ClientTls, Limits, Settings
from smtpguard.wire import COMMANDS
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    session,
)


def test_every_verb_that_the_table_calls_handled_has_a_handler() -> None:
    assert {verb for verb, known in COMMANDS.items() if known.handled} == set(HANDLERS)


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (b"XFOO", 1),
        (b"1", 1),
        (b"MAIL FROM:<", 1),
        (b"MAIL FROM:<a@b.example> SIZE=x", 1),
        (b"RCPT TO:<a@b.example>", 1),
        (b"DATA", 1),
        (b"BDAT 0", 1),
        (b"MAIL FROM:<a@b.example> RET=FULL", 0),
        (b"MAIL FROM:<a@b.example> REQUIRETLS", 0),
        (b"AUTH PLAIN", 0),
        (b"XCLIENT ADDR=1.2.3.4", 0),
        (b"VRFY x", 0),
        (b"NOOP", 0),
    ],
    ids=repr,
)
def test_syntax_and_sequence_errors_count_and_policy_answers_do_not(
    said: bytes, counted: int
) -> None:
    memory = greeted(session())
    memory.from_client(said + b"\r\n")
    assert len(lines(memory.client_heard)) == 1
    assert memory.dialogue.client.errors == counted


SYNTAX = "501 5.5.4 Syntax error in arguments"
SEQUENCE = "503 5.5.1 Bad sequence of commands"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        *((said, SYNTAX) for said in (b"EHLO", b"HELO", b"AUTH", b"VRFY")),
        *((said, SYNTAX) for said in (b"STARTTLS x", b"DATA x", b"RSET x", b"QUIT x")),
        (b"MAIL", SEQUENCE),
        (b"XCLIENT", "550 5.7.1 Insufficient authorization"),
        (b"ETRN", "502 5.5.1 Command not implemented"),
    ],
    ids=repr,
)
def test_an_argument_is_looked_at_before_the_place_where_it_alone_decides(
    said: bytes, answer: str
) -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(said + b"\r\n")
    assert lines(memory.client_heard) == [answer]
    assert not memory.upstream_heard
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    assert lines(memory.upstream_heard) == ["RCPT TO:<c@d.example>"]


def test_rcpt_without_argument_is_out_of_place_first() -> None:
    memory = greeted(session())
    memory.from_client(b"RCPT\r\n")
    assert lines(memory.client_heard) == [SEQUENCE]


def test_bdat_without_argument_cannot_be_told_from_what_follows() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"BDAT\r\n")
    assert lines(memory.client_heard) == [SYNTAX]
    assert memory.ended


def test_auth_without_argument_was_tried_all_the_same() -> None:
    memory = greeted(session())
    memory.from_client(b"AUTH\r\n1secret\r\n")
    assert memory.log[-1] == "client: no command"


def test_the_tenth_error_has_its_reply_and_then_421() -> None:
    memory = greeted(session())
    memory.from_client(b"XFOO\r\n" * 20)
    heard = lines(memory.client_heard)
    assert heard == ["502 5.5.1 Command not implemented"] * 10 + [
        "421 4.7.0 Too many errors"
    ]
    assert "session ends: anomaly: too many errors" in memory.log


@pytest.mark.parametrize(
    ("octets", "is_anomaly"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"\x80\x81\r\n", True),
        (b"NOOP\rNOOP\r\n", True),
        (b"NOOP " + b"x" * 4000 + b"\r\n", True),
        (b"XFOO\r\n" * 10, True),
        (b"XFOO\r\nQUIT\r\n", False),
        (b"BDAT 999999999999 LAST\r\n", False),
        (b"MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRSET\r\nQUIT\r\n", False),
    ],
)
def test_a_client_that_breaks_smtp_is_counted(octets: bytes, is_anomaly: bool) -> None:
    rules = Rules()
    memory = greeted(session(rules))
    memory.from_client(octets)
    counted = [(memory.dialogue.session.client[0], memory.dialogue.session.id)]
    assert rules.anomalies == (counted if is_anomaly else [])


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_of_errors_is_the_policys(limit: int) -> None:
    memory = greeted(session(Rules(Settings(limits=Limits(errors=limit)))))
    memory.from_client(b"XFOO\r\n" * 5)
    assert len(lines(memory.client_heard)) == limit + 1


def test_lines_that_are_no_command_are_on_record_too() -> None:
    memory = connected(session())
    memory.from_client(b"\x801\r\n")
    shown = [e.octets for e in memory.dialogue.transcript.entries if e.direction == "C"]
    assert shown == [b"\\x801\r\n"]


def test_after_auth_they_are_not_quoted() -> None:
    memory = greeted(session())
    memory.from_client(b"AUTH LOGIN\r\n1secret\r\n")
    shown = [e.octets for e in memory.dialogue.transcript.entries if e.direction == "C"]
    assert shown[-2:] == [b"AUTH LOGIN\r\n", b"*\r\n"]
    assert memory.log[-1] == "client: no command"


def test_unless_credentials_are_recorded() -> None:
    memory = greeted(session(record_auth=True))
    memory.from_client(b"AUTH LOGIN\r\n1secret\r\n")
    shown = [e.octets for e in memory.dialogue.transcript.entries if e.direction == "C"]
    assert shown[-1] == b"1secret\r\n"
    assert not any("1secret" in line for line in memory.log)


def test_what_the_client_waits_for_is_answered_before_the_last_word() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<x@d.example>\r\nGET / HTTP/1.1\r\n")
    assert [line[:3] for line in lines(memory.client_heard)] == ["451", "502"]
    assert memory.ended


def test_a_last_word_is_not_said_to_a_client_that_is_gone() -> None:
    memory = connected(session())
    memory.client_heard.clear()
    memory.from_client(b"QUIT\r\n")
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    memory.from_upstream(b"221 bye\r\n")
    assert memory.ended


def test_an_upstream_that_goes_at_the_farewell_needs_no_goodbye() -> None:
    memory = forget_heard(greeted(session()))
    memory.from_client(b"QUIT\r\n")
    memory.feed(events.Closed(Leg.UPSTREAM))
    assert memory.ended
    assert lines(memory.upstream_heard) == ["QUIT"]


def test_an_upstream_lost_where_nobody_expects_it_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(_dialogue: object, _command: object) -> Task[None]:
        yield from ()
        raise UpstreamLost("out of the blue")

    monkeypatch.setitem(HANDLERS, "NOOP", lose)
    memory = greeted(session())
    memory.from_client(b"NOOP\r\n")
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]
    assert "session ends: upstream: out of the blue" in memory.log


def test_a_session_without_an_upstream_ends_at_quit() -> None:
    memory = forget_heard(greeted(session()))
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"QUIT\r\n")
    assert lines(memory.client_heard) == ["221 2.0.0 Bye"]
    assert memory.ended


def test_a_trusted_client_may_introduce_another_before_the_tls_that_is_required() -> (
    None
):
    settings = Settings(client_tls=ClientTls(starttls="required"))
    memory = greeted(session(Rules(settings, protocol="xclient")))
    memory.from_client(b"XCLIENT ADDR=198.51.100.7\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    assert lines(memory.client_heard) == ["220 mx.example"]
    memory.from_client(b"XCLIENT ADDR=198.51.100.8\r\n")
    assert lines(memory.client_heard) == [
        "530 5.7.0 Must issue a STARTTLS command first"
    ]


def test_what_waits_for_the_upstream_when_the_client_errs_is_not_laid_at_its_door() -> (
    None
):
    """The next server did nothing: nothing was lost but the session."""
    memory = greeted(session())
    memory.from_client(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT -5 LAST\r\n"
    )
    assert lines(memory.client_heard) == [
        "451 4.5.0 Session closed before an answer",
        "451 4.5.0 Session closed before an answer",
        "501 5.5.4 Syntax error in arguments",
    ]
    (record,) = memory.records
    assert record.reply == "451 4.5.0 Session closed before an answer"
    assert record.reason == "anomaly: bad BDAT argument -5 LAST"
    assert [line for line in memory.log if "upstream" in line] == []


@pytest.mark.parametrize("answered", [False, True])
def test_a_client_that_goes_is_the_reason_and_not_the_upstream(answered: bool) -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    if answered:
        memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    (record,) = memory.records
    assert record.reply == "451 4.5.0 Session closed before an answer"
    assert record.reason == "client gone"
    assert [line for line in memory.log if "upstream" in line] == []
