"""Every client of the bed, straight to Postfix and through a plain mitmdump.

Proves the bed, not smtpguard: what fails here is no fault of the addon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import Target, make_mail
from tests.integration.conftest import CLIENTS


if TYPE_CHECKING:
    from tests.integration.bed.mails import Tls
    from tests.integration.bed.postfix import Kind
    from tests.integration.conftest import Loopback, Send, StartGuard


pytestmark = pytest.mark.real

STARTTLS_AND_IMPLICIT: list[tuple[Kind, Tls]] = [
    ("starttls", "starttls"),
    ("smtps", "implicit"),
]
ALL_CLIENTS = sorted(CLIENTS)

GIVES_UP_AT_REFUSAL = {"msmtp"}
"""Clients that send nothing once a recipient was refused."""


@pytest.mark.parametrize(("kind", "tls"), STARTTLS_AND_IMPLICIT)
@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_client_delivers_two_mails_straight(
    name: str,
    kind: Kind,
    tls: Tls,
    send: Send,
    loopback: Loopback,
) -> None:
    target = loopback.straight(kind, tls)
    mails = [make_mail("a@own.example", "b@own.example") for _ in range(2)]
    told = send(name, target, *mails)
    assert [each.accepted for each in told] == [True, True], told[-1].transcript
    loopback.server.instance.settle()
    for mail, each in zip(mails, told, strict=True):
        assert {r: each.code(r) for r in mail.forward_paths} == {
            "a@own.example": "250",
            "b@own.example": "250",
        }
        copies = loopback.server.maildir.copies(mail.token)
        assert [copy.recipient for copy in copies] == list(mail.forward_paths)
        assert all(copy.message.endswith(mail.message) for copy in copies)
        assert all("using TLSv1.3" in copy.received for copy in copies)
        assert {copy.reverse_path for copy in copies} == {mail.reverse_path}


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_client_tells_which_recipient_was_refused(
    name: str, send: Send, loopback: Loopback
) -> None:
    target = loopback.straight("starttls", "starttls")
    mail = make_mail("a@own.example", "refused@own.example", "c@own.example")
    (told,) = send(name, target, mail)
    assert told.code("refused@own.example") == "550", told.transcript
    loopback.server.instance.settle()
    copies = loopback.server.maildir.copies(mail.token)
    if name in GIVES_UP_AT_REFUSAL:
        assert not told.accepted
        assert copies == []
    else:
        assert told.accepted
        expected = ["a@own.example", "c@own.example"]
        assert [copy.recipient for copy in copies] == expected


@pytest.mark.parametrize(
    ("reverse_path", "reply"),
    [
        ("data554@client.example.test", "554 5.7.0"),
        ("end552@client.example.test", "552 5.3.4"),
        ("end451@client.example.test", "451 4.3.0"),
    ],
    ids=["at DATA", "refused after the dot", "deferred after the dot"],
)
@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_client_tells_how_its_message_was_refused(
    name: str,
    reverse_path: str,
    reply: str,
    send: Send,
    loopback: Loopback,
) -> None:
    target = loopback.straight("starttls", "starttls")
    mail = make_mail("a@own.example", reverse_path=reverse_path)
    (told,) = send(name, target, mail)
    assert told.final.startswith(reply), told.transcript
    loopback.server.instance.settle()
    assert loopback.server.maildir.copies(mail.token) == []


@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_a_client_passes_a_plain_mitmdump(
    name: str,
    send: Send,
    start_guard: StartGuard,
    loopback: Loopback,
) -> None:
    guard = start_guard(loopback.reverse("starttls"), None)
    # A plain mitmdump hands STARTTLS through unread: the server's own certificate.
    target = Target("127.0.0.1", guard.port, "starttls", loopback.trust)
    mails = [make_mail("a@own.example", "b@own.example") for _ in range(2)]
    told = send(name, target, *mails)
    assert [each.accepted for each in told] == [True, True], told[-1].transcript
    for mail in mails:
        loopback.server.maildir.wait_copies(mail.token, 2)
    upstream = loopback.server.endpoint("starttls")
    assert f"server connect {upstream.host}:{upstream.port}" in guard.log


@pytest.mark.parametrize("name", ["curl", "smtplib", "postfix", "exim-kept"])
def test_a_client_sends_two_mails_on_one_connection(
    name: str,
    send: Send,
    start_guard: StartGuard,
    loopback: Loopback,
) -> None:
    guard = start_guard(loopback.reverse("starttls"), None)
    target = Target("127.0.0.1", guard.port, "starttls", loopback.trust)
    mails = [make_mail("a@own.example") for _ in range(2)]
    told = send(name, target, *mails)
    assert [each.accepted for each in told] == [True, True], told[-1].transcript
    guard.wait_log("client disconnect")
    assert guard.log.count("client connect") == 1


@pytest.mark.parametrize(
    ("name", "word"), [("exim-bdat", "BDAT"), ("exim-data", "DATA")]
)
def test_exim_sends_with_the_command_it_was_told_to_use(
    name: str,
    word: str,
    send: Send,
    start_guard: StartGuard,
    loopback: Loopback,
) -> None:
    guard = start_guard(loopback.reverse("clear"), None)
    target = Target("127.0.0.1", guard.port, "clear", loopback.trust)
    (told,) = send(name, target, make_mail("a@own.example"))
    assert told.accepted, told.transcript
    (flow,) = guard.wait_flows(1)
    sent = b"".join(each.content for each in flow.messages if each.from_client)
    verbs = {line.split(b" ")[0] for line in sent.split(b"\r\n")}
    assert verbs & {b"DATA", b"BDAT"} == {word.encode()}


def test_swaks_with_pipelining_sends_its_envelope_in_one_go(
    send: Send,
    start_guard: StartGuard,
    loopback: Loopback,
) -> None:
    guard = start_guard(loopback.reverse("clear"), None)
    target = Target("127.0.0.1", guard.port, "clear", loopback.trust)
    (told,) = send("swaks-pipelining", target, make_mail("a@own.example"))
    assert told.accepted, told.transcript
    (flow,) = guard.wait_flows(1)
    sent = [each.content for each in flow.messages if each.from_client]
    (group,) = [each for each in sent if b"MAIL FROM" in each]
    assert [line.split(b" ")[0] for line in group.splitlines()] == [
        b"MAIL",
        b"RCPT",
        b"DATA",
    ]
