"""The small verbs."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Refusal, Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    session,
)


ETRN = b"250-mx.example\r\n250 ETRN\r\n"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"NOOP anything at all", "250 2.0.0 OK"),
        (b"HELP MAIL", "214 2.0.0 See RFC 5321"),
        (b"VRFY a b c", "252 2.5.2 Cannot VRFY, but will take the message"),
        (b"vrfy <root>", "252 2.5.2 Cannot VRFY, but will take the message"),
    ],
    ids=repr,
)
def test_small_verbs_are_answered_here(said: bytes, answer: str) -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(said + b"\r\n")
    assert lines(memory.client_heard) == [answer]
    assert not memory.upstream_heard


def test_quit_waits_for_the_replies_before_it() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"RCPT TO:<c@d.example>\r\nQUIT\r\n")
    assert not memory.client_heard
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.client_heard) == ["250 ok", "221 2.0.0 Bye"]


def test_an_upstream_that_does_not_answer_quit_is_not_waited_for_long() -> None:
    memory = greeted(session())
    memory.from_client(b"QUIT\r\n")
    assert lines(memory.client_heard) == ["221 2.0.0 Bye"]
    memory.pass_time(6)
    assert memory.ended
    assert lines(memory.upstream_heard) == ["QUIT"]


# -- ETRN -----------------------------------------------------------------------------


def trusted(settings: Settings, reply: bytes = ETRN) -> MemorySession:
    """Return a session of a trusted client that has said who it speaks for."""
    memory = session(Rules(settings, protocol="proxy"))
    memory.start()
    memory.from_client(b"PROXY UNKNOWN\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(reply)
    return forget_heard(memory)


ALLOWED = Settings(etrn=True)


@pytest.mark.parametrize("code", [250, 251, 252, 253, 458, 459, 500])
def test_etrn_is_passed_on_with_its_answer(code: int) -> None:
    memory = trusted(ALLOWED)
    memory.from_client(b"ETRN d.example\r\n")
    assert lines(memory.upstream_heard) == ["ETRN d.example"]
    memory.from_upstream(b"%d said\r\n" % code)
    assert lines(memory.client_heard) == [f"{code} said"]


def test_etrn_is_502_where_the_upstream_does_not_offer_it() -> None:
    memory = trusted(ALLOWED, b"250 mx.example\r\n")
    memory.from_client(b"ETRN d.example\r\n")
    assert lines(memory.client_heard) == ["502 5.5.1 Command not implemented"]
    assert not memory.upstream_heard


def test_etrn_is_502_where_the_policy_does_not_allow_it() -> None:
    memory = trusted(Settings())
    memory.from_client(b"ETRN d.example\r\n")
    assert lines(memory.client_heard) == ["502 5.5.1 Command not implemented"]


def test_etrn_is_503_within_a_transaction() -> None:
    memory = trusted(ALLOWED)
    enveloped(memory)
    memory.from_client(b"ETRN d.example\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]


def test_etrn_waits_for_the_identity() -> None:
    memory = session(Rules(ALLOWED, protocol="xclient"))
    greeted(memory, ETRN)
    memory.from_client(b"ETRN d.example\r\n")
    assert lines(memory.client_heard) == ["550 5.7.0 XCLIENT required first"]


def test_etrn_on_a_lost_upstream_is_451() -> None:
    memory = trusted(ALLOWED)
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"ETRN d.example\r\n")
    memory.opened("Connection refused")
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]


# -- XCLIENT --------------------------------------------------------------------------


def identified(rules: Rules, command: bytes) -> MemorySession:
    rules.protocol = "xclient"
    memory = forget_heard(connected(session(rules)))
    memory.from_client(command + b"\r\n")
    return memory


def test_xclient_begins_anew_for_another_client() -> None:
    rules = Rules(by_client={"2001:db8::7": Settings(policy="other", banner="other")})
    memory = identified(rules, b"XCLIENT ADDR=IPV6:2001:db8::7 PORT=1234 HELO=x")
    assert memory.session.client == ("2001:db8::7", 1234)
    assert memory.session.policy == "other"
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    assert lines(memory.client_heard) == ["220 other"]


def test_xclient_without_a_port_is_port_0() -> None:
    memory = identified(Rules(), b"XCLIENT ADDR=192.0.2.77")
    assert memory.session.client == ("192.0.2.77", 0)


def test_a_client_that_the_rules_refuse_is_told_so() -> None:
    rules = Rules()

    def connect(facts: object) -> Settings | Refusal:
        if facts.client[0] == "192.0.2.77":  # type: ignore[attr-defined]
            return Refusal(Reply(554, (b"5.7.1 blocked",)), "blocked")
        return Settings()

    rules.connect = connect  # type: ignore[assignment,method-assign]
    memory = identified(rules, b"XCLIENT ADDR=192.0.2.77")
    assert lines(memory.client_heard) == ["554 5.7.1 blocked"]
    assert memory.ended


def test_xclient_whose_upstream_is_unreachable_is_421() -> None:
    memory = identified(Rules(), b"XCLIENT ADDR=192.0.2.77")
    memory.opened("Connection refused")
    assert lines(memory.client_heard) == ["421 4.3.2 Service not available"]


@pytest.mark.parametrize(
    "argument",
    [b"", b"ADDR", b"ADDR=", b"ADDR=x", b"ADDR=1.2.3.4 ADDR=1.2.3.5", b"FOO=bar"],
    ids=repr,
)
def test_xclient_that_cannot_be_read_is_501_and_changes_nothing(
    argument: bytes,
) -> None:
    memory = identified(Rules(), b"XCLIENT " + argument)
    assert lines(memory.client_heard) == ["501 5.5.4 Syntax error in arguments"]
    assert memory.session.client == ("192.0.2.1", 50000)


def test_a_mail_refused_before_xclient_excuses_no_recipient_behind_it() -> None:
    memory = session(Rules(protocol="xclient"))
    greeted(memory)
    memory.from_client(b"MAIL FROM:<a@b.example>\r\nXCLIENT ADDR=192.0.2.77\r\n")
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    memory.client_heard.clear()
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]
    assert memory.dialogue.client.errors == 1
