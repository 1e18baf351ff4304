"""The bed's own ground: processes, ports, transcripts, delivered files."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path

import pytest

from tests.integration.bed.clients import stuffed
from tests.integration.bed.maildir import read_copy
from tests.integration.bed.need import need
from tests.integration.bed.process import (
    BedError,
    free_port,
    listening_ports,
    start,
    wait_until,
)
from tests.integration.bed.told import (
    MESSAGE,
    pair,
    told_by_dialogue,
    told_by_exim,
    told_by_postfix,
)


ROOT = Path(__file__).resolve().parents[2]

LISTENER = """
import socket, sys
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("accepted", sock.accept(), flush=True)
"""

PARENT = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"


def test_a_listener_is_found_without_connecting_to_it(tmp_path: Path) -> None:
    port = free_port()
    process = start([sys.executable, "-c", LISTENER, str(port)], tmp_path / "log")
    try:
        process.wait_listening(port)
        assert "accepted" not in process.text()
    finally:
        process.stop()


def test_a_listener_of_a_child_counts_as_the_programs_own(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", PARENT, "-c", LISTENER, str(port)]
    process = start(command, tmp_path / "log")
    try:
        process.wait_listening(port)
    finally:
        process.stop()


def test_a_listener_of_somebody_else_does_not_count(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert port in listening_ports(os.getpid())
        process = start(["sleep", "60"], tmp_path / "log")
        try:
            assert port not in listening_ports(process.pid)
        finally:
            process.stop()


def test_a_program_that_ends_early_is_told_with_its_log(tmp_path: Path) -> None:
    process = start(["sh", "-c", "echo no such thing; exit 3"], tmp_path / "log")
    with pytest.raises(BedError, match=r"ended with 3:\nno such thing"):
        process.wait_listening(free_port())


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 1; done"
    process = start(["sh", "-c", script], tmp_path / "log")
    wait_until(lambda: "ready" in process.text(), "the trap")
    assert process.stop(grace=0.1) == -9
    assert not process.alive


HOLDER = """
import subprocess, sys, time
from pathlib import Path
from tests.integration.bed.process import Process, dies_with_us
# Started without the kernel's signal, as a program is that changed its credentials.
sleep = subprocess.Popen(["sleep", "60"], start_new_session=True)
with dies_with_us(Process(sleep, Path(sys.argv[1]))):
    print("pid", sleep.pid, flush=True)
    time.sleep(60)
