from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ScanError
from smtpguard.model.scan import Told
from smtpguard.model.verdict import Symbol, Verdict, VerdictKind
from smtpguard.scanners.base import guard
from smtpguard.scanners.spamassassin import (
    MAX_ANSWER,
    SpamAssassin,
    read_answer,
    told_fields,
)
from tests.integration.bed.spamd import SpamdServer, spamd
from tests.scanners.engines import (
    HAM,
    HOSTILE,
    Fake,
    answering,
    asked,
    cancelled,
    dripping,
    fake,
    full,
    hostile_told,
    nothing,
    resetting,
    subject,
    to_the_end,
    waiting,
)


MAX_SIZE = 64 << 20
NOW = datetime(2026, 10, 26, 10, 0, 0, tzinfo=UTC)

TOLD = Told(
    client="192.0.2.1",
    helo="mx.example.test",
    reverse_path="a@example.test",
    forward_paths=("b@example.test", "c@example.test"),
    authenticated=False,
    tls="TLSv1.3",
    id="5f3a.2",
)
SCORED = Verdict(
    "spam",
    VerdictKind.SCORED,
    score=7.5,
    symbols=(Symbol("A", 0.0), Symbol("GTUBE", 0.0)),
    said="spam",
)


def spamd_answer(
    spam: str = "True ; 7.5 / 5.0",
    names: bytes = b"A,GTUBE",
    status: str = "0 EX_OK",
    *fields: str,
) -> bytes:
    head = [f"SPAMD/1.1 {status}", f"Content-length: {len(names)}", f"Spam: {spam}"]
    return "\r\n".join([*head, *fields, "", ""]).encode() + names


def engine(made: Fake, max_size: int = MAX_SIZE) -> SpamAssassin:
    return SpamAssassin("spam", made.address, max_size)


# --------------------------------------------------------------------------- asking


def test_one_question_hands_over_the_message() -> None:
    message = b"Subject: x\r\n\r\n" + bytes(range(256)) * 1000
    with fake(answering(spamd_answer(), to_the_end)) as made:
        assert asked(engine(made), subject(message)) == SCORED
    size = len(message)
    head = b"SYMBOLS SPAMC/1.5\r\nContent-length: %d\r\n\r\n" % size
    assert made.questions == [head + message]


def test_the_envelope_is_told_before_the_message() -> None:
    with fake(answering(spamd_answer(), to_the_end)) as made:
        assert asked(engine(made), replace(HAM, told=TOLD)) == SCORED
    head, _, content = made.questions[0].partition(b"\r\n\r\n")
    assert head.endswith(b"Content-length: %d" % len(content))
    assert content.startswith(b"X-Envelope-From: <a@example.test>\r\n")
    assert content.endswith(b"\r\nSubject: hello\r\n\r\nhello\r\n")


def test_fields_that_are_told() -> None:
    assert told_fields(TOLD, NOW).decode("ascii").split("\r\n") == [
        "X-Envelope-From: <a@example.test>",
        "Return-Path: <a@example.test>",
        "Received: from unknown ([192.0.2.1] helo=mx.example.test)",
        "\tby smtpguard with ESMTPS id 5f3a.2 (envelope-from <a@example.test>);",
        "\tMon, 26 Oct 2026 10:00:00 +0000",
        "X-SmtpGuard-Id: 5f3a.2",
        "",
    ]
    assert told_fields(Told(), NOW).decode("ascii").split("\r\n") == [
        "X-Envelope-From: <>",
        "Return-Path: <>",
        "X-SmtpGuard-Id: unknown",
        "",
    ]


def test_an_empty_message_is_asked_about() -> None:
    with fake(answering(spamd_answer(), to_the_end)) as made:
        assert asked(engine(made), subject(b"")) == SCORED


