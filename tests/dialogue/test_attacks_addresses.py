"""Attacks on envelopes, logs and records: rows A1 to A4, P1, P3 and P4.

What a rule makes of an address stands in ``tests/policy``, its grammar in
``tests/wire``.
"""

from __future__ import annotations

import json

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.decision import Action, Decision
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.reply import Reply
from smtpguard.model.session import Leg
from smtpguard.model.settings import Limits, Settings
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import parse_mailbox
from tests.dialogue.peers import (
    Rules,
    enveloped,
    forget_heard,
    greeted,
    lines,
    new_facts,
    session,
)


PATIENT = Settings(limits=Limits(errors=10**6))


def in_transaction(rules: Rules | None = None) -> MemorySession:
    memory = greeted(session(rules or Rules(PATIENT)))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    return forget_heard(memory)


# -- A1, A2: what is no path ----------------------------------------------------------


UNPARSABLE = [
    b'<"foo@psres.net> ORCPT=admin@admin.com"@test.com',
    b'<"a\\"@evil.com"@good.com',
    b"<a@good.com>@evil.com",
    b"<a@good.com>ORCPT=x",
    b"<a@good.com",
    b"a@good.com",
    b"<a b@good.com>",
    b"<a@good.com\x20>",
    b"<u(c)@good.com>",
    b"<u@good.com(c)>",
    b"<u@good..com>",
    b"<.u@good.com>",
    b"<u.@good.com>",
    b"<u@>",
    b"<@good.com>",
    b"<u@[300.0.0.1]>",
    b"<u@good_.com>>",
    b"<<u@good.com>>",
    b"<>",
    b"<" + b"x" * 65 + b"@good.com>",
    b"<u@" + b"x." * 130 + b"com>",
]


@pytest.mark.parametrize("path", UNPARSABLE, ids=range(len(UNPARSABLE)))
def test_A1_what_cannot_be_parsed_is_501_and_asks_no_rule(path: bytes) -> None:
    rules = Rules(PATIENT)
    rules.recipients["*"] = RuntimeError("asked about something unparsable")
    memory = in_transaction(rules)
    memory.from_client(b"RCPT TO:" + path + b"\r\n")
    (heard,) = lines(memory.client_heard)
    assert heard[:3] == "501"
    assert not memory.upstream_heard


def test_A1_a_quoted_local_part_is_one_local_part() -> None:
    """No parameter and no second address hides within the quotes."""
    denied = Decision(Action.DENY, reply=Reply(550, (b"5.7.1 no",)))
    rules = Rules(recipients={'a@evil.com" x@good.com': denied})
    memory = in_transaction(rules)
    memory.from_client(b'RCPT TO:<"foo@psres.net> ORCPT=admin@admin.com"@test.com>\r\n')
    assert lines(memory.upstream_heard) == [
        'RCPT TO:<"foo@psres.net> ORCPT=admin@admin.com"@test.com>'
    ]
    assert memory.dialogue.transaction is not None
    (recipient,) = memory.dialogue.transaction.envelope.recipients
    assert recipient.asked.mailbox is not None
    assert recipient.asked.mailbox.domain == "test.com"
    assert recipient.asked.parameters == ()


@pytest.mark.parametrize(
    ("path", "local_part", "domain", "sent"),
    [
        (b"<@evil.com:u@good.com>", "u", "good.com", b"<u@good.com>"),
        (b"<@a.x,@b.y:u@good.com>", "u", "good.com", b"<u@good.com>"),
        (b"<u%evil.com@good.com>", "u%evil.com", "good.com", b"<u%evil.com@good.com>"),
        (b"<evil.com!u@good.com>", "evil.com!u", "good.com", b"<evil.com!u@good.com>"),
        (b"<u@GOOD.com>", "u", "good.com", b"<u@GOOD.com>"),
        (b"<U+Tag@Good.COM>", "U+Tag", "good.com", b"<U+Tag@Good.COM>"),
        (b"<u@[192.0.2.1]>", "u", "[192.0.2.1]", b"<u@[192.0.2.1]>"),
        (
            b"<=?x?q?u=40evil.com=3e?=@good.com>",
            "=?x?q?u=40evil.com=3e?=",
            "good.com",
            b"<=?x?q?u=40evil.com=3e?=@good.com>",
        ),
    ],
    ids=repr,
)
def test_A2_rules_and_upstream_see_the_same_mailbox(
    path: bytes, local_part: str, domain: str, sent: bytes
) -> None:
    memory = in_transaction()
    memory.from_client(b"RCPT TO:" + path + b"\r\n")
    assert bytes(memory.upstream_heard) == b"RCPT TO:" + sent + b"\r\n"
    assert memory.dialogue.transaction is not None
    (recipient,) = memory.dialogue.transaction.envelope.recipients
    mailbox = recipient.asked.mailbox
    assert mailbox is not None
    assert (mailbox.local_part, mailbox.domain) == (local_part, domain)


