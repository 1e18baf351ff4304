"""Copies, notices and alarms, against a server on the loopback."""

from __future__ import annotations

import email
import email.policy
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from smtpguard import alarms, ownmail
from smtpguard.dialogue import TransactionRecord
from smtpguard.errors import QuarantineError
from smtpguard.model.disposition import Outcome
from smtpguard.model.mailbox import Path as MailPath
from smtpguard.ownmail import MAX_NOTICES, Notice, OwnMail
from smtpguard.quarantine.parts import accept_part, keep_part
from smtpguard.quarantine.record import HeldPart, HeldRecipient, Kind, State
from smtpguard.quarantine.store import Store
from tests.integration.bed.process import wait_until
from tests.quarantine.making import DIGEST, MESSAGE, NOW, boxes, record, to
from tests.quarantine.servers import Server


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


ANNA, BERT, GUARD = boxes("anna@y.test", "bert@y.test", "guard@y.test")
RECORD = TransactionRecord(
    "03fda.2",
    "03fda",
    "inbound",
    Outcome.REJECTED,
    "550 5.7.1 No",
    "a@x.test",
    ({"address": "b@y.test"},),
    10,
    DIGEST,
    "filenames:3",
    "deny",
    "name\r\nX-Evil: 1",
    report={"side": {"notify": ["anna@y.test"]}, "quarantine": ["01ID"]},
    client="192.0.2.1",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "q")
    yield found
    found.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def own_mail(port: int, **more: Any) -> OwnMail:
    return OwnMail(to(port, sender=GUARD), lambda: NOW, **more)


def copy(store: Store, *addresses: str, message: bytes = MESSAGE) -> str:
    """Keep a copy whose message the upstream has taken; return its id."""
    whom = tuple(
        HeldRecipient(MailPath(one), MailPath(one))
        for one in boxes(*(addresses or ("anna@y.test",)))
    )
    part = HeldPart("", (), "message/rfc822", DIGEST)
    made = replace(record(), part=part, recipients=whom, reverse_path=MailPath(None))
    item = keep_part(store, made, [message]).id
    assert accept_part(store, item).kind is Kind.COPY
    return item


def texts(server: Server) -> list[tuple[str, str, str]]:
    """Return recipient, subject and text of each mail that came."""
    parsed = [
        email.message_from_bytes(one, policy=email.policy.default)
        for one in server.messages
    ]
    return [(one["To"], one["Subject"], one.get_content()) for one in parsed]


# -- copies ----------------------------------------------------------------------------


def test_a_copy_is_sent_from_nobody_and_leaves_the_quarantine(
    store: Store, server: Server
) -> None:
    item = copy(store, "anna@y.test", "bert@y.test")
    sender = own_mail(server.port)
    sender.send_copy(store, item)
    wait_until(lambda: store.ids() == [], "the copy is sent")
    sender.stop()
    assert server.messages == [MESSAGE]
    assert b"MAIL FROM:<> SIZE=%d" % len(MESSAGE) in server.commands
    assert [one for one in server.commands if one.startswith(b"RCPT")] == [
        b"RCPT TO:<anna@y.test>",
        b"RCPT TO:<bert@y.test>",
    ]


@pytest.mark.parametrize("answer", [b"452 4.2.2 full\r\n", b"550 5.1.1 no\r\n"])
def test_a_copy_that_is_refused_stays_and_somebody_hears_of_it(
    store: Store, answer: bytes
) -> None:
    item = copy(store, "anna@y.test", "bert@y.test")
    with Server(answers={b"RCPT TO:<bert": answer}) as server:
        sender = own_mail(server.port)
        sender.send_copy(store, item)
        sender.stop()
    kept = store.read(item)
    assert [one.state for one in kept.recipients] == [State.RELEASED, State.HELD]
    assert kept.state is State.HELD
    assert alarms.counts() == {"copies": 1}


def test_a_server_that_is_gone_loses_no_copy(store: Store) -> None:
    with Server() as server:
        port = server.port
    items = [copy(store) for _ in range(3)]
    sender = own_mail(port)
    for item in items:
        sender.send_copy(store, item)
    sender.stop()
    assert sorted(store.ids()) == sorted(items)
    assert {store.read(item).state for item in items} == {State.HELD}
    assert alarms.counts() == {"copies": 3}