def test_what_is_too_large_is_not_sent() -> None:
    with fake(answering(spamd_answer(), to_the_end)) as made:
        verdict = asked(engine(made, max_size=9), subject(b"0123456789"))
        assert verdict == Verdict("spam", VerdictKind.OVERSIZE)
        assert asked(engine(made, max_size=10), subject(b"0123456789")) == SCORED
    assert made.connections == 1


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_of_a_peer_ends_a_field(text: str) -> None:
    names = ["X-Envelope-From", "Return-Path", "Received", "X-SmtpGuard-Id"]
    for told in hostile_told(text):
        fields = told_fields(told, NOW)
        assert all(
            0x20 <= o < 0x7F
            for o in fields.replace(b"\r\n\t", b"  ")[:-2]
            if o not in b"\r\n"
        )
        parsed = message_from_bytes(fields + b"Subject: x\r\n\r\n")
        assert [name for name in parsed if name not in {*names, "Subject"}] == []
        assert len(parsed.keys()) == len(set(parsed.keys()))
        received = " ".join(str(parsed.get("Received", "")).split())
        if received:
            assert received.count("(") == received.count(")")
            assert " with ESMTP" in received
            assert "Authenticated" not in received.replace("%", " ").split()


@given(st.builds(Told, *[st.text(st.characters(exclude_categories=()))] * 3))
def test_any_told_text_is_lines_of_visible_ascii(told: Told) -> None:
    lines = told_fields(told, NOW).decode("ascii").split("\r\n")
    assert all(line.removeprefix("\t").isprintable() for line in lines)
    assert len(lines) <= 7


def test_octets_that_cannot_be_read_are_the_callers_error() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"Subject"
        raise OSError("gone")

    with (
        fake(answering(spamd_answer(), to_the_end)) as made,
        pytest.raises(OSError, match="gone"),
    ):
        asked(engine(made), replace(HAM, chunks=chunks))


@pytest.mark.parametrize("octets", [b"", b"x" * 1000])
def test_other_octets_than_announced_are_no_question(octets: bytes) -> None:
    with fake(answering(spamd_answer(), to_the_end)) as made:
        verdict = asked(engine(made), replace(HAM, chunks=lambda: iter([octets])))
    assert str(verdict).startswith("failed: ")


def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "spamd.sock"
    with fake(answering(spamd_answer(), to_the_end), path):
        assert asked(SpamAssassin("spam", f"unix:{path}", MAX_SIZE)) == SCORED
    verdict = str(asked(SpamAssassin("spam", f"unix:{path}", MAX_SIZE)))
    assert verdict == "unavailable: cannot connect: Connection refused"
    path.unlink()
    verdict = str(asked(SpamAssassin("spam", f"unix:{path}", MAX_SIZE)))
    assert verdict.startswith("unavailable: cannot connect: No such file")


def test_an_address_needs_a_port() -> None:
    for address in ("localhost", "localhost:", "localhost:spamd"):
        with pytest.raises(ValueError):
            SpamAssassin("spam", address, MAX_SIZE)


def test_ping() -> None:
    with fake(answering(b"SPAMD/1.5 0 PONG\r\n", to_the_end)) as made:
        asyncio.run(engine(made).ping())
    assert made.questions == [b"PING SPAMC/1.5\r\n\r\n"]
    for answer in (b"SPAMD/1.5 0 PANG\r\n", b"SPAMD/1.5 76 PONG\r\n", b"", b"PONG"):
        with (
            fake(answering(answer, to_the_end)) as made,
            pytest.raises(ScanError),
        ):
            asyncio.run(engine(made).ping())


def test_nothing_of_a_mail_is_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with fake(answering(spamd_answer(), to_the_end)) as made:
        asked(engine(made), subject(b"Subject: secret\r\n\r\nsecret", TOLD))
    with fake(answering(b"secret", to_the_end)) as made:
        asked(engine(made), subject(b"Subject: secret\r\n\r\nsecret", TOLD))
    assert not [line for line in caplog.messages if "secret" in line or "@" in line]
    out, err = capfd.readouterr()
    assert out + err == ""


def test_aiospamc_is_loaded_by_who_asks_alone() -> None:
    program = (
        "import sys, smtpguard.scanners.spamassassin as module\n"
        "module.SpamAssassin('spam', '127.0.0.1:783', 1)\n"
        "assert 'aiospamc' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        env={
            "PYTHONPATH": str(Path(__file__).parents[2] / "addons"),
        },
    )


