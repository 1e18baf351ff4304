"""Hostile mails at a live gateway (attack M10): others are served meanwhile.

The gateway is a mitmdump with the default rules and nothing but one's own domain filled
in. A good client sends one mail after the other, with and without an archive; how long
it waits is what is measured.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpguard.loading import default_rules
from tests.bombs import BOMBS, attached, mail, zipped
from tests.integration.bed.clients import stuffed
from tests.integration.bed.guard import READY
from tests.integration.bed.process import tree
from tests.integration.raw import connect
from tests.integration.sink import Sink


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
RULES = (
    default_rules()
    .read_text("utf-8")
    .replace("domains: [] ", "domains: [own.example] ")
)
OPTIONS = ("--set", "smtpguard_max_connections_per_network=500")
PLAIN = b"Subject: plain\r\n\r\nNothing to see.\r\n"
ARCHIVE = mail([attached(zipped({"a.txt": b"Nothing to see."}), "a.zip")])
KEPT = "250 2.0.0 kept"
REFUSED = "550 5.7.1 Message refused by policy"
SOON = 10.0
"""Seconds in which a good client has its reply; on an idle machine it is 0.1."""
LIMIT = 60.0
"""Seconds in which any bomb has its reply, on a machine that does much else; apart from
the tests 5 s are measured (``python -m benchmarks bombs``)."""


@dataclass
class Told:
    """What one client was told, and how long each verdict took."""

    replies: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def send(port: int, message: bytes, told: Told, patience: float = LIMIT) -> None:
    """Send one message in a session of its own."""
    with connect(port) as wire:
        wire.sock.settimeout(patience)
        assert wire.reply().startswith("220 ")
        assert wire.ask(b"EHLO client.test").startswith("250-")
        for line in (b"MAIL FROM:<a@out.example>", b"RCPT TO:<b@own.example>"):
            assert wire.ask(line).startswith("250 ")
        assert wire.ask(b"DATA").startswith("354 ")
        wire.send(stuffed(message))
        began = time.monotonic()
        told.replies.append(wire.reply())
        told.seconds.append(time.monotonic() - began)


@contextmanager
def good_client(port: int, message: bytes) -> Iterator[Told]:
    """Send a mail again and again, until the context ends."""
    told = Told()
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            send(port, message, told)
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield told
    finally:
        done.set()
        thread.join(LIMIT)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity) as server:
        yield server


@pytest.fixture(scope="module")
def guard(sink: Sink, start_unowned_guard: StartGuard) -> Iterator[Guard]:
    started = start_unowned_guard(sink.reverse, RULES, *OPTIONS)
    yield started
    assert started.stop() == 0
    assert "Traceback" not in started.log
    assert "undecided" not in started.log


RELAYED = {
    "zip-ends": "an archive of nothing",
    "base64-in-text": "a text that says nothing of base64 is a text",
    "iso-loop": "stripped for its type, whatever is in it",
    "zip-100000-entries": "stripped for a name",
    "zip-300000-entries": "stripped for a name",
    "7z-solid": "stripped for a name",
    "empty-zips-in-parts": "each stripped for a name",
    "parts-1000-programs": "each stripped",
    "blanks-in-parts": "nothing but blanks",
}
"""Those that are delivered, and why."""


@pytest.mark.parametrize("name", BOMBS)
def test_M10_a_bomb_ends_as_a_finding_and_holds_nobody_up(
    guard: Guard, name: str
) -> None:
    message = BOMBS[name]()
    bomber = Told()
    with good_client(guard.port, PLAIN) as good:
        send(guard.port, message, bomber)
    (reply,) = bomber.replies
    assert reply.startswith(KEPT if name in RELAYED else REFUSED)
    assert set(good.replies) == {KEPT}
    assert max(good.seconds) < SOON


def test_M10_several_bombs_at_once_leave_room_for_archives(guard: Guard) -> None:
    """Two are looked into at a time: a third waits for its turn and gets it."""
    names = ("zip-ratio", "zips-in-1000-parts", "zip-quine", "gzip")
    messages = [BOMBS[name]() for name in names]
    bombers = [Told() for _ in messages]
    threads = [
        threading.Thread(target=send, args=(guard.port, message, told))
        for message, told in zip(messages, bombers, strict=True)
    ]
    with (
        good_client(guard.port, PLAIN) as good,
        good_client(guard.port, ARCHIVE) as other,
    ):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    assert all(told.replies[0].startswith(REFUSED) for told in bombers)
    assert set(good.replies) == set(other.replies) == {KEPT}
    assert max(good.seconds) < SOON


# ----------------------------------------------------------- a library that goes wrong

SCRIPT = """\
import sys

