"""One transaction's storage and digest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smtpguard.dialogue import Transaction
from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import Action, Decision, TraceStep
from smtpguard.model.envelope import Envelope
from smtpguard.model.reply import Reply
from smtpguard.model.settings import Settings
from smtpguard.wire import parse_mail
from tests.dialogue.peers import FullDisk, Rules, greeted, session


def transaction() -> Transaction:
    path = parse_mail(b"FROM:<a@b.example>")
    return Transaction(
        "s1.1",
        Envelope(path, path),
        Rules(),
        Settings(),
        Decision(Action.ALLOW),
        0,
    )


def test_a_full_disk_is_remembered_and_never_raised() -> None:
    tx = transaction()
    tx.content = FullDisk(5)
    for piece in (b"abc", b"def", b"ghi"):
        tx.write(piece)
    assert tx.storage_failure == "No space left on device"
    assert (tx.size, tx.content.size) == (9, 3)


def test_octets_without_a_place_are_counted_and_dropped() -> None:
    tx = transaction()
    tx.write(b"abc")
    assert (tx.size, tx.begun, tx.storage_failure) == (3, False, "")


def test_storage_stays_while_it_is_judged() -> None:
    tx = transaction()
    tx.content = MemorySpool()
    tx.write(b"abc")
    tx.close(judging=True)
    assert tx.content.size == 3
    tx.close(judging=False)
    assert tx.content.size == 0


REFUSED = Decision(
    Action.DENY,
    "rcpt_to:3",
    Reply.make(550, "5.1.1", "Mailbox unavailable"),
    None,
    '"c@d.example" is "*"',
    (TraceStep("rcpt_to:3", matched=True, reason="fallthrough", place="r.yaml:9"),),
)


def ended(rules: Rules, *recipients: str) -> dict[str, Any]:
    memory = greeted(session(rules))
    memory.from_client(b"MAIL FROM:<a@b.example>\r\n")
    memory.from_upstream(b"250 ok\r\n" * memory.upstream_heard.startswith(b"MAIL"))
    for recipient in recipients:
        before = len(memory.upstream_heard)
        memory.from_client(f"RCPT TO:<{recipient}>\r\n".encode())
        if len(memory.upstream_heard) > before:
            memory.from_upstream(b"550 5.2.1 not here\r\n")
    memory.from_client(b"QUIT\r\n")
    (record,) = memory.records
    return record.to_json()


def test_a_refused_recipient_is_on_record_with_the_rule_that_refused_it() -> None:
    record = ended(Rules(recipients={"c@d.example": REFUSED}), "c@d.example")
    assert (record["rule"], record["action"]) == ("rcpt_to:3", "deny")
    assert record["reason"] == '"c@d.example" is "*"'
    assert [step["place"] for step in record["trace"]] == ["r.yaml:9"]


def test_a_refused_sender_is_on_record_with_the_rule_that_refused_it() -> None:
    no = replace(REFUSED, rule="mail_from:2")
    record = ended(Rules(senders={"a@b.example": no}))
    assert (record["rule"], record["action"]) == ("mail_from:2", "deny")


def test_what_only_the_upstream_refused_has_no_rule() -> None:
    record = ended(Rules(), "c@d.example")
    assert (record["rule"], record["trace"]) == ("", [])
