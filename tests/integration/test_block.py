"""Clients that the rules block, behind a proxy and without one, in a live mitmdump."""

from __future__ import annotations

import smtplib
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from smtpguard.cli import main
from tests.integration.bed.process import wait_until
from tests.integration.sending import sent, source
from tests.integration.sink import Sink
from tests.judging import TEXT_PART, attachment, lines, mixed


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

REFUSED = "554 5.7.1 No service for this address now"
RULES = """\
version: 1
block: {{folder: {folder}, time: {time}, exempt: [203.0.113.0/24],
  anomalies: {{sessions: 3}}}}
trusted_clients: [{{networks: [127.0.0.1/32], protocol: xclient}}]
scanners: {{eicar: {{type: yara}}}}
policies:
  - name: only
    helo: [{{match: "bad.example", action: block}}, {{match: "*", action: allow}}]
    mail_from: [{{match: "bad@*", action: block}}, {{match: "*", action: allow}}]
    rcpt_to: [{{match: "trap@*", action: block}}, {{match: "*", action: allow}}]
    filenames:
      - {{match: "*.exe", action: block}}
      - {{match: "*", action: scan}}
    antivirus: {{scanner: eicar, infected: block}}
"""
HEAD = lines("From: Ann <a@out.example>", "Subject: a file")
PLAIN = HEAD + b"\r\nHello\r\n"
EXE = HEAD + mixed(TEXT_PART, attachment("tool.exe"))
# In two pieces, so that no scanner takes this file for it.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
INFECTED = HEAD + b"\r\n" + EICAR + b"\r\n"


class Answer(NamedTuple):
    """What a client behind the proxy hears."""

    greeting: str
    """After XCLIENT."""
    last: str = ""
    """To its mail; "" where the connection was closed without a reply."""


@pytest.fixture(scope="module")
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity) as running:
        yield running


@pytest.fixture(scope="module")
def folder(bed_folder: Path) -> Path:
    return bed_folder / "blocked"


@contextmanager
def running(
    start: StartGuard, sink: Sink, folder: Path, time: str = "20m"
) -> Iterator[Guard]:
    guard = start(sink.reverse, RULES.format(folder=folder, time=time))
    try:
        yield guard
    finally:
        assert guard.stop() == 0
        assert "Traceback" not in guard.log, guard.log


@pytest.fixture(scope="module")
def guard(start_unowned_guard: StartGuard, sink: Sink, folder: Path) -> Iterator[Guard]:
    with running(start_unowned_guard, sink, folder) as started:
        yield started


def behind(
    guard: Guard,
    address: str,
    mail: bytes = PLAIN,
    *,
    helo: str = "client.example",
    sender: str = "a@out.example",
    recipient: str = "b@own.example",
) -> Answer:
    """Send a mail as a trusted proxy does for a client of this address."""
    context = ssl.create_default_context(cafile=str(guard.trust))
    with smtplib.SMTP("127.0.0.1", guard.port, timeout=60) as proxy:
        code, text = proxy.docmd("XCLIENT", f"ADDR={address} PORT=4000")
        greeting = f"{code} {text.decode()}"
        if code != 220:
            with pytest.raises(smtplib.SMTPServerDisconnected):
                proxy.noop()
            return Answer(greeting)
        try:
            proxy.ehlo(helo)
            proxy.starttls(context=context)
            proxy.ehlo(helo)
            proxy.mail(sender)
            code, text = proxy.rcpt(recipient)
            if code == 250:
                code, text = proxy.data(mail)
        except smtplib.SMTPServerDisconnected:
            return Answer(greeting)
    return Answer(greeting, f"{code} {text.decode()}")


def passes(answer: Answer) -> bool:
    return answer.greeting.startswith("220 ") and answer.last.startswith("250 ")


def is_dropped(answer: Answer) -> bool:
    return answer.greeting.startswith("220 ") and not answer.last


WAYS = {
    "name": {"helo": "bad.example"},
    "sender": {"sender": "bad@out.example"},
    "recipient": {"recipient": "trap@own.example"},
    "file": {"mail": EXE},
    "virus": {"mail": INFECTED},
}


@pytest.mark.parametrize(("number", "way"), enumerate(WAYS), ids=WAYS)
def test_what_is_blocked_is_dropped_and_its_address_refused(
    guard: Guard, sink: Sink, number: int, way: str
) -> None:
    address, other = f"198.51.100.{number}", f"198.51.101.{number}"
    before = len(sink.copies)
    assert passes(behind(guard, address, recipient=f"{way}@own.example"))
    assert is_dropped(behind(guard, address, **WAYS[way]))  # type: ignore[arg-type]
    for _ in range(2):
        assert behind(guard, address) == Answer(REFUSED)
    assert passes(behind(guard, other, recipient=f"{way}@own.example"))
    assert len(sink.copies) == before + 1
    assert f"client {address} is blocked until" in guard.log
    if way != "name":
        told = (f"client={address} ", "disposition=dropped", "action=block")
        log = guard.log.splitlines()
        assert len([line for line in log if all(one in line for one in told)]) == 1