# -- A3: the special ones -------------------------------------------------------------


def test_A3_the_null_sender_goes_up_as_it_is() -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<>\r\n")
    assert lines(memory.upstream_heard) == ["MAIL FROM:<>"]


def test_A3_the_null_sender_is_asked_about_as_such() -> None:
    denied = Decision(Action.DENY, reply=Reply(550, (b"5.7.1 no bounces",)))
    memory = greeted(session(Rules(senders={"<>": denied})))
    memory.from_client(b"MAIL FROM:<>\r\n")
    assert lines(memory.client_heard) == ["550 5.7.1 no bounces"]


@pytest.mark.parametrize("word", [b"postmaster", b"Postmaster", b"POSTMASTER"])
def test_A3_postmaster_needs_no_domain(word: bytes) -> None:
    memory = in_transaction()
    memory.from_client(b"RCPT TO:<" + word + b">\r\n")
    assert bytes(memory.upstream_heard) == b"RCPT TO:<" + word + b">\r\n"


# -- A4: envelope and header ----------------------------------------------------------


def test_A4_a_rewritten_envelope_leaves_the_header_alone() -> None:
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("new@d.example"))
    sender = Decision(Action.REWRITE, rewrite_to=parse_mailbox("bounce@b.example"))
    rules = Rules(senders={"*": sender}, recipients={"old@d.example": rewrite})
    memory = greeted(session(rules))
    text = b"From: a@b.example\r\nTo: old@d.example\r\nBcc: x@y.example\r\n\r\n"
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<old@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"DATA\r\n" + text + b".\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert bytes(memory.upstream_heard) == (
        b"MAIL FROM:<bounce@b.example>\r\nRCPT TO:<new@d.example>\r\nDATA\r\n"
        + text
        + b".\r\n"
    )
    memory.from_upstream(b"250 queued\r\n")
    (record,) = memory.records
    assert record.rcpt_to[0]["asked"] == "old@d.example"
    assert record.rcpt_to[0]["address"] == "new@d.example"
    assert record.mail_from == "bounce@b.example"


def test_A4_recipients_that_became_equal_go_up_once_and_share_the_answer() -> None:
    rewrite = Decision(Action.REWRITE, rewrite_to=parse_mailbox("all@d.example"))
    rules = Rules(recipients={"*": rewrite})
    memory = in_transaction(rules)
    memory.from_client(
        b"RCPT TO:<x@d.example>\r\nRCPT TO:<y@d.example>\r\nRCPT TO:<z@d.example>\r\n"
    )
    assert lines(memory.upstream_heard) == ["RCPT TO:<all@d.example>"]
    memory.from_upstream(b"250 2.1.5 once\r\n")
    assert lines(memory.client_heard) == ["250 2.1.5 once"] * 3
    memory.from_client(b"RCPT TO:<w@d.example>\r\n")
    assert lines(memory.client_heard) == ["250 2.1.5 once"]
    assert not memory.upstream_heard


def test_A4_a_transient_refusal_is_not_shared_with_a_second_try() -> None:
    memory = in_transaction()
    for reply in (b"450 4.2.1 busy", b"250 2.1.5 now"):
        memory.from_client(b"RCPT TO:<x@d.example>\r\n")
        assert lines(memory.upstream_heard) == ["RCPT TO:<x@d.example>"]
        memory.from_upstream(reply + b"\r\n")
        assert lines(memory.client_heard) == [reply.decode()]


# -- P1: what reaches logs and records ------------------------------------------------


HOSTILE = [
    b"EHLO \xe2\x80\xaeevil",
    b"EHLO <img/onerror=alert(1)>",
    b"EHLO \xff\xfe",
    b"MAIL FROM:<\x1b[31m@b.example>",
    b"MAIL FROM:<\xe2\x80\xae@b.example> SMTPUTF8",
    b"\x1b]0;owned\x07",
    b"\xc2\x9b31m",
    b"RCPT TO:<\xff>",
    b"BDAT \x1b[2J",
]


