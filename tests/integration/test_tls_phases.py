"""Where TLS may begin and where not (T5, T7), and octets of the one phase in the other.

Raw sockets around a live mitmdump, as in ``test_tls_upgrade``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.gateway import (
    BYE,
    INNER,
    MAIL,
    NAME,
    OUTER,
    READY,
    RECIPIENT,
    Gateway,
    cut_everywhere,
    deliver,
    run_gateway,
)
from tests.integration.raw import connect
from tests.integration.sink import Arrived


if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.bed.certificates import Identity
    from tests.integration.conftest import StartGuard
    from tests.integration.raw import Wire


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

NOISE = b"500 5.5.1 Command unrecognised\r\n"
BARE = b"500 5.5.2 Bare CR, LF or NUL in a line\r\n"
OUT_OF_PLACE = "503 5.5.1 Bad sequence of commands"
RECORDS = {
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "an alert and a line end": b"\x15\x03\x01\x01\x01\x02\x28\r\n",
    "application data": b"\x17\x03\x03\x01\x01" + b"x" * 257 + b"\r\n",
    "an empty record": b"\x16\x03\x01\x00\x00",
    "an SSL 2 hello": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80",
}
# The octets of a TLS record that a text may have: no CR, LF, NUL.
LIKE_A_RECORD = (
    b"\x16\x03\x01\x02\x01\x01\xff\x01\xfc\x03\x03" + b"\x80" * 513 + b"\r\n"
)


@pytest.fixture(scope="module")
def gate(identity: Identity, start_unowned_guard: StartGuard) -> Iterator[Gateway]:
    yield from run_gateway("required", identity, start_unowned_guard)


@pytest.fixture(autouse=True)
def ordinary(gate: Gateway) -> Iterator[None]:
    """Each test finds an ordinary server, with no mail in it."""
    gate.sink.copies.clear()
    yield
    gate.sink.behave()


def begun(leg: str, gate: Gateway, wire: Wire) -> list[bytes]:
    """Take a greeted session into TLS if ``leg`` says so; what the upstream heard."""
    if leg == "in clear":
        return [OUTER]
    assert wire.ask(b"STARTTLS") == READY
    wire.start_tls(gate.context(), NAME)
    assert wire.ask(INNER).startswith("250-")
    return [OUTER, INNER]


LEGS = pytest.mark.parametrize("leg", ["in clear", "in TLS"])


def test_t5_starttls_is_offered_in_clear_and_not_in_tls(gate: Gateway) -> None:
    with gate.client(b"") as wire:
        offered = wire.ask(OUTER).replace("-", " ").split("\n")
        assert "250 STARTTLS" in offered
        assert wire.ask(b"STARTTLS") == READY
        wire.start_tls(gate.context(), NAME)
        within = wire.ask(INNER).replace("-", " ").split("\n")
        assert "250 STARTTLS" not in within
        assert set(offered) - set(within) == {"250 STARTTLS"}
        assert wire.ask(BYE).startswith("221 ")


def test_t5_a_second_starttls_is_out_of_place_and_harms_nothing(gate: Gateway) -> None:
    number = gate.number
    with gate.client() as wire:
        heard = begun("in TLS", gate, wire)
        assert wire.ask(b"STARTTLS") == OUT_OF_PLACE
        deliver(wire)
    session = gate.upstream(number)
    assert session.clear == [OUTER, b"STARTTLS"]
    assert session.secure == [*heard, *MAIL, BYE]


@pytest.mark.parametrize("commands", [1, 2], ids=["after MAIL", "after RCPT"])
def test_t5_starttls_within_a_transaction_is_out_of_place(
    commands: int, gate: Gateway
) -> None:
    number = gate.number
    with gate.client() as wire:
        for line in MAIL[:commands]:
            assert wire.ask(line).startswith("250 ")
        assert wire.ask(b"STARTTLS") == OUT_OF_PLACE
        assert wire.ask(b"RSET") == "250 2.0.0 OK"
        assert wire.ask(b"STARTTLS") == READY
        wire.start_tls(gate.context(), NAME)
        deliver(wire)
    session = gate.upstream(number)
    assert session.secure == [OUTER, *MAIL[:commands], b"RSET", INNER, *MAIL, BYE]


def test_t5_nothing_said_in_clear_counts_in_tls(gate: Gateway) -> None:
    """RFC 3207 4.2: the client has to greet again."""
    number = gate.number
    with gate.client() as wire:
        assert wire.ask(b"STARTTLS") == READY
        wire.start_tls(gate.context(), NAME)
        assert wire.ask(MAIL[0]) == OUT_OF_PLACE
        assert wire.ask(MAIL[1]) == OUT_OF_PLACE
        assert wire.ask(MAIL[2]) == OUT_OF_PLACE
        deliver(wire)
    assert gate.upstream(number).secure == [OUTER, INNER, *MAIL, BYE]


@LEGS
def test_t5_starttls_in_a_message_is_text(leg: str, gate: Gateway) -> None:
    number = gate.number
    text = b"Subject: no command\r\n\r\nSTARTTLS\r\n220 go\r\n" + LIKE_A_RECORD
    with gate.client() as wire:
        begun(leg, gate, wire)
        deliver(wire, text)
    assert gate.sink.copies == {RECIPIENT: [Arrived(text, "DATA")]}
    assert gate.upstream(number).secure == [OUTER, INNER, *MAIL, BYE]


@LEGS
def test_t7_a_message_that_begins_like_a_tls_record_is_text(
    leg: str, gate: Gateway
) -> None:
    with gate.client() as wire:
        begun(leg, gate, wire)
        deliver(wire, LIKE_A_RECORD)
    assert gate.sink.copies == {RECIPIENT: [Arrived(LIKE_A_RECORD, "DATA")]}


@LEGS
def test_t7_a_clienthello_as_message_is_refused_for_its_nul(
    leg: str, gate: Gateway
) -> None:
    with gate.client() as wire:
        begun(leg, gate, wire)
        assert [wire.ask(line)[:3] for line in MAIL] == ["250", "250", "354"]
        wire.send(gate.hello() + b"\r\n.\r\n")
        assert wire.reply() == "550 5.6.0 Bare CR, LF or NUL in the message"
        deliver(wire)
    assert len(gate.sink.copies[RECIPIENT]) == 1


@LEGS
def test_t7_a_clienthello_as_binary_chunk_arrives_as_it_is(
    leg: str, gate: Gateway
) -> None:
    number = gate.number
    hello = gate.hello()
    chunk = b"BDAT %d LAST" % len(hello)
    begin = (MAIL[0] + b" BODY=BINARYMIME", MAIL[1])
    with gate.client() as wire:
        heard = begun(leg, gate, wire)
        assert [wire.ask(line)[:3] for line in begin] == ["250", "250"]
        wire.send(chunk + b"\r\n" + hello)
        assert wire.reply() == "250 2.0.0 kept"
        assert wire.ask(BYE).startswith("221 ")
    assert gate.sink.copies == {RECIPIENT: [Arrived(hello, "BDAT")]}
    assert gate.upstream(number).secure == [*heard, *begin, chunk, BYE]


@pytest.mark.parametrize("first", [b"", OUTER], ids=["before EHLO", "after EHLO"])
def test_a_clienthello_in_the_clear_phase_ends_the_session(
    first: bytes, gate: Gateway
) -> None:
    for pieces in cut_everywhere(gate.hello()):
        number = gate.number
        with gate.client(first) as wire:
            if b"\0" not in pieces[0]:
                wire.send_apart(*pieces)
            else:  # that is enough for an end; the reply would be lost in a reset
                wire.send(pieces[0])
            assert wire.rest() in {NOISE, BARE}
        session = gate.upstream(number)
        assert session.clear == ([OUTER, b"STARTTLS"] if first else [BYE])
        assert session.secure == ([OUTER, BYE] if first else [])


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_another_tls_record_in_the_clear_phase_ends_the_session(
    record: bytes, gate: Gateway
) -> None:
    number = gate.number
    with gate.client() as wire:
        wire.send(record)
        assert wire.rest() in {NOISE, BARE}
    assert gate.upstream(number).secure == [OUTER, BYE]


def test_clear_octets_of_the_client_within_tls_end_the_session(gate: Gateway) -> None:
    for pieces in cut_everywhere(b"MAIL FROM:<evil@evil.example>\r\n"):
        number = gate.number
        with gate.client() as wire:
            begun("in TLS", gate, wire)
            for piece in pieces:
                wire.sock.sendall(piece)
            assert wire.rest() == b""
        assert gate.upstream(number).secure == [OUTER, INNER, BYE]


def test_clear_octets_of_the_upstream_within_tls_cost_it_the_session(
    gate: Gateway,
) -> None:
    number = gate.number
    gate.sink.past_tls = b"250 injected\r\n"
    with gate.client() as wire:
        assert wire.ask(MAIL[0]) == "451 4.4.2 Connection to next server lost"
        gate.upstream(number)
        assert wire.ask(BYE).startswith("221 ")
        assert wire.rest() == b""
    assert gate.sink.sessions[number].secure == [OUTER, MAIL[0]]


SERVER_RECORD = b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00"


@pytest.mark.parametrize(
    "greeting",
    [
        SERVER_RECORD,
        SERVER_RECORD + b"220 sink\r\n",
        b"220 sink\r\n" + SERVER_RECORD + b"\r\n",
        b"220 sink\r\n220 sink\r\n",
    ],
    ids=["a record", "a record first", "a record behind", "two greetings"],
)
def test_an_upstream_that_greets_with_more_than_a_greeting_is_not_used(
    greeting: bytes, gate: Gateway
) -> None:
    number = gate.number
    gate.sink.greeting = greeting
    with connect(gate.guard.port) as wire:
        assert wire.reply() == "421 4.3.2 Service not available"
        assert wire.rest() == b""
    assert gate.upstream(number).secure == []


@pytest.mark.parametrize(
    "answer",
    [
        SERVER_RECORD + b"\r\n",
        b"250-sink\r\n" + SERVER_RECORD + b"\r\n250 STARTTLS\r\n",
        b"250-sink\r\n250 STARTTLS\r\n" + SERVER_RECORD + b"\r\n",
        b"250-sink\r\n250 STARTTLS\r\n220 go\r\n",
    ],
    ids=["a record", "a record within", "a record behind", "an early 220"],
)
def test_an_upstream_that_answers_ehlo_with_a_tls_record_is_not_used(
    answer: bytes, gate: Gateway
) -> None:
    number = gate.number
    gate.sink.ehlo_answer = answer
    with gate.client(b"") as wire:
        assert wire.ask(OUTER) == "421 4.3.2 Service not available"
        assert wire.rest() == b""
    assert gate.upstream(number).secure == []
