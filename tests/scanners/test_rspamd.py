from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ScanError
from smtpguard.model.scan import Told
from smtpguard.model.verdict import Symbol, Verdict, VerdictKind
from smtpguard.scanners.base import guard
from smtpguard.scanners.rspamd import MAX_ANSWER, Rspamd, read_answer, told_fields
from tests.integration.bed import certificates
from tests.integration.bed.need import need
from tests.integration.bed.rspamd import RspamdServer, rspamd
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
    http_request,
    nothing,
    resetting,
    subject,
    waiting,
)


MAX_SIZE = 64 << 20

SAID = {
    "is_skipped": False,
    "score": 7.5,
    "required_score": 15.0,
    "action": "add header",
    "symbols": {"A": {"name": "A", "score": 7.5, "metric_score": 1.0, "options": []}},
    "messages": {},
    "message-id": "undef",
}
SCORED = Verdict(
    "spam",
    VerdictKind.SCORED,
    score=7.5,
    symbols=(Symbol("A", 7.5),),
    said="add header",
)
GTUBE_SAID = (
    b'{"is_skipped":true,"score":15.0,"required_score":15.0,"action":"reject",'
    b'"symbols":{"GTUBE":{"name":"GTUBE","score":0.0,"metric_score":0.0}},'
    b'"messages":{"smtp_message":"Gtube pattern"},"message-id":"undef"}'
)
TOLD = Told(
    client="192.0.2.1",
    helo="mx.example.test",
    reverse_path="a@example.test",
    forward_paths=("b@example.test", "c@example.test"),
    authenticated=True,
    tls="TLSv1.3",
    id="5f3a.2",
)


def body(**changes: object) -> bytes:
    return json.dumps({**SAID, **changes}).encode()


