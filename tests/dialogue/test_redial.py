"""Dialling an upstream again, where the scripts of the row do not show it."""

from __future__ import annotations

import pytest

from smtpguard.dialogue import events
from smtpguard.model.decision import Action, Decision
from smtpguard.model.session import Leg
from smtpguard.model.settings import ServerTls, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import parse_mailbox
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
    tls_rules,
)


def lost(memory: MemorySession) -> MemorySession:
    """Lose the upstream of a transaction, and have the client send its message."""
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    return forget_heard(memory)


def dialled(
    memory: MemorySession, ehlo: bytes = b"250 mx.example\r\n"
) -> MemorySession:
    memory.opened()
    memory.from_upstream(b"220 mx.example\r\n")
    memory.from_upstream(ehlo)
    return memory


def test_parameters_are_repeated_and_equal_recipients_go_up_once() -> None:
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("all@d.example"))
    rules = Rules(recipients={"x@d.example": rewrite, "y@d.example": rewrite})
    memory = greeted(session(rules), b"250-mx.example\r\n250 DSN\r\n")
    memory.from_client(b"MAIL FROM:<a@b.example> RET=HDRS\r\n")
    memory.from_upstream(b"250 ok\r\n")
    for name in (b"x", b"y", b"z"):
        memory.from_client(b"RCPT TO:<%b@d.example> NOTIFY=NEVER\r\n" % name)
        if name != b"y":
            memory.from_upstream(b"250 ok\r\n")
    dialled(lost(memory), b"250-mx.example\r\n250 DSN\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.upstream_heard) == [
        "EHLO c.example",
        "MAIL FROM:<a@b.example> RET=HDRS",
        "RCPT TO:<all@d.example> NOTIFY=NEVER ORCPT=rfc822;x@d.example",
        "RCPT TO:<z@d.example> NOTIFY=NEVER",
        "DATA",
    ]


def test_requiretls_is_kept_on_the_new_connection_or_the_mail_is_451() -> None:
    """RFC 8689: the sender would rather not have it sent than have it read."""
    offering = b"250-mx.example\r\n250 REQUIRETLS\r\n"
    facts = new_facts(reverse_name="mx.example")
    memory = connected(session(tls_rules("preferred"), facts=facts))
    memory.from_client(b"STARTTLS\r\n")
    memory.from_upstream(b"250-mx.example\r\n250 STARTTLS\r\n")
    memory.from_upstream(b"220 go\r\n")
    memory.upstream_tls(verified="ok")
    memory.client_tls("mx.example")
    memory.from_client(b"EHLO c.example\r\n")
    memory.from_upstream(offering)
    memory.from_client(b"MAIL FROM:<a@b.example> REQUIRETLS\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    dialled(lost(memory))
    assert lines(memory.client_heard) == ["451 4.4.1 Next server changed its answer"]
    assert lines(memory.upstream_heard) == ["EHLO c.example", "QUIT"]
    assert memory.session.upstream_leg.history[-1] == "downgrade: not offered any more"
    assert any("not offered any more" in line for line in memory.log)


@pytest.mark.parametrize("reply", [b"251 forwarding", b"450 later", b"550 no"])
def test_any_other_answer_to_a_recipient_is_451_4_4_1(reply: bytes) -> None:
    memory = dialled(lost(enveloped(greeted(session()))))
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(reply + b"\r\n")
    assert lines(memory.client_heard) == ["451 4.4.1 Next server changed its answer"]
    assert b"DATA" not in memory.upstream_heard
    assert memory.upstream_heard.endswith(b"QUIT\r\n")


def test_an_upstream_that_has_no_tls_any_more_is_451() -> None:
    rules = Rules(Settings(server_tls=ServerTls(starttls="required")))
    memory = greeted(session(rules), b"250-mx.example\r\n250 STARTTLS\r\n")
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"220 go\r\n")
    memory.upstream_tls()
    memory.from_upstream(b"250 mx.example\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    dialled(lost(memory))
    assert lines(memory.client_heard) == ["451 4.7.0 Next server has no TLS"]
    assert b"MAIL" not in memory.upstream_heard


def test_an_upstream_that_has_no_tls_at_rcpt_does_not_get_the_message_later() -> None:
    memory = secured(session(tls_rules("required")))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"RCPT TO:<e@d.example>\r\n")
    forget_heard(dialled(memory))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    heard = lines(memory.client_heard)
    assert heard[1:] == ["451 4.4.2 Connection to next server lost"]
    assert not memory.upstream_heard


def test_it_is_dialled_again_once_a_transaction() -> None:
    memory = dialled(lost(enveloped(greeted(session()))))
    memory.feed(events.Closed(Leg.UPSTREAM))
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]
    assert memory.opens == 2
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    assert memory.opens == 3


def test_after_a_change_at_rcpt_the_message_is_not_sent_to_the_others() -> None:
    memory = enveloped(greeted(session()), recipients=2)
    memory.feed(events.Closed(Leg.UPSTREAM))
    memory.from_client(b"RCPT TO:<new@d.example>\r\n")
    dialled(memory)
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(b"550 no longer\r\n")
    assert lines(memory.client_heard) == ["451 4.4.1 Next server changed its answer"]
    memory.upstream_heard.clear()
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    heard = lines(memory.client_heard)
    assert heard[1:] == ["451 4.4.2 Connection to next server lost"]
    assert not memory.upstream_heard


def test_nothing_of_it_lasts_longer_than_the_client_waits() -> None:
    memory = lost(enveloped(greeted(session())))
    memory.opened()
    memory.pass_time(100)
    memory.from_upstream(b"220 mx.example\r\n")
    memory.pass_time(290)
    memory.from_upstream(b"250 mx.example\r\n")
    memory.pass_time(181)
    assert lines(memory.client_heard) == ["451 4.4.2 Next server does not answer"]
    assert memory.records[0].in_doubt == ""
