"""Every kind of edit through a running gateway to a real Postfix, octet by octet.

What arrives is computed from what was sent and what the rules say; what the session's
flow and the log tell of it must be the same.
"""

from __future__ import annotations

import base64
import email
import hashlib
import subprocess
import sys
from email import policy as email_policy
from typing import TYPE_CHECKING

import pytest

from smtpguard.locking import unlock
from tests.commands import run
from tests.integration.bed.mails import Target, make_mail
from tests.integration.sessions import sessions_of
from tests.integration.test_real_peers_parts import FIELDS, notice_in, with_program
from tests.integration.ways import ALLOWED, HEAD, NEW, OLD


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.bed.guard import Guard, Program
    from tests.integration.bed.maildir import Copy
    from tests.integration.bed.mails import Mail
    from tests.integration.conftest import Loopback, Send, StartGuard
    from tests.integration.sessions import Session


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

RULES = f"""{HEAD}
  - name: only
    tls:
      client: {{starttls: required}}
      server: {{starttls: required, verify: webpki}}
    rcpt_to:
      - {{match: "@known", action: allow}}
      - {{match: "{OLD}", action: rewrite, to: "{NEW}", headers: true}}
      - {{match: "*", action: deny}}
    headers:
      - {{match: "X-Internal-*", action: strip}}
      - {{match: "*", action: allow}}
    filenames:
      - {{match: "*.docm", action: lock}}
      - {{match: "*.exe", action: strip}}
      - {{match: "*", action: allow}}
    own_fields: add
    deny_message: {{languages: [de]}}
"""
PROGRAMS: dict[str, tuple[Program, tuple[str, ...]]] = {
    "mitmdump": ("mitmdump", ()),
    "run --workers 2": ("run", ("--workers", "2")),
}


@pytest.fixture(scope="module", params=PROGRAMS)
def guard(
    request: pytest.FixtureRequest, start_unowned_guard: StartGuard, loopback: Loopback
) -> Iterator[Guard]:
    program, options = PROGRAMS[request.param]
    mode = loopback.reverse("starttls")
    running = start_unowned_guard(mode, RULES, *options, program=program)
    yield running
    assert running.stop() == 0, running.log
    assert " error" not in running.log.lower()


@pytest.fixture
def deliver(send: Send, guard: Guard, loopback: Loopback) -> Deliver:
    return Deliver(send, guard, loopback)


class Deliver:
    """Sends a mail with a client that adds nothing to it."""

    def __init__(self, send: Send, guard: Guard, loopback: Loopback) -> None:
        self._send, self._guard, self._loopback = send, guard, loopback

    def __call__(self, mail: Mail) -> tuple[Copy, Session]:
        target = Target("127.0.0.1", self._guard.port, "starttls", self._guard.trust)
        (told,) = self._send("smtplib", target, mail)
        assert told.accepted, told.transcript
        self._loopback.server.instance.settle()
        (copy,) = self._loopback.server.maildir.copies(mail.token)
        (session,) = sessions_of(self._guard, mail)
        return copy, session

    def told(self, session: Session, outcome: str, rule: str, action: str) -> str:
        """Check what flow, record and log say; return the transaction's id."""
        (record,) = session.record.transactions
        said = (record["disposition"], record["rule"], record["action"])
        assert said == (outcome, rule, action)
        assert session.flow.comment.startswith(f"{outcome} ")
        assert session.flow.metadata["smtpguard_outcome"] == outcome
        assert session.flow.metadata["smtpguard_rule"] == rule
        (line,) = [
            each
            for each in self._guard.log.splitlines()
            if f" tx={record['transaction']} " in each
        ]
        assert f" disposition={outcome} rule={rule} action={action} " in line
        return str(record["transaction"])


def own_fields(identifier: str, action: str) -> bytes:
    return (
        f"X-SmtpGuard-Id: {identifier}\r\nX-SmtpGuard-Action: {action}\r\n"
    ).encode()


def test_header_fields_are_removed_and_no_other_octet(deliver: Deliver) -> None:
    internal = b"X-Internal-Host: a.own.example\r\n\tfolded\r\n"
    mail = make_mail(ALLOWED, fields=b"X-Kept: 1\r\n" + internal + b"X-Kept: 2\r\n")
    copy, session = deliver(mail)
    identifier = deliver.told(session, "modified", "headers:1", "strip")
    kept = mail.message.replace(internal, b"")
    assert copy.message == own_fields(identifier, "strip (headers:1)") + kept