def http(content: bytes, status: str = "200 OK", *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", *fields]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + content


def chunked(content: bytes, piece: int) -> bytes:
    out = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for start in range(0, len(content), piece):
        part = content[start : start + piece]
        out += b"%x\r\n%b\r\n" % (len(part), part)
    return out + b"0\r\n\r\n"


def engine(made: Fake, max_size: int = MAX_SIZE) -> Rspamd:
    return Rspamd("spam", f"http://{made.address}", max_size)


# --------------------------------------------------------------------------- asking


def test_one_question_hands_over_the_message() -> None:
    message = b"Subject: x\r\n\r\n" + bytes(range(256)) * 1000
    with fake(answering(http(body()), http_request)) as made:
        assert asked(engine(made), subject(message, TOLD)) == SCORED
    [question] = made.questions
    head, _, content = question.partition(b"\r\n\r\n")
    assert content == message
    assert head.decode().split("\r\n") == [
        "POST /checkv2 HTTP/1.1",
        f"Host: {made.address}",
        "Connection: close",
        f"Content-Length: {len(message)}",
        "From: <a@example.test>",
        "Rcpt: <b@example.test>",
        "Rcpt: <c@example.test>",
        "IP: 192.0.2.1",
        "Helo: mx.example.test",
        "User: authenticated",
        "TLS-Version: TLSv1.3",
        "Queue-Id: 5f3a.2",
    ]


def test_nothing_is_told_of_what_is_unknown() -> None:
    assert told_fields(Told()) == [("From", "<>")]


def test_an_empty_message_is_asked_about() -> None:
    with fake(answering(http(body()), http_request)) as made:
        assert asked(engine(made), subject(b"")) == SCORED


def test_what_is_too_large_is_not_sent() -> None:
    with fake(answering(http(body()), http_request)) as made:
        verdict = asked(engine(made, max_size=9), subject(b"0123456789"))
        assert verdict == Verdict("spam", VerdictKind.OVERSIZE)
        assert asked(engine(made, max_size=10), subject(b"0123456789")) == SCORED
    assert made.connections == 1


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_of_a_peer_ends_a_field(text: str) -> None:
    known = {"from", "rcpt", "ip", "helo", "user", "tls-version", "queue-id"}
    known |= {"host", "connection", "content-length"}
    with fake(answering(http(body()), http_request)) as made:
        for told in hostile_told(text):
            assert asked(engine(made), replace(HAM, told=told)) == SCORED
    for question in made.questions:
        head, _, content = question.partition(b"\r\n\r\n")
        assert content == b"Subject: hello\r\n\r\nhello\r\n"
        assert all(0x20 <= octet < 0x7F for octet in head.replace(b"\r\n", b""))
        for line in head.decode().split("\r\n")[1:]:
            name, _, value = line.partition(": ")
            assert name.lower() in known
            assert value


@given(st.builds(Told, *[st.text(st.characters(exclude_categories=()))] * 3))
def test_any_told_text_is_visible_ascii(told: Told) -> None:
    for _, value in told_fields(told):
        assert value.isascii()
        assert value.isprintable()


def test_recipients_are_told_up_to_a_bound() -> None:
    paths = tuple(f"user{number}@example.test" for number in range(10_000))
    fields = told_fields(Told(forward_paths=paths))
    recipients = [value for name, value in fields if name == "Rcpt"]
    assert recipients == [f"<{path}>" for path in paths[: len(recipients)]]
    assert 1000 < len(recipients) < 1500


def test_octets_that_cannot_be_read_are_the_callers_error() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"Subject"
        raise OSError("gone")

    with (
        fake(answering(http(body()), http_request)) as made,
        pytest.raises(OSError, match="gone"),
    ):
        asked(engine(made), replace(HAM, chunks=chunks))


@pytest.mark.parametrize("octets", [b"", b"x" * 1000])
def test_other_octets_than_announced_are_no_question(octets: bytes) -> None:
    with fake(answering(http(body()), http_request)) as made:
        verdict = asked(engine(made), replace(HAM, chunks=lambda: iter([octets])))
    assert str(verdict).startswith("failed: ")


def test_a_path_before_the_command_is_kept() -> None:
    with fake(answering(http(body()), http_request)) as made:
        scanner = Rspamd("spam", f"http://{made.address}/rspamd/", MAX_SIZE)
        assert asked(scanner) == SCORED
    assert made.questions[0].startswith(b"POST /rspamd/checkv2 HTTP/1.1\r\n")


def test_a_unix_socket_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "rspamd.sock"
    with fake(answering(http(body()), http_request), path):
        assert asked(Rspamd("spam", f"unix:{path}", MAX_SIZE)) == SCORED
    assert str(asked(Rspamd("spam", f"unix:{path}", MAX_SIZE))).startswith(
        "unavailable: cannot connect"
    )


def test_proxies_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with fake(answering(http(body()), http_request)) as made:
        assert asked(engine(made)) == SCORED


def test_ping() -> None:
    with fake(answering(http(b"pong\r\n"), http_request)) as made:
        asyncio.run(engine(made).ping())
    assert made.questions[0].startswith(b"GET /ping HTTP/1.1\r\n")
    with (
        fake(answering(http(b"pang\r\n"), http_request)) as made,
        pytest.raises(ScanError, match="pang"),
    ):
        asyncio.run(engine(made).ping())


def test_nothing_of_a_mail_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with fake(answering(http(body()), http_request)) as made:
        asked(engine(made), subject(b"Subject: secret\r\n\r\nsecret", TOLD))
    assert not [line for line in caplog.messages if "secret" in line or "@" in line]
    assert not [each for each in caplog.records if each.name.startswith("http")]


# -------------------------------------------------------------------------- answers


def test_an_answer_may_come_octet_by_octet() -> None:
    with fake(dripping(http(body()), http_request)) as made:
        assert asked(engine(made)) == SCORED


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_an_answer_may_come_in_chunks(piece: int) -> None:
    with fake(answering(chunked(body(), piece), http_request)) as made:
        assert asked(engine(made)) == SCORED


def test_an_answer_may_end_with_its_connection() -> None:
    answer = b"HTTP/1.0 200 OK\r\n\r\n" + body()
    with fake(answering(answer, http_request)) as made:
        assert asked(engine(made)) == SCORED


@pytest.mark.parametrize("end", [answering, resetting])
@pytest.mark.parametrize(
    "whole",
    [http(body()), chunked(body(), 50), b"HTTP/1.0 200 OK\r\n\r\n" + body()],
    ids=["length", "chunked", "neither"],
)
def test_an_answer_that_is_cut_anywhere_is_none(whole: bytes, end: object) -> None:
    make = resetting if end is resetting else answering
    for size in range(0, len(whole), 3):
        with fake(make(whole[:size], http_request)) as made:
            assert str(asked(engine(made))).startswith("failed: "), size


def test_a_question_that_is_not_read_has_failed() -> None:
    big = subject(b"x" * (8 << 20), piece=1 << 16)
    with fake(answering(b"", nothing)) as made:
        assert str(asked(engine(made), big)).startswith("failed: ")
    # An answer before the end of the question counts, as of a proxy that wants no more.
    with fake(waiting(http(b"{}", "413 Too Large"), lambda c: c.recv(1))) as made:
        assert str(asked(engine(made), big)).startswith("failed: ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(body(), "404 Not Found"), "failed: HTTP status 404 Not Found"),
        (http(body(), "500 broken"), "failed: HTTP status 500 broken"),
        (http(body(), "204 No Content"), "failed: "),
        (http(body(), "503 Later"), "unavailable: HTTP status 503 Later"),
        (b"HTTP/1.1 101 Upgrade\r\n\r\n", "failed: "),
        (b"SPAMD/1.1 0 EX_OK\r\n\r\n", "failed: "),
        (b"\0" * 100_000, "failed: "),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, "failed: "),
        (http(body(), "200 OK", "Content-Encoding: gzip"), "failed: an answer in an"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "failed: "),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
            "failed: ",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
            "failed: ",
        ),
    ],
)
def test_what_is_no_answer(answer: bytes, said: str) -> None:
    with fake(answering(answer, http_request)) as made:
        assert str(asked(engine(made))).startswith(said)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Over", "308 There"])
