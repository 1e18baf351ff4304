"""Broken commands and mixed transactions: rows F6 to F8 and F12."""

from __future__ import annotations

import pytest

from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.wire import parse_mailbox
from tests.dialogue.peers import (
    Rules,
    connected,
    enveloped,
    forget_heard,
    greeted,
    lines,
    session,
)


CLOSED = {Leg.CLIENT, Leg.UPSTREAM}


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
