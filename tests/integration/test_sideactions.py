"""``add_header``, ``bcc``, ``notify`` and alarms of a live mitmdump: what arrives."""

from __future__ import annotations

import email
import email.policy
import time
from typing import TYPE_CHECKING

import pytest

from smtpguard.quarantine.store import Store
from tests.integration.bed.process import free_port, wait_until
from tests.integration.sending import sent
from tests.integration.test_quarantine import held, octets_of, quarantine
from tests.judging import TEXT_PART, attachment, lines, mixed
from tests.quarantine.making import MESSAGE
from tests.quarantine.servers import Server
from tests.test_ownmail import copy


if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage
    from pathlib import Path

    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RULES = """\
version: 1
quarantine: {{folder: held}}
delivery: {{host: 127.0.0.1, port: {office}, tls: none, from: guard@own.example}}
alarm: {{notify: root@own.example}}
scanners: {{v: {{type: clamd, address: "127.0.0.1:{nobody}"}}}}
policies:
  - name: only
    tls: {{server: {{starttls: none}}}}
    add_header: "X-Archive: yes"
    rcpt_to: [{{match: "*", action: allow}}]
    antivirus: {{scanner: v}}
    filenames:
      - {{match: "*.exe", action: deny, notify: boss@own.example}}
      - {{match: "*.bin", action: scan}}
      - {{match: "*.txt", action: allow, bcc: [archive@own.example, law@own.example]}}
      - {{match: "*", action: allow}}
"""
HEAD = lines("From: Ann <a@out.example>", "Subject: %s")
PLAIN = HEAD % b"plain" + b"\r\nHello\r\n.dot\r\n"


@pytest.fixture
def upstream() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def office() -> Iterator[Server]:
    """Where mail of our own goes."""
    with Server() as running:
        yield running


@pytest.fixture
def guard(start_guard: StartGuard, upstream: Server, office: Server) -> Guard:
    text = RULES.format(office=office.port, nobody=free_port())
    return start_guard(f"reverse:tcp://127.0.0.1:{upstream.port}", text)


def parsed(message: bytes) -> EmailMessage:
    return email.message_from_bytes(message, policy=email.policy.default)


def with_file(name: str) -> bytes:
    return HEAD % b"a file" + mixed(TEXT_PART, attachment(name))


def test_a_field_is_added_and_nobody_gets_a_copy(
    guard: Guard, upstream: Server, office: Server
) -> None:
    assert sent(guard, PLAIN, "b@own.example").startswith("250 ")
    assert upstream.messages == [b"X-Archive: yes\r\n" + PLAIN]
    assert guard.stop() == 0
    assert office.messages == []


def test_a_copy_is_of_what_went_on_and_leaves_nothing_behind(
    guard: Guard, upstream: Server, office: Server
) -> None:
    mail = with_file("list.txt")
    assert sent(guard, mail, "b@own.example").startswith("250 ")
    wait_until(lambda: len(office.messages) == 1, "the copy has come")
    assert upstream.messages == office.messages == [b"X-Archive: yes\r\n" + mail]
    recipients = [one for one in office.commands if one.startswith(b"RCPT")]
    assert recipients == [
        b"RCPT TO:<archive@own.example>",
        b"RCPT TO:<law@own.example>",
    ]
    assert any(one.startswith(b"MAIL FROM:<>") for one in office.commands)
    wait_until(lambda: held(guard, "archive@own.example") == [], "the copy is gone")


def test_a_message_that_is_refused_upstream_has_no_copy(
    start_guard: StartGuard, office: Server
) -> None:
    with Server(answers={b".": b"552 5.3.4 too big\r\n"}) as upstream:
        text = RULES.format(office=office.port, nobody=free_port())
        guard = start_guard(f"reverse:tcp://127.0.0.1:{upstream.port}", text)
        reply = sent(guard, with_file("list.txt"), "b@own.example")
        assert reply.startswith("552 ")
        wait_until(lambda: held(guard, "archive@own.example") == [], "it is deleted")
        assert guard.stop() == 0
    assert office.messages == []


