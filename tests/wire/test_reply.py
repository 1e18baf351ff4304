from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.model.reply import Reply
from smtpguard.wire import replies
from smtpguard.wire.receiver import Receiver
from smtpguard.wire.reply import (
    MAX_REPLY_LINE,
    MAX_REPLY_LINES,
    MAX_REPLY_OCTETS,
    ReplyReader,
)
from tests.wire.feeding import cut, cuts, octet_by_octet, of_words, outcome


GARBAGE = "garbage"


def read(segments: list[bytes]) -> list[Reply | str]:
    """Return the replies, and at the end ``GARBAGE`` if it ended so."""
    receiver = Receiver()
    reader = ReplyReader()
    found: list[Reply | str] = []
    for segment in segments:
        receiver.feed(segment)
        while (reply := outcome(lambda: reader.next_reply(receiver))) is not None:
            if isinstance(reply, ProtocolError):
                assert reply.closes
                assert reply.reply is replies.UPSTREAM_LOST
                assert str(reply).isascii()
                return [*found, GARBAGE]
            found.append(reply)
    return found


REPLIES = [
    pytest.param(b"250 OK\r\n", [Reply(250, (b"OK",))], id="one-line"),
    pytest.param(b"250\r\n", [Reply(250, (b"",))], id="three-digits"),
    pytest.param(b"250 \r\n", [Reply(250, (b"",))], id="no-text"),
    pytest.param(
        b"250-mx\r\n250-SIZE\r\n250 DSN\r\n",
        [Reply(250, (b"mx", b"SIZE", b"DSN"))],
        id="three-lines",
    ),
    pytest.param(
        b"220-a\r\n220\r\n", [Reply(220, (b"a", b""))], id="three-digits-at-the-end"
    ),
    pytest.param(
        b"250 OK\r\n354 go\r\n", [Reply(250, (b"OK",)), Reply(354, (b"go",))], id="two"
    ),
    pytest.param(b"550 b\xf6se\r\n", [Reply(550, (b"b\xf6se",))], id="8-bit-text"),
    pytest.param(b"250  two\r\n", [Reply(250, (b" two",))], id="spaces-are-text"),
    pytest.param(b"250 OK", [], id="unfinished-line"),
    pytest.param(b"250-OK\r\n", [], id="unfinished-reply"),
    pytest.param(b"199 x\r\n", [GARBAGE], id="1yz"),
    pytest.param(b"600 x\r\n", [GARBAGE], id="6yz"),
    pytest.param(b"2500 x\r\n", [GARBAGE], id="four-digits"),
    pytest.param(b"25 x\r\n", [GARBAGE], id="two-digits"),
    pytest.param(b"250OK\r\n", [GARBAGE], id="no-separator"),
    pytest.param(b"250\tOK\r\n", [GARBAGE], id="tab"),
    pytest.param(b"\r\n", [GARBAGE], id="empty-line"),
    pytest.param(b"xxx\r\n", [GARBAGE], id="no-code"),
    pytest.param(b"HTTP/1.1 400 Bad\r\n", [GARBAGE], id="http"),
    pytest.param(b"250-a\r\n550 b\r\n", [GARBAGE], id="another-code-within"),
    pytest.param(
        b"250 OK\r\n250 a\nb\r\n", [Reply(250, (b"OK",)), GARBAGE], id="bare-lf"
    ),
    pytest.param(b"250 a\rb\r\n", [GARBAGE], id="bare-cr"),
    pytest.param(b"250 a\0\r\n", [GARBAGE], id="nul"),
]


@pytest.mark.parametrize(("octets", "found"), REPLIES)
def test_replies_come_out_whole_and_octet_by_octet(
    octets: bytes, found: list[Reply | str]
) -> None:
    assert read([octets]) == found
    assert read(octet_by_octet(octets)) == found


def test_what_follows_a_reply_stays_in_the_receiver() -> None:
    receiver = Receiver()
    receiver.feed(b"220 go\r\n250-injected\r\n")
    assert ReplyReader().next_reply(receiver) == Reply(220, (b"go",))
    assert receiver.take(99) == b"250-injected\r\n"


@given(
    st.data(),
    of_words(b"250", b"25", b" ", b"-", b"x", b"\r\n", b"550", b"\n", b"\xff"),
)
def test_any_split_gives_the_same(data: st.DataObject, octets: bytes) -> None:
    assert read(data.draw(cuts(octets))) == read([octets])


@given(st.binary(max_size=64))
def test_any_octets_give_replies_or_a_protocol_error(octets: bytes) -> None:
    for found in read([octets]):
        assert found == GARBAGE or isinstance(found, Reply)


@given(
    st.integers(200, 599),
    st.lists(
        st.binary(max_size=9).filter(lambda text: not set(text) & set(b"\r\n\0")),
        min_size=1,
    ),
)
def test_what_is_sent_is_read_back(code: int, lines: list[bytes]) -> None:
    reply = Reply(code, tuple(lines))
    assert read([reply.to_octets()]) == [reply]


@pytest.mark.parametrize(
    ("count", "fits"), [(MAX_REPLY_LINES, True), (MAX_REPLY_LINES + 1, False)]
)
def test_F5_a_reply_may_have_200_lines(count: int, fits: bool) -> None:
    octets = b"250-x\r\n" * (count - 1) + b"250 x\r\n"
    assert read([octets]) == ([Reply(250, (b"x",) * count)] if fits else [GARBAGE])


@pytest.mark.parametrize(
    ("size", "fits"), [(MAX_REPLY_LINE, True), (MAX_REPLY_LINE + 1, False)]
)
def test_F5_a_line_of_a_reply_may_have_2048_octets(size: int, fits: bool) -> None:
    text = b"x" * (size - 6)
    assert read([b"250 " + text + b"\r\n"]) == [
        Reply(250, (text,)) if fits else GARBAGE
    ]


def test_F5_a_reply_may_have_128_KiB() -> None:
    line = b"250-" + b"x" * (MAX_REPLY_LINE - 6) + b"\r\n"
    fitting = MAX_REPLY_OCTETS // len(line)
    assert read([line * fitting]) == []
    assert read([line * (fitting + 1)]) == [GARBAGE]


def test_a_limit_is_for_one_reply_not_for_all() -> None:
    text = b"x" * (MAX_REPLY_LINE - 6)
    count = 2 * MAX_REPLY_OCTETS // MAX_REPLY_LINE
    assert read([b"250 " + text + b"\r\n"] * count) == [Reply(250, (text,))] * count


def test_F5_a_line_of_a_megabyte_is_held_in_bounded_memory() -> None:
    receiver = Receiver()
    reader = ReplyReader()
    octets = b"250 " + b"x" * 1_000_000
    read = None
    for segment in cut(octets, *range(0, len(octets), 1024)):
        receiver.feed(segment)
        assert len(receiver) <= 2 * MAX_REPLY_LINE + 1024
        read = outcome(lambda: reader.next_reply(receiver))
        if read is not None:
            break
    assert isinstance(read, ProtocolError)


def test_F5_ten_thousand_lines_are_not_collected() -> None:
    assert read([b"250-x\r\n"] * 10_000) == [GARBAGE]