# -------------------------------------------------------------------------- answers


def test_an_answer_may_come_octet_by_octet() -> None:
    with fake(dripping(spamd_answer(), to_the_end)) as made:
        assert asked(engine(made)) == SCORED


@pytest.mark.parametrize("end", [answering, resetting])
def test_an_answer_that_is_cut_anywhere_is_none(end: object) -> None:
    whole = spamd_answer()
    make = resetting if end is resetting else answering
    for size in range(len(whole)):
        with fake(make(whole[:size], to_the_end)) as made:
            assert str(asked(engine(made))).startswith("failed: "), size


def test_an_answer_without_symbols_that_is_cut_anywhere_is_none() -> None:
    whole = spamd_answer("False ; 0.0 / 5.0", b"")
    assert read_answer("spam", whole).symbols == ()
    for size in range(len(whole)):
        with pytest.raises(ScanError):
            read_answer("spam", whole[:size])


def test_a_question_that_is_not_read_has_failed() -> None:
    big = subject(b"x" * (8 << 20), piece=1 << 16)
    with fake(answering(b"", nothing)) as made:
        assert str(asked(engine(made), big)).startswith("failed: connection lost")
    with fake(answering(spamd_answer(), nothing)) as made:
        assert str(asked(engine(made), big)).startswith("failed: connection lost")


def test_an_answer_without_end_is_not_waited_for() -> None:
    def script(made: Fake, connection: socket.socket) -> None:
        to_the_end(connection)
        sent = 0
        while True:
            connection.sendall(b"Spam" * 10_000)
            sent += 40_000
            made.questions[:] = [b"%d" % sent]

    with fake(script) as made:
        verdict = asked(engine(made))
    assert verdict == f"failed: an answer of more than {MAX_ANSWER} octets"
    assert int(made.questions[0]) < (16 << 20)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "[::1]:1", "nowhere.invalid:783", "unix:/no/such"]
)
def test_who_is_not_there_is_unavailable(address: str) -> None:
    verdict = str(asked(SpamAssassin("spam", address, MAX_SIZE), seconds=30))
    assert verdict.startswith("unavailable: cannot connect")


def test_a_slow_answer_is_bounded_by_the_caller() -> None:
    with fake(waiting(b"SPAMD/", to_the_end)) as made:
        began = time.monotonic()
        verdict = asyncio.run(guard("spam", engine(made).scan(HAM), 0.3))
        assert 0.3 <= time.monotonic() - began < 2
    assert verdict.kind is VerdictKind.FAILED
    assert verdict.reason == "no answer in 0.3 s"


@pytest.mark.parametrize("size", [0, 10, 40])
def test_a_scan_cancelled_while_it_waits_leaves_nothing(size: int) -> None:
    with fake(waiting(spamd_answer()[:size], to_the_end)) as made:
        cancelled(engine(made), HAM, made)


def test_a_scan_cancelled_while_it_sends_leaves_nothing() -> None:
    def script(made: Fake, connection: socket.socket) -> None:
        time.sleep(0.5)
        to_the_end(connection)
        made.closed.set()

    with fake(script) as made:
        cancelled(engine(made), subject(b"x" * (32 << 20), piece=1 << 16), made)


def test_a_scan_cancelled_while_it_connects_leaves_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with full(address):
            gone = threading.Event()
            gone.set()
            made = Fake(f"127.0.0.1:{address[1]}", closed=gone)
            cancelled(engine(made), HAM, made)


def test_a_large_message_keeps_nobody_waiting() -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - began)

    async def scan() -> None:
        watching = asyncio.ensure_future(watch())
        big = subject(b"x" * (32 << 20), piece=8 << 20)
        await engine(made).scan(big)
        watching.cancel()

    def discard(connection: socket.socket) -> bytes:
        while connection.recv(1 << 16):
            pass
        return b""

    with fake(answering(spamd_answer(), discard)) as made:
        asyncio.run(scan())
    assert longest < 0.1


# -------------------------------------------------------------------------- reading


