"""One transaction's storage and digest."""

from __future__ import annotations

from smtpguard.dialogue import Transaction
from smtpguard.model.content import MemorySpool
from smtpguard.model.decision import Action, Decision
from smtpguard.model.envelope import Envelope
from smtpguard.model.settings import Settings
from smtpguard.wire import parse_mail
from tests.dialogue.peers import FullDisk, Rules


def transaction() -> Transaction:
    path = parse_mail(b"FROM:<a@b.example>")
    return Transaction(
        "s1.1",
        "s1",
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
    assert tx.storage_failed
    assert (tx.size, tx.content.size) == (9, 3)


def test_octets_without_a_place_are_counted_and_dropped() -> None:
    tx = transaction()
    tx.write(b"abc")
    assert (tx.size, tx.begun, tx.storage_failed) == (3, False, False)


def test_storage_stays_while_it_is_judged() -> None:
    tx = transaction()
    tx.content = MemorySpool()
    tx.write(b"abc")
    tx.close(judging=True)
    assert tx.content.size == 3
    tx.close(judging=False)
    assert tx.content.size == 0
