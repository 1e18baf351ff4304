"""A program among the attachments of a real sender's mail: stripped, the rest as it is.

Through DATA and BDAT, to a real Postfix; octet by octet.
"""

from __future__ import annotations

import email
from email import policy as email_policy
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import Mail, Target, make_mail
from tests.integration.conftest import CLIENTS
from tests.integration.sessions import sessions_of
from tests.integration.ways import ALLOWED, HEAD, NEW, OLD, policy


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import Loopback, Send, StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

FIELDS = (
    b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n\tboundary="=_outer"\r\n'
)
BEFORE = (
    b"This is the preamble.\r\n"
    b"--=_outer\r\n"
    b"Content-Type: text/plain; charset=us-ascii\r\n"
    b"\r\n"
    b"Hello,\r\n"
    b".\r\n"
    b"..dots, and a line with trailing blanks   \r\n"
    b"\r\n"
    b"--=_outer\r\n"
    b'Content-Type: application/pdf; name="offer.pdf"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="offer.pdf"\r\n'
    b"\r\n"
    b"JVBERi0xLjQKJ\r\n"
    b"cfs\r\n"
    b"--=_outer\r\n"
)
PROGRAM = (
    b"Content-Type: application/octet-stream;\r\n"
    b'\tname="setup.exe"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="setup.exe"\r\n'
    b"\r\n"
    b"TVqQAAMAAAAEAAAA//8AALgAAAA=\r\n"
)
AFTER = (
    b"\r\n--=_outer\r\n"
    b'Content-Type: message/rfc822; name="setup.exe.eml"\r\n'
    b"\r\n"
    b"Subject: forwarded\r\n"
    b"\r\n"
    b".body\r\n"
    b"--=_outer--\r\n"
    b"This is the epilogue.\r\n"
)


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, loopback: Loopback) -> Iterator[Guard]:
    running = start_unowned_guard(loopback.reverse("starttls"), HEAD + policy())
    yield running
    assert running.stop() == 0, running.log


def with_program() -> Mail:
    body = BEFORE + PROGRAM + AFTER
    return make_mail(ALLOWED, OLD, fields=FIELDS, body=body)


def notice_in(message: bytes, mail: Mail) -> bytes:
    """Return what stands where the program was; everything else must be as sent."""
    head, _, tail = mail.message.partition(PROGRAM)
    assert tail == AFTER
    assert message.count(head) == 1
    assert message.endswith(tail)
    return message[message.index(head) + len(head) : -len(tail)]


@pytest.mark.parametrize("name", sorted(CLIENTS))
def test_a_program_is_replaced_by_a_notice_and_nothing_else_changes(
    name: str, send: Send, guard: Guard, loopback: Loopback
) -> None:
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    mail, plain = with_program(), make_mail(ALLOWED)
    told = send(name, target, mail, plain)
    assert [each.accepted for each in told] == [True, True], told[0].transcript
    loopback.server.instance.settle()
    copies = loopback.server.maildir.copies(mail.token)
    assert [copy.recipient for copy in copies] == [ALLOWED, NEW]
    for copy in copies:
        assert b"TVqQAAMA" not in copy.message
        notice = email.message_from_bytes(
            notice_in(copy.message, mail), policy=email_policy.default
        )
        assert notice.get_content_type() == "text/plain"
        text = notice.get_content()
        assert "A part of this message was removed" in text
        assert "setup.exe" in text
        assert "application/octet-stream" in text
    (unchanged,) = loopback.server.maildir.copies(plain.token)
    assert unchanged.message.endswith(plain.message)
    check_record(guard, mail, plain)


def check_record(guard: Guard, mail: Mail, plain: Mail) -> None:
    sessions = sessions_of(guard, mail, plain)
    records = [each for session in sessions for each in session.record.transactions]
    # A sending MTA may change the order.
    relayed, modified = sorted(records, key=lambda r: len(r["envelope"]["rcpt_to"]))
    assert (relayed["disposition"], modified["disposition"]) == ("relayed", "modified")
    stripped = [part for part in modified["parts"] if part["action"] == "strip"]
    assert [(each["path"], each["names"]) for each in stripped] == [
        ("1.3", ["setup.exe"])
    ]
    assert stripped[0]["rule"] == modified["rule"] == "filenames:1"
    for record in (relayed, modified):
        (line,) = [
            each
            for each in guard.log.splitlines()
            if f" tx={record['transaction']} " in each
        ]
        assert f" disposition={record['disposition']} " in line