def test_a_copy_whose_message_is_under_way_is_not_sent(
    store: Store, server: Server
) -> None:
    part = HeldPart("", (), "message/rfc822", DIGEST)
    item = keep_part(store, replace(record(), part=part), [MESSAGE]).id
    sender = own_mail(server.port)
    sender.send_copy(store, item)
    sender.stop()
    assert server.messages == []
    assert store.read(item).state is State.PENDING


def test_a_copy_that_another_process_sends_is_no_alarm(
    store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a start every worker looks for copies that were not sent."""

    def release(*_: object) -> None:
        raise QuarantineError("somebody else is at it, or it is gone")

    gone, held = copy(store), copy(store)
    store.delete(gone)
    monkeypatch.setattr(ownmail, "release", release)
    sender = own_mail(server.port)
    with store.locked(held):
        sender.send_copy(store, gone)
        sender.send_copy(store, held)
        sender.stop()
    assert alarms.counts() == {}
    assert server.messages == []


def test_no_address_stands_in_the_log(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """smtpguard_log_addresses holds here too, and replies quote addresses."""
    answers = {b"RCPT": b"550 5.1.1 <anna@y.test>: no such user\r\n"}
    with Server(answers=answers) as server:
        sender = own_mail(server.port)
        sender.send_copy(store, copy(store))
        sender.notify(RECORD)
        sender.stop()
    assert "answered 550" in caplog.text
    assert "notices that were not sent: 1: answered 550" in caplog.text
    assert "@" not in caplog.text


def test_where_no_thread_can_be_started_the_next_one_does_all(
    store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sender = own_mail(server.port)
    items = [copy(store), copy(store)]
    with monkeypatch.context() as without:
        without.setattr(threading.Thread, "start", fail)
        sender.send_copy(store, items[0])
        sender.notify(RECORD)
    sender.send_copy(store, items[1])
    sender.notify(RECORD)
    sender.stop()
    assert store.ids() == []
    [notice] = [one for one in server.messages if one != MESSAGE]
    assert b"Subject: smtpguard: 2 rejected\r\n" in notice
    assert len(server.messages) == 3


def test_many_copies_wait_for_few_senders(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most, lock = [0], [0], threading.Lock()

    def release(_: Store, item: str, *__: object) -> dict[object, object]:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        gate.wait(10)
        with lock:
            at_work[0] -= 1
        store.delete(item)
        return {}

    gate = threading.Event()
    monkeypatch.setattr(ownmail, "release", release)
    monkeypatch.setattr(ownmail, "MAX_WAITING", 20)
    sender = own_mail(1)
    items = [copy(store) for _ in range(30)]
    for item in items:
        sender.send_copy(store, item)
    wait_until(lambda: at_work[0] == ownmail.SENDERS, "all senders are at work")
    gate.set()
    sender.stop()
    assert most[0] == ownmail.SENDERS
    # What had no room among those that wait is there still.
    left = len(store.ids())
    assert 6 <= left <= 10
    assert alarms.counts() == {"copies": left}


def test_at_the_end_what_waits_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def release(_: Store, item: str, *__: object) -> dict[object, object]:
        gate.wait(10)
        store.delete(item)
        return {}

    gate = threading.Event()
    monkeypatch.setattr(ownmail, "release", release)
    monkeypatch.setattr(ownmail, "STOP_SECONDS", 0.1)
    sender = own_mail(1)
    items = [copy(store) for _ in range(ownmail.SENDERS + 2)]
    for item in items:
        sender.send_copy(store, item)
    sender.stop()
    left = ownmail.SENDERS + 2
    assert f"copies that are not sent, or in doubt: {left}" in caplog.text
    gate.set()
    wait_until(lambda: len(store.ids()) == 2, "what was under way has ended")


# -- notices ---------------------------------------------------------------------------


def test_a_notice_tells_what_became_of_a_message(server: Server) -> None:
    sender = own_mail(server.port)
    sender.notify(RECORD)
    sender.stop()
    [(whom, subject, text)] = texts(server)
    assert whom == "anna@y.test"
    assert subject == "smtpguard: 1 rejected"
    assert "03fda.2  rejected" in text
    for line in (
        "Client: 192.0.2.1",
        "From: <a@x.test>",
        "To: b@y.test",
        "Rule: inbound, filenames:3: deny",
        "Reason: name  X-Evil: 1",
        "Reply: 550 5.7.1 No",
        "Kept: 01ID",
    ):
        assert f"    {line}\n" in text.replace("\r\n", "\n")
    assert b"MAIL FROM:<>" in b"\n".join(server.commands)


def test_who_is_not_to_be_told_is_not(server: Server) -> None:
    sender = own_mail(server.port)
    reports: list[dict[str, Any]] = [{}, {"side": {}}, {"side": 1}]
    for report in (*reports, {"side": {"notify": [1, "a@b@c"]}}):
        sender.notify(replace(RECORD, report=report))
    sender.stop()
    assert server.messages == []


def test_a_flood_of_notices_is_gathered(server: Server) -> None:
    sender = own_mail(server.port, every=1000.0)
    sender.tell([ANNA], Notice("rejected", ("first",)))
    wait_until(lambda: len(server.messages) == 1, "the first is told at once")
    for number in range(MAX_NOTICES + 5):
        sender.tell([ANNA], Notice("deferred", (f"number {number}.",)))
    sender.tell([BERT], Notice("rejected", ("of Bert",)))
    wait_until(lambda: len(server.messages) == 2, "another one is told at once")
    sender.stop()
    first, other, rest = texts(server)
    assert (first[0], other[0], rest[0]) == (
        "anna@y.test",
        "bert@y.test",
        "anna@y.test",
    )
    assert rest[1] == f"smtpguard: {MAX_NOTICES} deferred, 5 more"
    assert f"number {MAX_NOTICES - 1}." in rest[2]
    assert f"number {MAX_NOTICES}." not in rest[2]
    assert "... and 5 more" in rest[2]


def test_the_next_mail_comes_when_it_is_due(server: Server) -> None:
    sender = own_mail(server.port, every=0.2)
    for word in ("one", "two"):
        sender.tell([ANNA], Notice(word, (word,)))
        wait_until(lambda: not sender._boxes[ANNA].notices, "it is told")
    sender.stop()
    assert [subject for _, subject, _ in texts(server)] == [
        "smtpguard: 1 one",
        "smtpguard: 1 two",
    ]


def test_a_notice_that_cannot_be_sent_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Server() as server:
        port = server.port
    sender = own_mail(port)
    sender.notify(RECORD)
    sender.stop()
    assert "notices that were not sent: 1: " in caplog.text


def test_an_alarm_is_told_at_once(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    sender = own_mail(server.port, alarmed=(ANNA,))
    alarms.listen(sender.alarm)
    alarms.raise_alarm("scanners", "clamav: unavailable (refused)")
    wait_until(lambda: len(server.messages) == 1, "the alarm is told")
    sender.stop()
    [(_, subject, text)] = texts(server)
    assert subject == "smtpguard: 1 alarm"
    assert text.startswith("scanners: clamav: unavailable (refused) (1 so far)")


def test_where_nobody_is_to_be_told_no_thread_waits(server: Server) -> None:
    sender = own_mail(server.port)
    sender.alarm("scanners: gone")
    assert not sender._is_telling


def test_who_is_replaced_tells_the_rest_and_serves_on(server: Server) -> None:
    sender = own_mail(server.port, every=1000.0)
    for number in range(3):
        sender.tell([ANNA], Notice("alarm", (str(number),)))
    sender.retire()
    wait_until(lambda: not sender._is_telling, "all is told")
    sender.tell([ANNA], Notice("alarm", ("late",)))
    wait_until(lambda: not sender._is_telling, "the late one is told")
    told = "".join(text for *_, text in texts(server))
    assert [word for word in ("0", "1", "2", "late") if word in told] == [
        *("0", "1", "2", "late")
    ]
