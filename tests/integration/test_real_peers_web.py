"""Real sessions as mitmweb shows them, and what was recorded of them replayed."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import urllib.request
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.bed.guard import ROOT, WEB_PASSWORD
from tests.integration.bed.mails import Target, make_mail
from tests.integration.bed.process import child_environment, free_port
from tests.integration.sessions import sessions_of
from tests.integration.ways import ALLOWED, DENIED, HEAD, NEW, OLD, REFUSED, policy


if TYPE_CHECKING:
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import Loopback, Send, StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def ask(port: int, path: str) -> Any:
    """Ask mitmweb's interface for an object."""
    url = f"http://127.0.0.1:{port}{path}?token={WEB_PASSWORD}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)


def test_mitmweb_shows_a_session_with_both_legs_and_its_decision(
    send: Send, start_guard: StartGuard, loopback: Loopback
) -> None:
    port = free_port()
    guard = start_guard(
        loopback.reverse("starttls"),
        HEAD + policy(),
        *("--web-port", str(port)),
        program="mitmweb",
    )
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    mail = make_mail(ALLOWED, DENIED, REFUSED, OLD)
    (told,) = send("postfix", target, mail)
    assert told.accepted, told.transcript
    (session,) = sessions_of(guard, mail)
    (flow,) = ask(port, "/flows")
    assert flow["type"] == "tcp"
    assert flow["comment"].startswith("relayed ")
    assert flow["marked"] == "\N{WHITE HEAVY CHECK MARK}"
    for leg in ("client_conn", "server_conn"):
        assert flow[leg]["tls_version"] == "TLSv1.3"
    views = ask(port, f"/flows/{flow['id']}/messages/content/SMTP.json")
    assert len(views) == len(session.flow.messages)
    overview = views[0]["text"]
    for line in (
        "client    TLSv1.3 TLS_",
        "upstream  TLSv1.3 TLS_",
        f"to     <{DENIED}>  550 5.1.1 Mailbox unavailable  (deny by rcpt_to:3)",
        f"to     <{OLD}> as <{NEW}>  250 2.1.5 Ok  (rewrite by rcpt_to:2)",
        f"C> RCPT TO:<{REFUSED}>",
    ):
        assert line in overview
    assert f"s< RCPT TO:<{DENIED}>" not in overview
    assert mail.token in "".join(view["text"] for view in views)


def test_mitmweb_shows_what_parts_and_archives_hold_and_what_was_locked(
    send: Send, start_guard: StartGuard, loopback: Loopback
) -> None:
    port = free_port()
    text = (HEAD + policy()).replace(
        '{match: "*.exe", action: strip, name: no-programs}',
        '{match: "*.zip", inside: [message, archives], is: encrypted, action: strip}\n'
        '      - {match: "*.zip", is: archive, action: lock}',
    )
    guard = start_guard(
        loopback.reverse("starttls"),
        text,
        *("--web-port", str(port)),
        program="mitmweb",
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(12):
            archive.writestr(f"{number:02}.txt", "text")
        archive.writestr("run.sh", "#!/bin/sh\n")
    encoded = base64.encodebytes(buffer.getvalue()).replace(b"\n", b"\r\n")
    fields = (
        b"MIME-Version: 1.0\r\n"
        b'Content-Type: application/octet-stream; name="a.zip"\r\n'
        b"Content-Transfer-Encoding: base64\r\n"
    )
    mail = make_mail(ALLOWED, fields=fields, body=encoded)
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    (told,) = send("smtplib", target, mail)
    assert told.accepted, told.transcript
    sessions_of(guard, mail)
    (flow,) = ask(port, "/flows")
    assert flow["comment"].startswith("modified filenames:2 ")
    first, *views = ask(port, f"/flows/{flow['id']}/messages/content/SMTP.json")
    size = len(buffer.getvalue())
    part = (
        f'  1  application/octet-stream  {size} octets  "a.zip"  archive'
        "  -> lock by filenames:2  (content: application/zip)\n"
    )
    assert f"  {part}" in first["text"]
    (mail_text,) = [v["text"] for v in views if v["text"].startswith("mail of ")]
    files = ['"run.sh"  text/x-shellscript  10 octets  executable']
    files += [f'"{number:02}.txt"  text/plain  4 octets' for number in range(9)]
    listed = "".join(f"      {file}\n" for file in files)
    assert f"{part}{listed}    ... 3 more\n" in mail_text
    assert "Content-Type: application/x-smtpguard-locked\n" in mail_text


def replayed(guard: Guard, *options: str) -> list[dict[str, Any]]:
    """Replay what a guard has recorded under its own rules."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "smtpguard", "replay", "--json"),
            *("--rules", str(guard.rules), *options),
            str(guard.folder / "flows.mitm"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=child_environment({"PYTHONPATH": str(ROOT / "addons")}),
        check=False,
    )
    # Status 1: a message was refused.
    assert (done.returncode, done.stderr) == (1, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


KEPT = ("transaction", "disposition", "reply", "rule", "action", "size", "sha256")


def test_what_real_senders_said_ends_the_same_in_a_replay(
    send: Send, start_guard: StartGuard, loopback: Loopback
) -> None:
    guard = start_guard(loopback.reverse("starttls"), HEAD + policy())
    target = Target("127.0.0.1", guard.port, "starttls", guard.trust)
    mails = []
    for name in ("postfix", "exim-bdat", "exim-kept", "swaks-pipelining", "curl"):
        sent = [
            make_mail(ALLOWED, DENIED, REFUSED, OLD),
            make_mail(ALLOWED, reverse_path="end552@client.example.test"),
            make_mail(OLD, REFUSED),
        ]
        send(name, target, *sent)
        mails += sent
    sessions = sessions_of(guard, *mails)
    assert guard.stop() == 0
    recorded = [each for session in sessions for each in session.record.transactions]
    assert len(recorded) >= len(mails)
    assert {each["disposition"] for each in recorded} == {"relayed", "rejected"}
    again = replayed(guard)
    assert sorted(each["transaction"] for each in again) == sorted(
        each["transaction"] for each in recorded
    )
    for before in recorded:
        (after,) = [
            each for each in again if each["transaction"] == before["transaction"]
        ]
        assert {key: after[key] for key in KEPT} == {key: before[key] for key in KEPT}
        assert after["envelope"] == before["envelope"]