@pytest.mark.parametrize("octets", HOSTILE, ids=repr)
def test_P1_log_lines_are_printable_ascii_whatever_a_client_says(octets: bytes) -> None:
    memory = greeted(session(), b"250-mx.example\r\n250 SMTPUTF8\r\n")
    memory.from_client(octets + b"\r\n")
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.log
    for line in memory.log:
        assert line.isascii()
        assert line.isprintable()


@pytest.mark.parametrize(
    "reply",
    [
        b"550 \x1b[31mred\r\n",
        b"550 \xe2\x80\xae\r\n",
        b"\x1b[2J\r\n",
        b"250 \r250 x\r\n",
        b"421 \x07bye\r\n",
    ],
    ids=repr,
)
def test_P1_log_lines_are_printable_ascii_whatever_an_upstream_says(
    reply: bytes,
) -> None:
    memory = greeted(session())
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(reply)
    memory.feed(events.Closed(Leg.CLIENT))
    texts = [*memory.log, *memory.session.upstream_leg.history]
    texts += [json.dumps(record.to_json()) for record in memory.records]
    for text in texts:
        assert text.isascii()
        assert text.isprintable()


def test_P1_a_connection_error_is_made_printable() -> None:
    memory = session()
    memory.start()
    memory.opened("\x1b[31mred \u202e name")
    assert all(line.isascii() and line.isprintable() for line in memory.log)
    assert any("\\x1b[31mred" in line for line in memory.log)


def test_P1_addresses_in_a_record_hold_no_controls() -> None:
    memory = greeted(session(), b"250-mx.example\r\n250 SMTPUTF8\r\n")
    memory.from_client("MAIL FROM:<\u202eb@b.example> SMTPUTF8\r\n".encode())
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client("RCPT TO:<\u202ec@d.example>\r\n".encode())
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    memory.from_upstream(b"250 ok\r\n")
    (record,) = memory.records
    assert record.mail_from == "\\u202eb@b.example"
    assert record.rcpt_to[0]["asked"] == "\\u202ec@d.example"


# -- P3: decision and delivery --------------------------------------------------------


def test_P3_a_client_that_leaves_after_our_550_has_had_nothing_delivered() -> None:
    said = Disposition(Outcome.REJECTED, Reply(550, (b"5.7.1 no",)))
    memory = enveloped(greeted(session(Rules(verdict=lambda *_: said))))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert lines(memory.upstream_heard) == ["RSET", "QUIT"]
    assert [record.outcome for record in memory.records] == [Outcome.REJECTED]


def test_P3_the_upstream_hears_nothing_of_a_message_before_the_verdict() -> None:
    memory = enveloped(greeted(session(judge=None)))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.pass_time(100)
    assert not memory.upstream_heard
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, Disposition(Outcome.RELAYED)))
    assert lines(memory.upstream_heard) == ["DATA"]


def test_P3_a_verdict_for_another_transaction_decides_nothing() -> None:
    memory = enveloped(greeted(session(judge=None)))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.feed(events.Judged("s1.2", Disposition(Outcome.RELAYED)))
    memory.feed(events.Judged("s0.1", Disposition(Outcome.RELAYED)))
    assert not memory.upstream_heard


# -- P4: loops ------------------------------------------------------------------------


def test_P4_our_own_listener_as_upstream_is_554_before_anything_is_dialled() -> None:
    memory = session(facts=new_facts(loop=True))
    memory.start()
    assert lines(memory.client_heard) == ["554 5.4.6 Mail loop detected"]
    assert memory.opens == 0
    assert memory.ended


@pytest.mark.parametrize(("fields", "refused"), [(100, False), (101, True)])
def test_P4_more_than_a_hundred_received_fields_are_a_loop(
    fields: int, refused: bool
) -> None:
    memory = enveloped(greeted(session()))
    head = b"Received: from x\r\n\tby y; date\r\n" * fields
    memory.from_client(b"DATA\r\n" + head + b"\r\nbody\r\n.\r\n")
    heard = lines(memory.client_heard)
    assert heard[1:] == (["554 5.4.6 Mail loop detected"] if refused else [])
    assert bytes(memory.upstream_heard) == (b"RSET\r\n" if refused else b"DATA\r\n")


def test_P4_received_fields_in_the_body_are_no_loop() -> None:
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\n\r\n" + b"Received: x\r\n" * 200 + b".\r\n")
    assert lines(memory.upstream_heard) == ["DATA"]