def test_redirects_are_not_followed(status: str) -> None:
    with fake(answering(http(body()), http_request)) as elsewhere:
        location = f"Location: http://{elsewhere.address}/checkv2"
        with fake(answering(http(b"", status, location), http_request)) as made:
            verdict = str(asked(engine(made)))
    assert verdict.startswith(f"failed: HTTP status {status}")
    assert elsewhere.connections == 0


def test_interim_answers_are_passed_over() -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" + http(body())
    with fake(answering(answer, http_request)) as made:
        assert asked(engine(made)) == SCORED


def test_four_gigabytes_are_not_waited_for() -> None:
    def script(made: Fake, connection: socket.socket) -> None:
        http_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4294967296\r\n\r\n")
        sent = 0
        while True:
            connection.sendall(b" " * 65536)
            sent += 65536
            made.questions[:] = [b"%d" % sent]

    with fake(script) as made:
        verdict = asked(engine(made))
    assert verdict == f"failed: an answer of more than {MAX_ANSWER} octets"
    assert int(made.questions[0]) < 4 * MAX_ANSWER


def test_an_answer_as_long_as_may_be_is_read() -> None:
    content = body(urls=["x" * (MAX_ANSWER - len(body(urls=[""])))])
    assert len(content) == MAX_ANSWER
    with fake(answering(http(content), http_request)) as made:
        assert asked(engine(made)) == SCORED


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1", "http://[::1]:1", "http://nowhere.invalid:11333"]
)
def test_who_is_not_there_is_unavailable(address: str) -> None:
    verdict = str(asked(Rspamd("spam", address, MAX_SIZE), seconds=30))
    assert verdict.startswith("unavailable: cannot connect")


def test_a_slow_answer_is_bounded_by_the_caller() -> None:
    with fake(waiting(http(body())[:60], http_request)) as made:
        began = time.monotonic()
        verdict = asyncio.run(guard("spam", engine(made).scan(HAM), 0.3))
        assert 0.3 <= time.monotonic() - began < 2
    assert verdict.kind is VerdictKind.FAILED
    assert verdict.reason == "no answer in 0.3 s"


@pytest.mark.parametrize("size", [0, 10, 40, 200])
def test_a_scan_cancelled_while_it_waits_leaves_nothing(size: int) -> None:
    with fake(waiting(http(body())[:size], http_request)) as made:
        cancelled(engine(made), HAM, made)


def test_a_scan_cancelled_while_it_sends_leaves_nothing() -> None:
    def script(made: Fake, connection: socket.socket) -> None:
        time.sleep(0.5)
        with suppress(ConnectionError):
            while connection.recv(1 << 20):
                pass
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


# ------------------------------------------------------------------------------ TLS


