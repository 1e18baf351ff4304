from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.unpacking import protocol
from smtpguard.unpacking.protocol import (
    Request,
    receive_answer,
    receive_request,
    send_answer,
    send_request,
)


FULL = Contents(
    "application/zip",
    frozenset({Fact.ARCHIVE, Fact.LIMIT}),
    (
        Entry("a!\u00fc", ("\u00fc", "\u202e\0"), 7, "text/plain", frozenset(), "00ff"),
        Entry("b", (), 0, facts=frozenset({Fact.ENCRYPTED, Fact.EXECUTABLE})),
    ),
    (Finding("limit-depth", "a"), Finding("x")),
    seconds=0.25,
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def soon() -> float:
    return time.monotonic() + 30


@pytest.mark.parametrize("contents", [Contents(), FULL])
def test_an_answer_arrives_as_it_was_sent(
    ends: tuple[socket.socket, socket.socket], contents: Contents
) -> None:
    send_answer(ends[0], contents)
    received = receive_answer(ends[1], soon())
    assert (received, received.seconds) == (contents, contents.seconds)


def test_requests_arrive_as_they_were_sent_one_after_the_other(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    requests = [Request(b"12345", ("a", "\u00fc"), 7.5), Request(b"", (), 1.0)]
    for request in requests:
        send_request(ends[0], request)
    assert [receive_request(ends[1]) for _ in requests] == requests


def test_half_a_character_in_a_name_stops_nobody(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    send_request(ends[0], Request(b"", ("a\udc80.exe",), 1.0))
    assert receive_request(ends[1]).names == ("a?.exe",)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"[1,[],[],[],0.5]",
        b'["",["no such fact"],[],[],0.5]',
        b'["",[[]],[],[],0.5]',
        b'["",[],[["p",["n"],"7","",[],""]],[],0.5]',
        b'["",[],[["p",["n"],true,"",[],""]],[],0.5]',
        b'["",[],[["p","names",7,"",[],""]],[],0.5]',
        b'["",[],[["p",[7],7,"",[],""]],[],0.5]',
        b'["",[],[["p",["n"],7,"",[]]],[],0.5]',
        b'["",[],[],[["kind"]],0.5]',
        b'["",[],[],[["kind",null]],0.5]',
        b'["",[],[],[]]',
        b'["",[],[],[],[]]',
        b'["",[],[],[],1]',
        b'["",[],[],[],-0.5]',
        b'["",[],[],[],NaN]',
        b'["",[],[],[],Infinity]',
        b'["",[],[],[],0.5,0.5]',
    ],
)
def test_an_answer_of_another_shape_is_refused(
    ends: tuple[socket.socket, socket.socket], answer: bytes
) -> None:
    ends[0].sendall(len(answer).to_bytes(4) + answer)
    with pytest.raises(ValueError):
        receive_answer(ends[1], soon())


def test_an_answer_that_is_too_long_is_refused_before_it_comes(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].sendall((protocol.MAX_ANSWER + 1).to_bytes(4))
    with pytest.raises(ValueError):
        receive_answer(ends[1], soon())


def test_the_longest_names_fit_into_an_answer() -> None:
    """Whatever a character costs: a control is written as six octets."""
    from smtpguard.unpacking.archives import ArchiveLimits

    for character in ("\x01", "\U0001f4a9"):
        written = json.dumps(character, ensure_ascii=False).encode()
        cost = len(written) - 2
        most = ArchiveLimits().name_characters * cost
        assert most < protocol.MAX_ANSWER - (4 << 20)


def test_an_answer_that_drips_is_waited_for_until_the_deadline(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ends[0].sendall(b"\0\0\0\7drip")
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        receive_answer(ends[1], begin + 0.1)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("part", [b"", b"\0\0", b"\0\0\0\7drip"])
def test_an_end_amid_an_answer_is_an_end(
    ends: tuple[socket.socket, socket.socket], part: bytes
) -> None:
    ends[0].sendall(part)
    ends[0].close()
    with pytest.raises(EOFError):
        receive_answer(ends[1], soon())