def test_ipv6_is_refused_by_64(guard: Guard) -> None:
    assert is_dropped(behind(guard, "IPV6:2001:db8:0:1::5", EXE))
    assert behind(guard, "IPV6:2001:db8:0:1:ffff::9") == Answer(REFUSED)
    assert passes(behind(guard, "IPV6:2001:db8:0:2::5"))


def test_an_exempt_client_is_dropped_and_never_refused(guard: Guard) -> None:
    assert is_dropped(behind(guard, "203.0.113.7", EXE))
    assert passes(behind(guard, "203.0.113.7"))
    assert "client 203.0.113.7 is dropped and not blocked" in guard.log


def test_who_breaks_smtp_again_and_again_is_refused(guard: Guard) -> None:
    """contract 3: anomalies are counted for ``block``."""

    def break_smtp(address: str) -> None:
        with smtplib.SMTP("127.0.0.1", guard.port, timeout=60) as proxy:
            proxy.docmd("XCLIENT", f"ADDR={address} PORT=4000")
            code, _ = proxy.docmd("GET", "/ HTTP/1.1")
            assert code == 502
            proxy.close()

    for address in ("198.51.103.1", "203.0.113.8"):
        for _ in range(2):
            break_smtp(address)
        assert passes(behind(guard, address))
        break_smtp(address)
    assert behind(guard, "198.51.103.1") == Answer(REFUSED)
    assert passes(behind(guard, "203.0.113.8"))
    assert passes(behind(guard, "198.51.103.2"))
    assert "client 198.51.103.1 is blocked until" in guard.log


def test_the_proxy_itself_is_never_blocked(guard: Guard, folder: Path) -> None:
    with (
        smtplib.SMTP("127.0.0.1", guard.port, timeout=60) as proxy,
        pytest.raises(smtplib.SMTPServerDisconnected),
    ):
        proxy.ehlo("bad.example")
    assert "client 127.0.0.1 is dropped and not blocked" in guard.log
    assert not (folder / "127.0.0.1").exists()
    assert passes(behind(guard, "198.51.102.1"))


def test_a_client_without_a_proxy_is_refused_as_it_connects(guard: Guard) -> None:
    assert sent(guard, PLAIN, "b@own.example", number=1).startswith("250 ")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        sent(guard, EXE, "b@own.example", number=1)
    with pytest.raises(smtplib.SMTPConnectError, match="554") as refused:
        sent(guard, PLAIN, "b@own.example", number=1)
    assert refused.value.smtp_error == REFUSED.removeprefix("554 ").encode()
    assert sent(guard, PLAIN, "b@own.example", number=2).startswith("250 ")
    assert main(["unblock", source(1), "--rules", str(guard.rules)]) == 0
    assert sent(guard, PLAIN, "b@own.example", number=1).startswith("250 ")


def test_processes_share_the_memory_and_a_restart_keeps_it(
    start_unowned_guard: StartGuard, sink: Sink, tmp_path: Path
) -> None:
    folder = tmp_path / "blocked"
    with (
        running(start_unowned_guard, sink, folder) as one,
        running(start_unowned_guard, sink, folder) as other,
    ):
        assert is_dropped(behind(one, "198.51.100.1", EXE))
        assert behind(other, "198.51.100.1") == Answer(REFUSED)
        assert is_dropped(behind(other, "198.51.100.2", EXE))
        assert behind(one, "198.51.100.2") == Answer(REFUSED)
    with running(start_unowned_guard, sink, folder) as again:
        for address in ("198.51.100.1", "198.51.100.2"):
            assert behind(again, address) == Answer(REFUSED)
        assert passes(behind(again, "198.51.100.3"))


def test_a_block_is_over_after_its_time(
    start_unowned_guard: StartGuard, sink: Sink, tmp_path: Path
) -> None:
    with running(start_unowned_guard, sink, tmp_path / "blocked", "3s") as guard:
        assert is_dropped(behind(guard, "198.51.100.1", EXE))
        assert behind(guard, "198.51.100.1") == Answer(REFUSED)
        wait_until(lambda: passes(behind(guard, "198.51.100.1")), "let in again")


def test_a_memory_that_cannot_be_read_lets_everybody_in(
    start_unowned_guard: StartGuard, sink: Sink, tmp_path: Path
) -> None:
    folder = tmp_path / "blocked"
    with running(start_unowned_guard, sink, folder) as guard:
        assert is_dropped(behind(guard, "198.51.100.1", EXE))
        folder.rename(tmp_path / "away")
        folder.touch()
        assert passes(behind(guard, "198.51.100.1"))
        assert is_dropped(behind(guard, "198.51.100.2", EXE))
        assert "block: clients are let in" in guard.log
        assert "client 198.51.100.2 cannot be blocked" in guard.log
        folder.unlink()
        (tmp_path / "away").rename(folder)
        assert behind(guard, "198.51.100.1") == Answer(REFUSED)