def test_an_address_is_rewritten_in_the_fields_that_hold_it(deliver: Deliver) -> None:
    fields = f'Cc: "Old, {OLD}" <OLD@own.example> (old)\r\n'.encode()
    body = f"Write to {OLD}.\r\n".encode()
    copy, session = deliver(make_mail(OLD, fields=fields, body=body))
    assert copy.recipient == NEW
    identifier = deliver.told(session, "modified", "rcpt_to:2", "rewrite")
    lines = copy.message.splitlines(keepends=True)
    assert b"".join(lines[:2]) == own_fields(identifier, "rewrite (rcpt_to:2)")
    assert f"To: <{NEW}>\r\n".encode() in lines
    assert f'Cc: "Old, {OLD}" <{NEW}> (old)\r\n'.encode() in lines
    assert copy.message.endswith(b"\r\n\r\n" + body)


def test_own_fields_are_on_top_and_forged_ones_gone(deliver: Deliver) -> None:
    forged = b"X-SMTPguard-Action: allow\r\nx-smtpguard-virus: clean\r\n"
    mail = make_mail(ALLOWED, fields=forged)
    copy, session = deliver(mail)
    identifier = deliver.told(session, "relayed", "filenames:3", "allow")
    kept = mail.message.replace(forged, b"")
    assert copy.message == own_fields(identifier, "allow (filenames:3)") + kept


def test_the_deny_message_is_german_alone(deliver: Deliver) -> None:
    mail = with_program()
    to_one = make_mail(
        ALLOWED, fields=FIELDS, body=mail.message.partition(b"\r\n\r\n")[2]
    )
    copy, session = deliver(to_one)
    identifier = deliver.told(session, "modified", "filenames:2", "strip")
    notice = email.message_from_bytes(
        notice_in(copy.message, to_one), policy=email_policy.default
    ).get_content()
    first = "Ein Teil dieser Nachricht wurde vom Mail-Gateway entfernt."
    assert notice.startswith(first)
    assert "Der Rest der Nachricht ist so, wie er gesendet wurde." in notice
    assert identifier in notice
    assert "message" not in notice


CONTENT = hashlib.shake_256(b"macros").digest(150_001)
TEXT = b"--b\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"


def with_macros() -> tuple[Mail, bytes]:
    """Return a mail with a document, and the document's part."""
    part = (
        b"Content-Type: application/vnd.ms-word.document.macroEnabled.12\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment;\r\n"
        b" filename*=utf-8''%C3%9Cbersicht.docm\r\n\r\n"
    )
    part += base64.encodebytes(CONTENT).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    fields = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    body = TEXT + b"--b\r\n" + part + b"\r\n--b--\r\n"
    return make_mail(ALLOWED, fields=fields, body=body), part


def test_a_locked_part_arrives_and_is_unlocked_both_ways(
    deliver: Deliver, tmp_path: Path
) -> None:
    mail, part = with_macros()
    copy, session = deliver(mail)
    identifier = deliver.told(session, "modified", "filenames:1", "lock")
    head, _, tail = mail.message.partition(part)
    assert copy.message.startswith(own_fields(identifier, "lock (filenames:1)") + head)
    assert copy.message.endswith(tail)
    assert base64.b64encode(CONTENT[:300]) not in copy.message.replace(b"\r\n", b"")
    message = email.message_from_bytes(copy.message, policy=email_policy.default)
    text, notice, locked = message.iter_parts()
    assert text.get_content() == "Hello."
    assert notice.get_content().startswith(
        "Ein Teil dieser Nachricht wurde vom Mail-Gateway gesperrt."
    )
    assert locked.get_content_type() == "application/x-smtpguard-locked"
    assert b"filename*=utf-8''%C3%9Cbersicht.docm.clk" in copy.message
    # For readers that know no RFC 2231, and CPython takes the first.
    assert locked.get_filename() == "_bersicht.docm.clk"
    container = tmp_path / "any.clk"
    container.write_bytes(locked.get_content())
    done = run("unlock", str(container), "-o", str(tmp_path / "command"))
    assert (done.returncode, done.stderr) == (0, "")
    words = [sys.executable, "-I", "-S", unlock.__file__, str(container)]
    single = subprocess.run(
        [*words, "-o", str(tmp_path / "single")], capture_output=True, check=False
    )
    assert (single.returncode, single.stderr) == (0, b"")
    for folder in ("command", "single"):
        (restored,) = (tmp_path / folder).iterdir()
        assert restored.name == "Übersicht.docm"
        digest = hashlib.sha256(restored.read_bytes()).hexdigest()
        assert digest == hashlib.sha256(CONTENT).hexdigest()
        (told,) = [
            one
            for one in session.record.transactions[0]["parts"]
            if one["action"] == "lock"
        ]
        assert (told["sha256"], told["size"]) == (digest, len(CONTENT))