from smtpguard import looking
from smtpguard.addon import SmtpGuard
from smtpguard.unpacking import inspector
from smtpguard.unpacking.pool import Pool

sys.path.append({root!r})
inspector.Pool = lambda size: Pool(size, "tests.unpacking.planted:by_name")
looking.LOOK_SECONDS = {seconds}
addons = [SmtpGuard()]
"""
"""The addon, but for who looks into archives: the tests' own job, which does what their
names say; and for less time."""
LOOK_SECONDS = 4.0


@pytest.fixture
def planted(sink: Sink, start_guard: StartGuard, tmp_path: Path) -> Guard:
    """A gateway whose archives are looked into by who crashes when he is told to."""
    script, rules = tmp_path / "planted.py", tmp_path / "rules.yaml"
    script.write_text(SCRIPT.format(root=str(ROOT), seconds=LOOK_SECONDS), "utf-8")
    rules.write_text(RULES, "utf-8")
    chosen = ("-s", str(script), "--set", f"smtpguard_rules={rules}")
    guard = start_guard(sink.reverse, None, *chosen, *OPTIONS)
    guard.process.wait_text(READY)
    return guard


def named(name: str) -> bytes:
    return mail([attached(zipped({"a.txt": b"x"}), name)])


def looking(guard: Guard) -> set[int]:
    """Return the processes that look into archives: all but YARA's."""
    return {
        pid
        for pid in tree(guard.process.pid)[1:]
        if b"yarachild" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


@pytest.mark.parametrize(
    ("fault", "reply"),
    [
        ("crash", REFUSED),
        ("nonsense", REFUSED),
        ("endless", REFUSED),
        # A fault of ours says nothing of the mail: it is undecided.
        ("memory", "451 4.3.0 "),
        ("raise", "451 4.3.0 "),
    ],
)
def test_M10_a_crash_of_the_library_costs_one_mail_its_delivery(
    planted: Guard, fault: str, reply: str
) -> None:
    bomber, after = Told(), Told()
    with good_client(planted.port, PLAIN) as good:
        for _ in range(3):
            send(planted.port, named(fault), bomber)
    send(planted.port, named("fine.zip"), after)
    assert all(told.startswith(reply) for told in bomber.replies)
    assert after.replies == [KEPT]
    assert set(good.replies) == {KEPT}
    assert max(good.seconds) < SOON


def test_M10_a_hang_of_the_library_ends_after_its_time(planted: Guard) -> None:
    """Both processes hang, then both are replaced.

    One that keeps a processor busy was kept busy by the mail; why one waits nobody
    knows.
    """
    bombers = [Told(), Told()]
    threads = [
        threading.Thread(target=send, args=(planted.port, named(kind), told))
        for kind, told in zip(("sleep", "spin"), bombers, strict=True)
    ]
    after = Told()
    with good_client(planted.port, PLAIN) as good:
        for thread in threads:
            thread.start()
        while len(lookers := looking(planted)) < 2:
            time.sleep(0.05)
        for thread in threads:
            thread.join(LIMIT)
    send(planted.port, named("fine.zip"), after)
    waiting, busy = bombers
    assert waiting.replies[0].startswith("451 4.3.0 ")
    assert busy.replies[0].startswith(REFUSED)
    assert LOOK_SECONDS < busy.seconds[0] < 4 * LOOK_SECONDS
    assert 2 * LOOK_SECONDS < waiting.seconds[0] < 4 * LOOK_SECONDS
    assert set(good.replies) == {KEPT}
    assert max(good.seconds) < SOON
    assert after.replies == [KEPT]
    assert lookers.isdisjoint(looking(planted))