def test_an_answer_is_read() -> None:
    assert read_answer("spam", spamd_answer()) == SCORED
    ham = read_answer("spam", spamd_answer("False ; -1.5 / 5.0", b""))
    assert (ham.score, ham.symbols, ham.said) == (-1.5, (), "ham")


@pytest.mark.parametrize("code", [64, 69, 70, 74, 75, 76, 79, 99, -1])
def test_codes_of_failure_are_errors(code: int) -> None:
    answer = f"SPAMD/1.0 {code} Timeout: (300 s)\r\n".encode()
    with pytest.raises(ScanError, match=f"spamd says: {code} Timeout"):
        read_answer("spam", answer)
    with pytest.raises(ScanError, match=f"spamd says: {code} EX"):
        read_answer("spam", spamd_answer(status=f"{code} EX"))


@pytest.mark.parametrize(
    "spam",
    [
        "",
        "True",
        "True ; 7.5",
        "True ; 7.5 / ",
        "True ; nan / 5.0",
        "True ; inf / 5.0",
        "True ; -inf / 5.0",
        "True ; 7.5 / nan",
        "True ; 1e9 / 5.0",
        "Perhaps ; 7.5 / 5.0",
        "True ; 7.5 / 5.0 / 6.0",
        "True ; seven / five",
    ],
)
def test_a_score_that_is_none_is_refused(spam: str) -> None:
    with pytest.raises(ScanError):
        read_answer("spam", spamd_answer(spam))


@pytest.mark.parametrize(
    "names",
    [
        b"A,",
        b",",
        b"A,,B",
        b"A\0",
        b"A,\xc4",
        b"A,\x7f",
        b"x" * 201,
        b",".join(b"A%d" % number for number in range(1001)),
    ],
    ids=lambda names: repr(names[:10]),
)
def test_names_that_are_none_are_refused(names: bytes) -> None:
    with pytest.raises(ScanError):
        read_answer("spam", spamd_answer(names=names))


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\r\n",
        b"SPAMD/1.1 0 EX_OK\r\n",
        b"SPAMD/1.1 0 EX_OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nSpam: True ; 7.5 / 5.0\r\n\r\n",
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: 0\r\n\r\n",
        spamd_answer() + b"x",
        spamd_answer().replace(b"Spam:", b"spam:"),
        spamd_answer("True ; 7.5 / 5.0", b"A", "0 EX_OK", "Spam: False ; 0.0 / 5.0"),
        spamd_answer("True ; 7.5 / 5.0", b"A", "0 EX_OK", "spam: False ; 0.0 / 5.0"),
        spamd_answer("True ; 7.5 / 5.0", b"A", "0 EX_OK", "Content-length: 1"),
        spamd_answer("True ; 7.5 / 5.0", b"A", "0 EX_OK", "X: " + "x" * 5000),
        spamd_answer("True ; 7.5 / 5.0", b"A", "0 EX_OK", "\xc4: x"),
        spamd_answer().replace(b"length: 7", b"length: -7"),
        spamd_answer().replace(b"length: 7", b"length: " + b"7" * 4000),
    ],
    ids=lambda octets: repr(octets[:20]),
)
def test_other_octets_are_refused(octets: bytes) -> None:
    with pytest.raises(ScanError):
        read_answer("spam", octets)


def test_an_answer_of_many_lines_costs_nothing() -> None:
    lines = b"".join(b"X%d: y\r\n" % number for number in range(20_000))
    began = time.monotonic()
    with pytest.raises(ScanError):
        read_answer("spam", b"SPAMD/1.1 0 EX_OK\r\n" + lines + b"\r\n")
    assert time.monotonic() - began < 0.1


def read(octets: bytes) -> Verdict | None:
    try:
        return read_answer("spam", octets)
    except ScanError:
        return None


@given(st.binary())
def test_any_octets_are_no_answer(octets: bytes) -> None:
    assert read(octets) is None