def test_a_copy_that_cannot_be_sent_stays_until_it_is_released(
    start_guard: StartGuard, upstream: Server
) -> None:
    with Server(answers={b"MAIL": b"451 4.3.0 later\r\n"}) as closed:
        text = RULES.format(office=closed.port, nobody=free_port())
        guard = start_guard(f"reverse:tcp://127.0.0.1:{upstream.port}", text)
        mail = with_file("list.txt")
        assert sent(guard, mail, "b@own.example").startswith("250 ")
        guard.wait_log("alarm: copies: ")
        [item] = held(guard, "archive@own.example")
        assert (item["kind"], item["state"]) == ("copy", "held")
        assert octets_of(guard, item["id"]) == b"X-Archive: yes\r\n" + mail
    with Server() as office:
        quarantine(guard, "release", item["id"], "--via", f"127.0.0.1:{office.port}")
    assert office.messages == [b"X-Archive: yes\r\n" + mail]


def test_where_no_copy_can_be_kept_the_message_is_put_off(
    guard: Guard, upstream: Server
) -> None:
    assert guard.rules is not None
    (guard.rules.parent / "held").write_text("no folder", "utf-8")
    mail = with_file("list.txt")
    assert sent(guard, mail, "b@own.example").startswith("451 4.3.0")
    assert sent(guard, PLAIN, "b@own.example").startswith("250 ")
    assert upstream.messages == [b"X-Archive: yes\r\n" + PLAIN]


def test_somebody_hears_what_became_of_a_message(
    guard: Guard, upstream: Server, office: Server
) -> None:
    reply = sent(guard, with_file("a.exe"), "b@own.example")
    assert reply.startswith("550 5.7.1")
    wait_until(lambda: len(office.messages) == 1, "the notice has come")
    notice = parsed(office.messages[0])
    assert notice["To"] == "boss@own.example"
    assert notice["From"] == "guard@own.example"
    text = notice.get_content()
    assert "rejected" in text
    assert "Rule: only, filenames:1: deny" in text
    assert "To: b@own.example" in text
    assert reply.partition("(id ")[2].rstrip(")") in text
    assert upstream.messages == []


def test_an_alarm_is_told_within_ten_seconds(
    guard: Guard, upstream: Server, office: Server
) -> None:
    """contract 7: where all scanners failed."""
    began = time.monotonic()
    reply = sent(guard, with_file("a.bin"), "b@own.example")
    assert reply.startswith("451 4.7.1")
    wait_until(lambda: len(office.messages) == 1, "the alarm has come", 10)
    assert time.monotonic() - began < 10
    alarm = parsed(office.messages[0])
    assert alarm["To"] == "root@own.example"
    assert alarm["Subject"] == "smtpguard: 1 alarm"
    assert alarm.get_content().startswith("scanners: v: unavailable")
    assert upstream.messages == []


def test_copies_that_cannot_be_sent_do_not_keep_the_gateway_from_starting(
    start_guard: StartGuard, upstream: Server, office: Server, tmp_path: Path
) -> None:
    """mitmproxy ends where an error is logged while it starts."""
    store = Store(tmp_path / "held")
    damaged, whole = copy(store), copy(store)
    store.octets(damaged).write_bytes(b"")
    text = RULES.format(office=office.port, nobody=free_port())
    text = text.replace("folder: held", f"folder: {store.folder}")
    guard = start_guard(f"reverse:tcp://127.0.0.1:{upstream.port}", text)
    wait_until(lambda: store.ids() == [damaged], "the other one is sent")
    assert MESSAGE in office.messages
    guard.wait_log("alarm: copies: ")
    assert sent(guard, PLAIN, "b@own.example").startswith("250 ")
    assert whole not in store.ids()


def test_copies_that_come_back_end(start_guard: StartGuard, upstream: Server) -> None:
    """``delivery`` is the gateway itself, as where it stands before all servers."""
    port = free_port()
    text = RULES.format(office=port, nobody=free_port()).replace(
        "    add_header", "    bcc: archive@own.example\n    add_header"
    )
    mode = f"reverse:tcp://127.0.0.1:{upstream.port}"
    guard = start_guard(mode, text, port=port)
    assert sent(guard, PLAIN, "b@own.example").startswith("250 ")
    wait_until(lambda: len(upstream.messages) == 2, "message and copy")
    wait_until(lambda: held(guard, "archive@own.example") == [], "the copy is gone")
    assert guard.stop() == 0
    assert len(upstream.messages) == 2
