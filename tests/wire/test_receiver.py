from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.wire import replies
from smtpguard.wire.receiver import Receiver
from tests.wire.feeding import cut, cuts, octet_by_octet, of_words, outcome
from tests.wire.timing import LINEAR, slowdown


LIMIT = 8
TOO_LONG = ("too long", False)
ENDLESS = ("too long", True)
BARE = ("bare", True)
NAMES = {replies.LINE_TOO_LONG: "too long", replies.BARE_NEWLINE_COMMAND: "bare"}

type Event = bytes | tuple[str, bool]


def read(segments: list[bytes], limit: int = LIMIT) -> list[Event]:
    """Return lines and errors, until an error that closes."""
    receiver = Receiver()
    events: list[Event] = []
    for segment in segments:
        receiver.feed(segment)
        while True:
            try:
                line = receiver.next_line(limit)
            except ProtocolError as error:
                events.append((NAMES[error.reply], error.closes))
                if error.closes:
                    assert len(receiver) == 0
                    return events
                continue
            if line is None:
                break
            events.append(line)
    return events


def model(octets: bytes, limit: int) -> list[Event]:
    """Read the same, one octet at a time, the simplest way."""
    events: list[Event] = []
    line = b""
    for octet in octet_by_octet(octets):
        line += octet
        if len(line) > 2 * limit:
            return [*events, ENDLESS]
        lonely_cr = line[-2:-1] == b"\r" and octet != b"\n"
        lonely_lf = octet == b"\n" and line[-2:-1] != b"\r"
        if lonely_cr or lonely_lf or octet == b"\0":
            return [*events, BARE]
        if octet == b"\n":
            events.append(line[:-2] if len(line) <= limit else TOO_LONG)
            line = b""
    return events


LINES = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b"NOOP", [], id="no-end-yet"),
    pytest.param(b"NOOP\r", [], id="half-an-end"),
    pytest.param(b"\r\n", [b""], id="empty-line"),
    pytest.param(b"NOOP\r\n", [b"NOOP"], id="one"),
    pytest.param(b"A\r\nB\r\n\r\nC\r\n", [b"A", b"B", b"", b"C"], id="pipelined"),
    pytest.param(b"123456\r\n", [b"123456"], id="limit-counts-the-end"),
    pytest.param(b"1234567\r\nB\r\n", [TOO_LONG, b"B"], id="one-too-long"),
    pytest.param(b"12345678901234\r\nB\r\n", [TOO_LONG, b"B"], id="twice-the-limit"),
    pytest.param(b"123456789012345\r\nB\r\n", [ENDLESS], id="more-than-twice"),
    pytest.param(b"A\r\n12345678901234567", [b"A", ENDLESS], id="endless"),
    pytest.param(b"A\nB\r\n", [BARE], id="bare-lf"),
    pytest.param(b"\n", [BARE], id="bare-lf-at-once"),
    pytest.param(b"A\rB\r\n", [BARE], id="bare-cr"),
    pytest.param(b"A\rB", [BARE], id="bare-cr-before-the-end"),
    pytest.param(b"A\r\r\n", [BARE], id="cr-cr-lf"),
    pytest.param(b"A\0", [BARE], id="nul"),
    pytest.param(b"OK\r\nA\0\r\n", [b"OK", BARE], id="nul-in-the-second"),
    pytest.param(b"1234567\n8", [BARE], id="bare-lf-in-an-overlong-line"),
]


@pytest.mark.parametrize(("octets", "events"), LINES)
def test_lines_come_out_whole_and_octet_by_octet(
    octets: bytes, events: list[Event]
) -> None:
    assert read([octets]) == events
    assert read(octet_by_octet(octets)) == events


@pytest.mark.parametrize(("octets", "events"), LINES)
def test_what_follows_a_line_is_left_alone(octets: bytes, events: list[Event]) -> None:
    if not octets.endswith(b"\r\n") or (events and events[-1] in (BARE, ENDLESS)):
        octets, events = b"A\r\n", [b"A"]
    assert read([octets + b"NEXT\r\nre"]) == [*events, b"NEXT"]


@given(st.data(), of_words(b"a", b"bcd", b"\r\n", b"\r", b"\n", b"\0", b"x\r\n"))
def test_any_split_gives_what_the_model_says(
    data: st.DataObject, octets: bytes
) -> None:
    assert read(data.draw(cuts(octets)), 4) == model(octets, 4)