@given(st.binary(), st.binary(), st.binary())
def test_any_fields_give_a_verdict_or_an_error(
    spam: bytes, field: bytes, names: bytes
) -> None:
    for head in (
        b"SPAMD/1.1 0 EX_OK\r\nContent-length: %d\r\nSpam: %b\r\n%b\r\n\r\n",
        b"SPAMD/1.1 %d EX_OK\r\nContent-length: %b\r\nSpam: %b\r\n\r\n",
        b"SPAMD/1.1 %d %b\r\n%b: 5\r\nSpam: True ; 7.5 / 5.0\r\n\r\n",
    ):
        read(head % (len(names), spam, field) + names)


@given(st.data())
def test_any_damage_gives_a_verdict_or_an_error(data: st.DataObject) -> None:
    octets = bytearray(spamd_answer())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(octets) - 1))
        octets[place] = data.draw(st.integers(0, 255))
    read(bytes(octets))


# ------------------------------------------------------------------------- the real


GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"

EXTERNAL = "X-Spam-Relays-External"
HEARD = {
    "IP4": (EXTERNAL, r"^\[ ip=192\.0\.2\.1 rdns= helo="),
    "IP6": (EXTERNAL, r"^\[ ip=2001:db8::1 rdns= helo="),
    "HELO": (EXTERNAL, r"^[^\]]+ helo=mx\.example\.test by=smtpguard "),
    "LITERAL": (EXTERNAL, r"^[^\]]+ helo=!10\.0\.0\.1! by=smtpguard "),
    "ID": (EXTERNAL, r"^[^\]]+ id=5f3a\.2 auth= "),
    "AUTH": ("X-Spam-Relays-Trusted", r"^\[ ip=192\.0\.2\.1 [^\]]+ auth=ESMTPSA "),
    "FROM": ("EnvelopeFrom", r"^a\@example\.test$"),
    "ANY_FROM": ("EnvelopeFrom", r"\@example\.test$"),
    "NULL": ("X-Envelope-From", r"^<>$"),
    "TLS": ("Received", r"by smtpguard with ESMTPS id "),
    "EVIL_FIELD": ("ALL", r"^X-Injected:"),
    "EVIL_ENVELOPE": ("EnvelopeFrom", r"\@evil"),
    "EVIL_RELAY": (EXTERNAL, r" (?:ip|rdns|helo|by)=(?:evil|10\.0\.0\.1)"),
    "TRUSTED": ("X-Spam-Relays-Trusted", r"ip="),
}
"""What a rule can tell of a message, as symbols ``TOLD_...`` that weigh nothing."""
RULES = "".join(
    f"header TOLD_{name} {field} =~ /{pattern}/m\nscore TOLD_{name} 0.001\n"
    for name, (field, pattern) in HEARD.items()
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpamdServer]:
    with spamd(tmp_path_factory.mktemp("spamd"), RULES) as started:
        yield started


@pytest.fixture
def real(server: SpamdServer) -> SpamAssassin:
    return SpamAssassin("spam", server.address, MAX_SIZE)


def scored(*fields: bytes, text: bytes = b"hello") -> bytes:
    return b"\r\n".join([b"Subject: hello", *fields, b"", text, b""])


def names(verdict: Verdict | str) -> set[str]:
    assert isinstance(verdict, Verdict)
    return {symbol.name.removeprefix("TOLD_") for symbol in verdict.symbols}


@pytest.mark.real
def test_real_ping(real: SpamAssassin) -> None:
    asyncio.run(real.ping())


@pytest.mark.real
def test_real_ham(real: SpamAssassin) -> None:
    verdict = asked(real, subject(scored()))
    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.score) == (VerdictKind.SCORED, 0.0)
    assert verdict.said == "ham"


@pytest.mark.real
@pytest.mark.parametrize("end", [b"\r\n", b""])
def test_real_gtube(real: SpamAssassin, end: bytes) -> None:
    # spamd waits for the end of a line that has none.
    verdict = asked(real, subject(scored(text=GTUBE).removesuffix(b"\r\n") + end))
    assert isinstance(verdict, Verdict)
    assert (verdict.score, verdict.said) == (1000.0, "spam")
    assert Symbol("GTUBE", 0.0) in verdict.symbols