"""


def has_ended(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii")
    except FileNotFoundError:
        return True
    # Whoever inherits it may take a second to reap it.
    return re.search(r"State:\s+[ZX]", status) is not None


def test_a_killed_run_takes_its_programs_along(tmp_path: Path) -> None:
    holder = start(
        [sys.executable, "-c", HOLDER, str(tmp_path / "none")],
        tmp_path / "log",
        env={"PYTHONPATH": str(ROOT)},
    )
    try:
        wait_until(lambda: "pid" in holder.text(), "the program's pid")
        pid = int(holder.text().split()[-1])
        assert not has_ended(pid)
    finally:
        holder.popen.kill()
        holder.popen.wait(10)
    wait_until(lambda: has_ended(pid), "the end of the program", 10)


def test_cpu_and_memory_cover_the_tree_of_a_program(tmp_path: Path) -> None:
    work = "x = bytearray(50_000_000)\nfor _ in range(3_000_000): pass\nprint('done')\n"
    work += "input()"
    command = [sys.executable, "-c", PARENT, "-u", "-c", work]
    # A child of its own keeps its input open: the bed gives its programs none.
    process = start(["sh", "-c", 'sleep 60 | "$@"', "sh", *command], tmp_path / "log")
    try:
        wait_until(lambda: "done" in process.text(), "the child's work")
        assert process.cpu_seconds() > 0.03
        assert process.resident_memory() > 50_000_000
        assert process.peak_memory() >= process.resident_memory()
    finally:
        process.stop(grace=0.2)


def test_a_condition_that_never_holds_is_named() -> None:
    with pytest.raises(BedError, match="vain for the moon"):
        wait_until(lambda: False, "the moon", seconds=0.05)


def test_a_missing_program_skips_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTPGUARD_REQUIRE_REAL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program"):
        need("no-such-program")


def test_a_missing_program_fails_where_real_servers_are_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMTPGUARD_REQUIRE_REAL", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        need("no-such-program")


def test_replies_are_paired_in_order_with_pipelined_commands() -> None:
    dialogue = [
        ("S", "220 mx"),
        ("C", "EHLO c"),
        ("S", "250-mx"),
        ("S", "250 SIZE"),
        ("C", "MAIL FROM:<a@b.c>"),
        ("C", "RCPT TO:<x@y.z>"),
        ("C", "RCPT TO:<no@y.z>"),
        ("C", "DATA"),
        ("S", "250 2.1.0 a"),
        ("S", "250 2.1.5 x"),
        ("S", "550 5.1.1 no"),
        ("S", "354 go"),
        ("S", "250 2.0.0 queued"),
    ]
    pairs = pair(dialogue)
    assert pairs[-2:] == [("DATA", "354 go"), (MESSAGE, "250 2.0.0 queued")]
    (told,) = told_by_dialogue(pairs, "", 1)
    assert told.recipients == {"x@y.z": "250 2.1.5 x", "no@y.z": "550 5.1.1 no"}
    assert told.accepted


def test_a_dialogue_that_came_to_no_mail_is_told_by_its_last_refusal() -> None:
    pairs = [
        ("(connect)", "220 mx"),
        ("EHLO c", "250 mx"),
        ("STARTTLS", "454 4.7.0 no"),
    ]
    told = told_by_dialogue(pairs, "", 2)
    assert [each.final for each in told] == ["454 4.7.0 no"] * 2


def test_a_reply_that_nobody_asked_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="no command"):
        pair([("S", "220 mx"), ("S", "250 what")])


def test_a_postfix_log_tells_recipients_and_message_apart() -> None:
    log = (
        "x postfix/smtp[1]: AB1: to=<a@y.z>, relay=h[1.2.3.4]:25, delay=0.1, "
        "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 7)\n"
        "x postfix/smtp[1]: AB1: to=<no@y.z>, relay=h[1.2.3.4]:25, delay=0.1, "
        "dsn=5.1.1, status=bounced (host h[1.2.3.4] said: 550 5.1.1 <no@y.z> "
        "no (in reply to RCPT TO command))\n"
        "x postfix/smtp[1]: AB2: to=<a@y.z>, relay=h[1.2.3.4]:25, delay=0.1, "
        "dsn=4.3.0, status=deferred (host h[1.2.3.4] said: 451 4.3.0 later "
        "(in reply to end of DATA command))\n"
    )
    first, second = told_by_postfix(log, ["AB1", "AB2"])
    assert (first.code("a@y.z"), first.code("no@y.z")) == ("250", "550")
    assert first.accepted
    assert second.recipients == {}
    assert second.final == "451 4.3.0 later"


def test_an_exim_log_tells_recipients_and_message_apart() -> None:
    log = (
        '2026-01-01 10:00:00 id1 => a@y.z R=r T=t H=h [1.2.3.4] C="250 2.0.0 ok"\n'
        "2026-01-01 10:00:00 id1 ** no@y.z R=r T=t H=h [1.2.3.4]: SMTP error from "
        "remote mail server after RCPT TO:<no@y.z>: 550 5.1.1 no\n"
        "2026-01-01 10:00:00 id2 == a@y.z R=r T=t defer (-46) H=h [1.2.3.4]: SMTP "
        "error from remote mail server after end of data: 451 4.3.0 later\n"
    )
    first, second = told_by_exim(log, ["id1", "id2"])
    assert (first.code("a@y.z"), first.code("no@y.z")) == ("250", "550")
    assert first.accepted
    assert second.final == "451 4.3.0 later"
    assert second.recipients == {}


def test_a_delivered_file_is_read_back_as_it_came() -> None:
    octets = (
        b"Return-Path: <a@b.c>\nX-Original-To: x@y.z\nDelivered-To: x@y.z\n"
        b"Received: from c (far.example [192.0.2.1])\n\tby mx; Tue\n"
        b"Received: from elsewhere\nSubject: s\n\n.dot\n"
    )
    copy = read_copy(octets)
    assert (copy.reverse_path, copy.recipient) == ("a@b.c", "x@y.z")
    assert copy.received == "from c (far.example [192.0.2.1]) by mx; Tue"
    assert copy.message == b"Received: from elsewhere\r\nSubject: s\r\n\r\n.dot\r\n"


def test_a_file_that_postfix_did_not_deliver_is_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("return-path")):
        read_copy(b"Subject: s\n\nbody\n")


def test_a_message_is_stuffed_for_data() -> None:
    assert stuffed(b".a\r\n..\r\nb.\r\n") == b"..a\r\n...\r\nb.\r\n.\r\n"
