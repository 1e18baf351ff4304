"""What real senders are told where a mail is refused, by us or by the upstream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.bed.mails import Target, make_mail
from tests.integration.conftest import CLIENTS
from tests.integration.sessions import sessions_of
from tests.integration.ways import ALLOWED, DENIED, FOREIGN, HEAD, policy


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.integration.bed.guard import Guard
    from tests.integration.bed.told import Told
    from tests.integration.conftest import Loopback, Send, StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

ALL_CLIENTS = sorted(CLIENTS)
TRIES_AGAIN = {"exim-kept"}
"""Clients that try a deferred mail once more as long as they are connected."""


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, loopback: Loopback) -> Iterator[Guard]:
    running = start_unowned_guard(loopback.reverse("starttls"), HEAD + policy())
    yield running
    assert running.stop() == 0, running.log


@pytest.fixture
def target(guard: Guard) -> Target:
    return Target("127.0.0.1", guard.port, "starttls", guard.trust)


def reply_to(told: Told, recipient: str) -> str:
    return told.recipients.get(recipient, "")


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_recipient_outside_the_list_does_not_exist(
    name: str, send: Send, target: Target, loopback: Loopback
) -> None:
    mails = [make_mail(DENIED), make_mail(FOREIGN)]
    unknown, foreign = send(name, target, *mails)
    reply = reply_to(unknown, DENIED)
    assert reply == "550 5.1.1 Mailbox unavailable", unknown.transcript
    reply = reply_to(foreign, FOREIGN)
    assert reply == "550 5.7.1 Relaying denied", foreign.transcript
    assert not unknown.accepted
    assert not foreign.accepted
    loopback.server.instance.settle()
    assert [loopback.server.maildir.copies(mail.token) for mail in mails] == [[], []]


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_the_own_domain_from_outside_is_refused(
    name: str, send: Send, target: Target, loopback: Loopback
) -> None:
    forged = make_mail(ALLOWED, reverse_path="boss@own.example")
    honest = make_mail(ALLOWED)
    told = send(name, target, forged, honest)
    reply = "550 5.7.1 Sender address rejected"
    assert told[0].final == reply, told[0].transcript
    assert told[1].accepted, told[1].transcript
    loopback.server.instance.settle()
    assert loopback.server.maildir.copies(forged.token) == []
    assert len(loopback.server.maildir.copies(honest.token)) == 1


@pytest.mark.parametrize(
    ("local_part", "reply", "outcome"),
    [
        ("data554", "554 5.7.0 ", "rejected"),
        ("end552", "552 5.3.4 ", "rejected"),
        ("end451", "451 4.3.0 ", "deferred"),
    ],
    ids=["554 at DATA", "552 after the dot", "451 after the dot"],
)
@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_the_upstreams_refusal_of_a_message_is_the_answer_to_it(
    *,
    name: str,
    local_part: str,
    reply: str,
    outcome: str,
    send: Send,
    guard: Guard,
    target: Target,
    loopback: Loopback,
) -> None:
    refused = make_mail(ALLOWED, reverse_path=f"{local_part}@client.example.test")
    good = make_mail(ALLOWED)
    told = send(name, target, refused, good)
    assert told[0].final.startswith(reply), told[0].transcript
    assert told[1].accepted, told[1].transcript
    loopback.server.instance.settle()
    assert loopback.server.maildir.copies(refused.token) == []
    assert len(loopback.server.maildir.copies(good.token)) == 1
    # A sending MTA may change the order.
    ended: dict[str, list[Mapping[str, Any]]] = {}
    for session in sessions_of(guard, refused, good):
        for record in session.record.transactions:
            ended.setdefault(record["envelope"]["mail_from"], []).append(record)
    (relayed,) = ended.pop(good.reverse_path)
    assert relayed["disposition"] == "relayed"
    first, *again = ended.pop(refused.reverse_path)
    assert ended == {}
    assert len(again) <= (name in TRIES_AGAIN and outcome == "deferred")
    for record in (first, *again):
        assert record["disposition"] == outcome
        assert record["reply"].startswith(reply)
        assert record["in_doubt"] == ""