@pytest.mark.real
@pytest.mark.parametrize(
    ("score", "said"), [(-3.0, "ham"), (1.0, "ham"), (5.0, "spam"), (7.5, "spam")]
)
def test_real_scores(real: SpamAssassin, score: float, said: str) -> None:
    verdict = asked(real, subject(scored(b"X-Test-Spam-Score: %g" % score)))
    assert isinstance(verdict, Verdict)
    assert (verdict.score, verdict.said) == (score, said)


TELLINGS = {
    "usual": (TOLD, {"IP4", "HELO", "ID", "FROM", "ANY_FROM", "TLS"}),
    "IPv6": (
        replace(TOLD, client="2001:db8::1"),
        {"IP6", "HELO", "ID", "FROM", "ANY_FROM", "TLS"},
    ),
    "authenticated": (
        replace(TOLD, authenticated=True),
        {"AUTH", "FROM", "ANY_FROM", "TRUSTED"},
    ),
    "literal": (
        replace(TOLD, helo="[10.0.0.1]"),
        {"IP4", "LITERAL", "ID", "FROM", "ANY_FROM", "TLS"},
    ),
    "null": (replace(TOLD, reverse_path=""), {"IP4", "HELO", "ID", "NULL", "TLS"}),
}


@pytest.mark.real
@pytest.mark.parametrize(("told", "met"), TELLINGS.values(), ids=TELLINGS)
def test_real_facts_arrive(real: SpamAssassin, told: Told, met: set[str]) -> None:
    verdict = asked(real, replace(HAM, told=told))
    assert names(verdict) == met


FORGED = {
    "fields": b"X-Envelope-From: <e@evil.test>\r\nReturn-Path: <e@evil.test>\r\n",
    "relay": b"Received: from evil ([10.0.0.1]) by evil with ESMTP"
    b" (envelope-from e@evil)\r\nX-Envelope-From: <e@evil.test>\r\n",
    "continued": b" ([10.0.0.1] helo=evil) by evil with ESMTPA"
    b" (envelope-from e@evil)\r\n",
    "date": b"\t; evil\r\n",
}


@pytest.mark.real
@pytest.mark.parametrize("begin", FORGED.values(), ids=FORGED)
def test_real_senders_do_not_speak_for_us(real: SpamAssassin, begin: bytes) -> None:
    content = begin + b"Subject: hello\r\n\r\nhello\r\n"
    verdict = asked(real, subject(content, TOLD))
    # What a Received field of the sender's says is behind ours.
    assert names(verdict) - {"EVIL_RELAY"} == TELLINGS["usual"][1]


@pytest.mark.real
@pytest.mark.parametrize("text", [*HOSTILE, "mail.Exim.test", "EHLO", "by"], ids=ascii)
def test_real_hostile_peers_are_read_as_they_are(real: SpamAssassin, text: str) -> None:
    path = f"{text[:100]}@example.test"
    told = replace(TOLD, reverse_path=path, helo=text, id=text)
    verdict = asked(real, replace(HAM, told=told))
    assert names(verdict) == {"IP4", "ANY_FROM", "TLS"}


@pytest.mark.real
def test_real_large_message(real: SpamAssassin) -> None:
    text = b"words of no weight\r\n" * 50_000
    assert isinstance(asked(real, subject(scored(text=text)), 30), Verdict)


@pytest.mark.real
def test_real_many_at_once(real: SpamAssassin) -> None:
    async def ask() -> list[Verdict]:
        message = subject(scored(b"X-Test-Spam-Score: 7.5"))
        return await asyncio.gather(*(real.scan(message) for _ in range(20)))

    assert {verdict.score for verdict in asyncio.run(ask())} == {7.5}


@pytest.mark.real
def test_real_server_gone_and_back(real: SpamAssassin, server: SpamdServer) -> None:
    async def ask() -> Verdict:
        task = asyncio.ensure_future(guard("spam", real.scan(HAM), 15))
        await asyncio.sleep(0.5)
        server.kill()
        return await task

    server.freeze()
    assert asyncio.run(ask()).kind is VerdictKind.FAILED
    assert str(asked(real)).startswith("unavailable: cannot connect")
    server.restart()
    assert isinstance(asked(real), Verdict)