@given(st.binary(max_size=64))
def test_any_octets_give_lines_or_a_protocol_error(octets: bytes) -> None:
    assert read([octets]) == model(octets, LIMIT)


def test_taking_and_peeking_see_the_same_octets() -> None:
    receiver = Receiver()
    receiver.feed(b"abc")
    receiver.feed(b"def")
    assert (receiver.peek(2), len(receiver)) == (b"ab", 6)
    assert (receiver.take(2), receiver.take(0), len(receiver)) == (b"ab", b"", 4)
    assert (receiver.peek(99), receiver.take(99)) == (b"cdef", b"cdef")
    assert (len(receiver), receiver.take(1), receiver.peek(1)) == (0, b"", b"")


def test_clear_says_how_much_it_dropped() -> None:
    receiver = Receiver()
    receiver.feed(b"NOOP\r\nQUIT")
    assert (receiver.clear(), receiver.clear(), len(receiver)) == (10, 0, 0)
    receiver.feed(b"\r\n")
    assert receiver.next_line(LIMIT) == b""


def test_find_and_endswith_look_without_taking() -> None:
    receiver = Receiver()
    receiver.feed(b"a.b.c")
    assert [receiver.find(b"."), receiver.find(b".", 2), receiver.find(b"x")] == [
        1,
        3,
        -1,
    ]
    assert receiver.endswith(b".c")
    assert not receiver.endswith(b"b")
    assert len(receiver) == 5


def test_octets_taken_between_lines_do_not_confuse_the_search() -> None:
    receiver = Receiver()
    receiver.feed(b"BDAT 5 LAST\r\n12\r")
    assert receiver.next_line(100) == b"BDAT 5 LAST"
    receiver.feed(b"\n3NOOP")
    assert receiver.take(5) == b"12\r\n3"
    assert receiver.next_line(100) is None
    assert receiver.take(1) == b"N"
    receiver.feed(b"\r\n")
    assert receiver.next_line(100) == b"OOP"


@pytest.mark.parametrize("size", [100_000, 1_000_000], ids=["100kB", "1MB"])
def test_F5_an_overlong_command_is_refused_in_bounded_memory(size: int) -> None:
    receiver = Receiver()
    read = None
    for segment in cut(b"N" * size, *range(0, size, 1024)):
        receiver.feed(segment)
        assert len(receiver) <= 2 * 2048 + 1024
        read = outcome(lambda: receiver.next_line(2048))
        if read is not None:
            break
    assert isinstance(read, ProtocolError)
    assert (read.reply.code, read.closes) == (500, True)


@pytest.mark.parametrize(("size", "fits"), [(12_288, True), (12_289, False)])
def test_F5_a_line_of_auth_may_have_12288_octets(size: int, fits: bool) -> None:
    line = b"A" * (size - 2)
    assert read([line + b"\r\n"], 12_288) == [line if fits else TOO_LONG]


@pytest.mark.parametrize(
    "octets",
    [
        b"MAIL FROM:<a\0b@x>\r\n",
        b"MAIL FROM:<a@x>\rRCPT TO:<y@x>\r\n",
        b"MAIL FROM:<a@x>\nRCPT TO:<y@x>\r\n",
        b"EHLO x\r\x0bY\r\n",
        b"\0STARTTLS\r\n",
    ],
    ids=["nul", "bare-cr", "bare-lf", "cr-vt", "nul-before"],
)
def test_F6_a_control_that_hides_a_command_closes(octets: bytes) -> None:
    assert read([octets], 2048) == [BARE]
    assert read(octet_by_octet(octets), 2048) == [BARE]


def test_one_octet_at_a_time_costs_linear_time() -> None:
    def read(size: int) -> None:
        receiver = Receiver()
        for _ in range(size):
            receiver.feed(b"x")
            assert receiver.next_line(size) is None

    assert slowdown(read, 30_000) < LINEAR


def test_many_lines_in_one_segment_cost_linear_time() -> None:
    def read(lines: int) -> None:
        receiver = Receiver()
        receiver.feed(b"NOOP\r\n" * lines)
        while receiver.next_line(2048) is not None:
            pass

    assert slowdown(read, 15_000) < LINEAR