@pytest.mark.parametrize("trusted", [True, False])
def test_certificates_are_verified(
    trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("openssl")
    authority = certificates.make_authority(tmp_path / "ca")
    identity = authority.issue("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)

    def script(made: Fake, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            answering(http(body()), http_request)(made, wrapped)

    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with fake(script) as made:
        verdict = asked(Rspamd("spam", f"https://{made.address}", MAX_SIZE))
    if trusted:
        assert verdict == SCORED
    else:
        assert str(verdict).startswith("unavailable: cannot connect: [SSL: CERT")


# -------------------------------------------------------------------------- reading


def test_the_answer_to_gtube_is_a_verdict() -> None:
    verdict = read_answer("spam", GTUBE_SAID)
    assert (verdict.score, verdict.said) == (15.0, "reject")
    assert verdict.symbols == (Symbol("GTUBE", 0.0),)


@pytest.mark.parametrize(
    "changes",
    [
        {"error": "no message", "is_skipped": True},
        {"error": None},
        {"is_skipped": 1},
        {"is_skipped": "true"},
        {"score": None},
        {"score": "7.5"},
        {"score": True},
        {"score": 1e9},
        {"score": 10**400},
        {"score": [7.5]},
        {"action": None},
        {"action": ""},
        {"action": 5},
        {"action": "reject\r\nX: y"},
        {"action": "\xfc"},
        {"action": "x" * 201},
        {"symbols": None},
        {"symbols": []},
        {"symbols": [{"name": "A", "score": 1}]},
        {"symbols": {"A": 1}},
        {"symbols": {"A": None}},
        {"symbols": {"A": {}}},
        {"symbols": {"A": {"score": None}}},
        {"symbols": {"A": {"score": True}}},
        {"symbols": {"A": {"score": "1"}}},
        {"symbols": {"A": {"name": "B", "score": 1}}},
        {"symbols": {"A": {"name": ["A"], "score": 1}}},
        {"symbols": {"": {"score": 1}}},
        {"symbols": {"A\n": {"score": 1}}},
        {"symbols": {"\xc4": {"score": 1}}},
        {"symbols": {"x" * 201: {"score": 1}}},
        {"symbols": {f"A{number}": {"score": 1} for number in range(1001)}},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_an_answer_of_another_shape_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ScanError):
        read_answer("spam", body(**changes))


@pytest.mark.parametrize("key", ["score", "action", "symbols"])
def test_an_answer_that_lacks_something_is_refused(key: str) -> None:
    left = {name: value for name, value in SAID.items() if name != key}
    for changed in (left, {**left, "is_skipped": True}):
        with pytest.raises(ScanError):
            read_answer("spam", json.dumps(changed).encode())


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"null",
        b"[]",
        b"7.5",
        b'"reject"',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        body().replace(b"7.5", b"NaN"),
        body().replace(b"7.5", b"Infinity"),
        body().replace(b"7.5", b"-Infinity"),
        body().replace(b"7.5", b"1e999"),
        body().replace(b"7.5", b"9" * 5000),
        body().replace(b'"is_skipped"', b'"score": 0, "is_skipped"'),
        body().replace(b'"options"', b'"score": 0, "options"'),
        body() + b"{}",
        body()[:-1],
        b"\xef\xbb\xbf" + body(),
        body().decode().encode("utf-16"),
    ],
    ids=lambda octets: repr(octets[:20]),
)
def test_other_octets_are_refused(octets: bytes) -> None:
    with pytest.raises(ScanError):
        read_answer("spam", octets)


def test_what_a_sender_wrote_spoils_no_answer() -> None:
    urls = b'"urls": ["\xff\x01\n", "\\ud800", "\xe2\x82"], "messages"'
    assert read_answer("spam", body().replace(b'"messages"', urls)) == SCORED
    unset = body().replace(b"15.0", b"NaN")
    assert read_answer("spam", unset) == SCORED


def read(octets: bytes) -> Verdict | None:
    try:
        return read_answer("spam", octets)
    except ScanError:
        return None


@given(st.binary())
def test_any_octets_are_no_answer(octets: bytes) -> None:
    assert read(octets) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.sampled_from([*SAID, "error", "x"]), JSON)
def test_any_value_gives_a_verdict_or_an_error(key: str, value: object) -> None:
    verdict = read(body(**{key: value}))
    if verdict is not None:
        assert verdict.kind is VerdictKind.SCORED
        assert isinstance(verdict.score, float)
        assert verdict.said.isprintable()


@given(st.data())
def test_any_damage_gives_a_verdict_or_an_error(data: st.DataObject) -> None:
    octets = bytearray(body())
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(octets) - 1))
        octets[place] = data.draw(st.integers(0, 255))
    read(bytes(octets))


# ------------------------------------------------------------------------- the real


GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RspamdServer]:
    with rspamd(tmp_path_factory.mktemp("rspamd")) as started:
        yield started


@pytest.fixture
def real(server: RspamdServer) -> Rspamd:
    return Rspamd("spam", server.url, MAX_SIZE)


