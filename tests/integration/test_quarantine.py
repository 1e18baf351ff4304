"""Mails and parts that the rules put into quarantine, in a live mitmdump."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.bed.guard import ROOT
from tests.integration.bed.process import wait_until
from tests.integration.sending import sent
from tests.integration.sink import Sink
from tests.judging import TEXT_PART, attachment, lines, mixed


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RULES = """\
version: 1
quarantine: {folder: held}
policies:
  - name: only
    tls: {client: {starttls: required}, server: {starttls: required}}
    rcpt_to: [{match: "gone@own.example", action: deny}, {match: "*", action: allow}]
    headers:
      - {match: "Subject: *secret*", action: quarantine}
      - {match: "*", action: allow}
    filenames: [{match: "*.bin", action: quarantine}, {match: "*", action: allow}]
"""
HEAD = lines("From: Ann <a@out.example>", "Subject: %s")
FILE = attachment("report.bin")


@pytest.fixture(scope="module")
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity) as running:
        yield running


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, sink: Sink) -> Iterator[Guard]:
    running = start_unowned_guard(sink.reverse, RULES)
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.log


def quarantine(guard: Guard, *words: str) -> Any:
    """Return what ``smtpguard quarantine`` prints as JSON."""
    command = [sys.executable, "-m", "smtpguard", "quarantine", *words]
    done = subprocess.run(
        [*command, "--rules", str(guard.rules), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PYTHONPATH": str(ROOT / "addons"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def held(guard: Guard, recipient: str) -> list[dict[str, Any]]:
    """Return the items for a recipient."""
    assert guard.rules is not None
    if not (guard.rules.parent / "held").exists():
        return []  # nothing was kept so far: the gateway makes it then
    return quarantine(guard, "list", "--recipient", recipient)  # type: ignore[no-any-return]


def octets_of(guard: Guard, item: str) -> bytes:
    assert guard.rules is not None
    [path] = (guard.rules.parent / "held").glob(f"{item}.octets")
    return Path(path).read_bytes()


def test_a_message_is_kept_and_answered_250(guard: Guard, sink: Sink) -> None:
    mail = HEAD % b"very secret" + b"\r\nHello\r\n.dot\r\n"
    recipients = ("keep@own.example", "gone@own.example")
    assert sent(guard, mail, *recipients).startswith("250 ")
    [item] = held(guard, "keep@own.example")
    assert (item["kind"], item["state"]) == ("message", "held")
    assert octets_of(guard, item["id"]) == mail
    [record] = quarantine(guard, "show", item["id"])
    [recipient] = record["recipients"]
    assert "keep@own.example" in str(recipient["asked"])
    assert (record["rule"], record["subject"]) == ("headers:1", "very secret")
    assert "keep@own.example" not in sink.copies


def test_a_part_is_kept_and_the_rest_delivered(guard: Guard, sink: Sink) -> None:
    mail = HEAD % b"a file" + mixed(TEXT_PART, FILE)
    assert sent(guard, mail, "part@own.example").startswith("250 ")
    [copy] = sink.copies["part@own.example"]
    assert FILE.partition(b"\r\n\r\n")[2] not in copy.message
    assert b"report.bin" in copy.message
    assert copy.message.startswith(mail.partition(FILE)[0])
    wait_until(
        lambda: [one["state"] for one in held(guard, "part@own.example")] == ["kept"],
        "the part is kept for good",
    )
    [item] = held(guard, "part@own.example")
    assert item["kind"] == "part"


def test_a_released_message_arrives_once_and_is_not_held_again(
    guard: Guard, sink: Sink
) -> None:
    """Through the gateway itself, as where it stands before all mail servers."""
    mail = HEAD % b"another secret" + b"\r\nHello\r\n"
    assert sent(guard, mail, "free@own.example").startswith("250 ")
    [item] = held(guard, "free@own.example")
    assert guard.rules is not None
    text = guard.rules.read_text("utf-8")
    delivery = (
        f"delivery: {{host: 127.0.0.1, port: {guard.port}, tls: starttls_required, "
        f"ca: {guard.trust}}}\n"
    )
    guard.rules.write_text(text + delivery, "utf-8")
    guard.wait_log("rules loaded", 2)
    quarantine(guard, "release", item["id"])
    [copy] = sink.copies["free@own.example"]
    assert copy.message == mail
    assert [one["state"] for one in held(guard, "free@own.example")] == ["released"]


def test_what_cannot_be_kept_is_put_off(guard: Guard, sink: Sink) -> None:
    assert guard.rules is not None
    folder = guard.rules.parent / "held"
    folder.mkdir(mode=0o700, exist_ok=True)  # where no test before has kept anything
    away = folder.rename(folder.with_name("away"))
    folder.write_text("no folder", "utf-8")
    try:
        mail = HEAD % b"secret" + b"\r\nHello\r\n"
        assert sent(guard, mail, "full@own.example").startswith("451 4.3.0")
        mail = HEAD % b"a file" + mixed(TEXT_PART, FILE)
        assert sent(guard, mail, "full@own.example").startswith("451 4.3.0")
    finally:
        folder.unlink()
        away.rename(folder)
    assert "full@own.example" not in sink.copies
    assert held(guard, "full@own.example") == []
