"""Real scanners and engines behind a live mitmdump, over STARTTLS.

EICAR in five wrappings under each action of ``antivirus``; GTUBE and scores of choice
under each action of ``spam``; replies and octets checked.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import pytest

from smtpguard.proxy.sessionrecord import read_record
from tests.integration.bed.clamd import EICAR as EICAR_NAME
from tests.integration.bed.clamd import clamd
from tests.integration.bed.guard import ROOT
from tests.integration.bed.need import need
from tests.integration.bed.rspamd import rspamd
from tests.integration.bed.spamd import spamd
from tests.integration.sending import sent, source
from tests.integration.sink import Sink
from tests.integration.test_quarantine import held, octets_of
from tests.judging import TEXT_PART, forwarded, lines, mixed


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.bed.certificates import Identity
    from tests.integration.bed.guard import Guard
    from tests.integration.conftest import StartGuard


pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

UNLOCK = ROOT / "addons" / "smtpguard" / "locking" / "unlock.py"
EICAR = base64.b64decode(
    "WDVPIVAlQEFQWzRcUFpYNTQoUF4pN0NDKTd9JEVJQ0FSLVNUQU5E"
    "QVJELUFOVElWSVJVUy1URVNULUZJTEUhJEgrSCo="
)
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n"


def zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def file(content: bytes, name: str, *, encoded: bool = True) -> bytes:
    head = [f'Content-Type: application/octet-stream; name="{name}"']
    if not encoded:
        return lines(*head, "") + content
    head.append("Content-Transfer-Encoding: base64")
    octets = base64.encodebytes(content).replace(b"\n", b"\r\n").rstrip()
    return lines(*head, "") + octets


WRAPPED: dict[str, bytes] = {
    "plain": file(EICAR, "plain.dat", encoded=False),
    "base64": file(EICAR, "encoded.dat"),
    "zip": file(zipped("e.com", EICAR), "zipped.zip"),
    "nested": file(zipped("z.zip", zipped("e.com", EICAR)), "nested.zip"),
    "rfc822": forwarded(mixed(TEXT_PART, file(EICAR, "inner.dat"), boundary="inner")),
}
ACTIONS = ("allow", "strip", "lock", "quarantine", "deny", "tempfail", "discard")
REPLIES = {"deny": "550 5.7.1", "tempfail": "451 4.7.1"}
"""Of all others it is 250."""
CELLS = list(product(WRAPPED, ACTIONS))
SCORES = {"confirmed": 20.0, "bulk": 9.0, "suspect": 6.0, "clean": 1.0}
SPAM_ACTIONS = ("allow", "tag", "quarantine", "deny", "tempfail", "discard")
SPAM_REPLIES = {**REPLIES, "deny": "571 5.7.1 Delivery not authorized"}
SPAM_CELLS = list(product(("confirmed", "bulk", "suspect"), SPAM_ACTIONS))
FIRST_SPAM = 100
ENCRYPTED = 180
"""Numbers of the policies for what is behind a password."""
ENGINES = 190
"""Numbers of the two policies with GTUBE."""


def policies() -> Iterator[str]:
    common = "tls: {client: {starttls: required}, server: {starttls: required}}"
    everybody = 'rcpt_to: [{match: "*", action: allow}]'

    def named(number: int, *more: str) -> str:
        keys = [f"when: {{source: {source(number)}}}", common, everybody, *more]
        return f"  - name: p{number}\n" + "".join(f"    {key}\n" for key in keys)

    for number, (_, action) in enumerate(CELLS):
        yield named(
            number,
            'content_types: [{match: "*", action: scan}]',
            f"antivirus: {{scanner: clam, infected: {action}}}",
        )
    for number, (category, action) in enumerate(SPAM_CELLS, FIRST_SPAM):
        at = {"confirmed": 15, "bulk": 8, "suspect": 5}[category]
        table = f"{category}: {{at: {at}, action: {action}}}"
        yield named(number, f"spam: {{scanner: rspamd, {table}}}")
    for number, action in enumerate(("lock", "allow"), ENCRYPTED):
        yield named(
            number,
            'content_types: [{match: "*", action: scan}]',
            f"antivirus: {{scanner: clam, encrypted: {action}}}",
        )
    for number, engine in enumerate(("rspamd", "spamd"), ENGINES):
        table = "confirmed: {at: 15, action: deny}"
        yield named(number, f"spam: {{scanner: {engine}, {table}}}")
    yield '  - {name: last, rcpt_to: [{match: "*", action: tempfail}]}\n'


@pytest.fixture(scope="module")
def sink(identity: Identity) -> Iterator[Sink]:
    with Sink(identity) as running:
        yield running


@pytest.fixture(scope="module")
def guard(
    start_unowned_guard: StartGuard, sink: Sink, fresh_folder: Callable[[], Path]
) -> Iterator[Guard]:
    with (
        clamd(fresh_folder()) as virus,
        rspamd(fresh_folder()) as spam,
        spamd(fresh_folder()) as other,
    ):
        text = (
            "version: 1\nquarantine: {folder: held}\nscanners:\n"
            f"  clam: {{type: clamd, address: {virus.unix!r}}}\n"
            f"  rspamd: {{type: rspamd, url: {spam.url!r}}}\n"
            f"  spamd: {{type: spamassassin, address: {other.address!r}}}\n"
            "policies:\n" + "".join(policies())
        )
        running = start_unowned_guard(sink.reverse, text)
        yield running
        assert running.stop() == 0
        assert "Traceback" not in running.log


def mail(wrapping: str) -> bytes:
    head = lines("From: a@out.example", f"Subject: {wrapping}")
    return head + mixed(TEXT_PART, WRAPPED[wrapping], TEXT_PART)


def recipient(number: int) -> str:
    return f"cell{number}@own.example"


@pytest.fixture(scope="module")
def replies(guard: Guard) -> dict[int, str]:
    def send(number: int) -> str:
        octets = mail(CELLS[number][0])
        return sent(guard, octets, recipient(number), number=number)

    with ThreadPoolExecutor(6) as pool:
        return dict(enumerate(pool.map(send, range(len(CELLS)))))


@pytest.mark.parametrize(
    "number", range(len(CELLS)), ids=["-".join(cell) for cell in CELLS]
)
def test_eicar(number: int, replies: dict[int, str], guard: Guard, sink: Sink) -> None:
    wrapping, action = CELLS[number]
    assert replies[number].startswith(REPLIES.get(action, "250 ")), replies[number]
    copies = [one.message for one in sink.copies.get(recipient(number), [])]
    came = mail(wrapping)
    if action in (*REPLIES, "discard"):
        assert copies == []
        return
    [arrived] = copies
    if action == "allow":
        assert arrived == came
        return
    part = WRAPPED[wrapping]
    assert part.rpartition(b"\r\n\r\n")[2] not in arrived
    before, _, after = came.partition(part)
    if wrapping == "rfc822":
        # The part within goes; what is around it stays.
        part = file(EICAR, "inner.dat")
        before, _, after = came.partition(part)
    assert arrived.startswith(before)
    assert arrived.endswith(after)
    assert EICAR_NAME.encode() in arrived.replace(b"=\r\n", b"")
    if action == "lock":
        assert b".clk" in arrived
    if action == "quarantine":
        [item] = held(guard, recipient(number))
        content = octets_of(guard, item["id"])
        assert EICAR in content or zipfile.is_zipfile(io.BytesIO(content))


def scored(score: float) -> bytes:
    head = ("From: a@out.example", f"X-Test-Spam-Score: {score}", "Subject: Hi", "")
    return lines(*head) + b"Hello\r\n"


@pytest.mark.parametrize(
    "cell", range(len(SPAM_CELLS)), ids=["-".join(cell) for cell in SPAM_CELLS]
)
def test_scores(cell: int, guard: Guard, sink: Sink) -> None:
    number, (category, action) = FIRST_SPAM + cell, SPAM_CELLS[cell]
    clean, spam = scored(SCORES["clean"]), scored(SCORES[category])
    to = recipient(number)
    assert sent(guard, clean, f"ham-{to}", number=number).startswith("250 ")
    assert [one.message for one in sink.copies[f"ham-{to}"]] == [clean]
    reply = sent(guard, spam, to, number=number)
    assert reply.startswith(SPAM_REPLIES.get(action, "250 ")), reply
    copies = [one.message for one in sink.copies.get(to, [])]
    if action == "allow":
        assert copies == [spam]
    elif action == "tag":
        word = b"***BULK***" if category == "bulk" else b"***SPAM***"
        field = f"X-SmtpGuard-Spam: {category}; rspamd={SCORES[category]:g}\r\n"
        wanted = spam.replace(b"Subject: ", b"Subject: " + word + b" ")
        assert copies == [field.encode() + wanted]
    else:
        assert copies == []
    kept = [octets_of(guard, item["id"]) for item in held(guard, to)]
    assert kept == ([spam] if action == "quarantine" else [])


@pytest.mark.parametrize("number", [ENGINES, ENGINES + 1], ids=["rspamd", "spamd"])
def test_gtube(number: int, guard: Guard, sink: Sink) -> None:
    mail = lines("From: a@out.example", "Subject: Hi", "") + GTUBE
    reply = sent(guard, mail, recipient(number), number=number)
    assert reply.startswith("571 5.7.1 Delivery not authorized, message refused")
    assert recipient(number) not in sink.copies


def behind_a_password(folder: Path) -> bytes:
    (folder / "report.txt").write_bytes(b"a report\n" * 100)
    command = [need("zip"), "-q", "-j", "-P", "secret", "locked.zip", "report.txt"]
    subprocess.run(command, cwd=folder, check=True, timeout=30)
    return (folder / "locked.zip").read_bytes()


def test_what_clamd_cannot_look_into_is_locked_and_unlocks(
    guard: Guard, sink: Sink, tmp_path: Path
) -> None:
    content = behind_a_password(tmp_path)
    head = lines("From: a@out.example", "Subject: locked")
    came = head + mixed(TEXT_PART, file(content, "locked.zip"))
    for number in (ENCRYPTED, ENCRYPTED + 1):
        assert sent(guard, came, recipient(number), number=number).startswith("250 ")
    [untouched] = sink.copies[recipient(ENCRYPTED + 1)]
    assert untouched.message == came
    [copy] = sink.copies[recipient(ENCRYPTED)]
    [container] = [
        part.get_payload(decode=True)
        for part in message_from_bytes(copy.message).walk()
        if str(part.get_filename()).endswith(".clk")
    ]
    (tmp_path / "locked.zip.clk").write_bytes(cast("bytes", container))
    done = subprocess.run(
        [sys.executable, str(UNLOCK), "locked.zip.clk", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "locked.zip").read_bytes() == content


def test_the_record_tells_what_was_found(guard: Guard, replies: dict[int, str]) -> None:
    found: list[Any] = []
    for flow in guard.wait_flows(len(CELLS)):
        record = read_record(flow)
        assert record is not None
        found += [one["findings"] for one in record.transactions]
    assert found.count([f"clam:infected:{EICAR_NAME}"]) >= len(CELLS)