def scored(*fields: bytes, text: bytes = b"hello") -> bytes:
    return b"\r\n".join([b"Subject: hello", *fields, b"", text, b""])


@pytest.mark.real
def test_real_ping(real: Rspamd) -> None:
    asyncio.run(real.ping())


@pytest.mark.real
def test_real_ham(real: Rspamd) -> None:
    verdict = asked(real, subject(scored()))
    assert verdict == Verdict("spam", VerdictKind.SCORED, score=0.0, said="no action")


@pytest.mark.real
def test_real_gtube(real: Rspamd) -> None:
    verdict = asked(real, subject(scored(text=GTUBE)))
    assert verdict == Verdict(
        "spam",
        VerdictKind.SCORED,
        score=15.0,
        symbols=(Symbol("GTUBE", 0.0),),
        said="reject",
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("score", "said"),
    [(-3.0, "no action"), (4.5, "greylist"), (7.5, "add header"), (99.0, "reject")],
)
def test_real_scores(real: Rspamd, score: float, said: str) -> None:
    verdict = asked(real, subject(scored(b"X-Test-Spam-Score: %.1f" % score)))
    assert isinstance(verdict, Verdict)
    assert (verdict.score, verdict.said) == (score, said)
    assert verdict.symbols == (Symbol("TEST_SCORE", score),)


@pytest.mark.real
def test_real_facts_arrive(real: Rspamd, server: RspamdServer) -> None:
    message = scored()
    assert isinstance(asked(real, subject(message, TOLD)), Verdict)
    assert server.told()[-1] == {
        "from": "a@example.test",
        "rcpts": ["b@example.test", "c@example.test"],
        "ip": "192.0.2.1",
        "helo": "mx.example.test",
        "user": "authenticated",
        "tls": "TLSv1.3",
        "id": "5f3a.2",
        "size": len(message),
    }


@pytest.mark.real
@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_real_hostile_senders_are_known(
    real: Rspamd, server: RspamdServer, text: str
) -> None:
    path = f"{text[:100]}@example.test"
    told = replace(TOLD, reverse_path=path, forward_paths=(path, "b@example.test"))
    assert isinstance(asked(real, replace(HAM, told=told)), Verdict)
    heard = server.told()[-1]
    assert heard["from"].endswith("@example.test")
    assert heard["rcpts"] == [heard["from"], "b@example.test"]


@pytest.mark.real
def test_real_null_reverse_path(real: Rspamd, server: RspamdServer) -> None:
    asked(real, replace(HAM, told=Told(client="2001:db8::1")))
    assert server.told()[-1]["from"] == ""
    assert server.told()[-1]["ip"] == "2001:db8::1"


@pytest.mark.real
def test_real_as_many_recipients_as_are_told(
    real: Rspamd, server: RspamdServer
) -> None:
    paths = tuple(f"{'x' * 40}{number}@example.test" for number in range(1000))
    told = Told(forward_paths=paths)
    assert isinstance(asked(real, replace(HAM, told=told)), Verdict)
    said = [name for name, _ in told_fields(told) if name == "Rcpt"]
    assert len(server.told()[-1]["rcpts"]) == len(said)


@pytest.mark.real
def test_real_urls_beyond_number_are_answered_within_bounds(real: Rspamd) -> None:
    host = b".".join([b"x" * 55] * 4)
    urls = b"".join(b"http://%b%05d.test/\r\n" % (host, n) for n in range(20_000))
    assert isinstance(asked(real, subject(scored(text=urls)), 30), Verdict)


@pytest.mark.real
def test_real_many_at_once(real: Rspamd) -> None:
    async def ask() -> list[Verdict]:
        message = subject(scored(b"X-Test-Spam-Score: 7.5"))
        return await asyncio.gather(*(real.scan(message) for _ in range(100)))

    assert {verdict.score for verdict in asyncio.run(ask())} == {7.5}


@pytest.mark.real
def test_real_server_gone_and_back(real: Rspamd, server: RspamdServer) -> None:
    async def ask() -> Verdict:
        slow = subject(scored(b"X-Test-Wait: 20"))
        task = asyncio.ensure_future(guard("spam", real.scan(slow), 15))
        await asyncio.sleep(0.5)
        server.kill()
        return await task

    assert asyncio.run(ask()).kind is VerdictKind.FAILED
    assert str(asked(real)).startswith("unavailable: cannot connect")
    server.restart()
    assert isinstance(asked(real), Verdict)
