from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.wire.data import DataReader, DotStuffer
from smtpguard.wire.receiver import Receiver
from tests.wire.feeding import cut, cuts, octet_by_octet, of_words
from tests.wire.timing import LINEAR, slowdown


END = b"\r\n.\r\n"
PLENTY = 2**20
WORDS = (b"a", b"bc", b".", b"..", b"\r\n", b"\r", b"\n", b"\0", b"\r\n.", b"\r\n.\r")


class Read:
    """What a reader made of segments."""

    def __init__(
        self, segments: list[bytes], *, limit: int = PLENTY, normalise: bool = False
    ) -> None:
        self.receiver = Receiver()
        self.reader = DataReader(limit=limit, normalise=normalise)
        self.found = self.reader.text
        self.ended = False
        self.held_back = 0
        written: list[bytes] = []
        for segment in segments:
            self.receiver.feed(segment)
            self.ended = self.reader.read(self.receiver, written.append)
            if not self.ended:
                self.held_back = max(self.held_back, len(self.receiver))
        self.text = b"".join(written)
        self.rest = self.receiver.peek(PLENTY)

    def facts(self) -> tuple[object, ...]:
        found = self.found
        counts = (found.bare_cr, found.bare_lf, found.nul, found.long_lines)
        sizes = (found.size, found.too_large, found.overrun)
        return (self.ended, self.text, self.rest, *counts, *sizes)


def model(octets: bytes) -> tuple[bytes, bytes] | None:
    """Return text and rest by the words of RFC 5321 4.5.2; None without an end."""
    text, end, rest = (b"\r\n" + octets).partition(END)
    if not end:
        return None
    return (text + b"\r\n").replace(b"\r\n.", b"\r\n")[2:], rest


def normal(text: bytes) -> bytes:
    """Return the text with stray octets repaired, by one rule after the other."""
    repairs = {b"\r\r\n": b"\r\n", b"\r\n": b"\r\n", b"\n": b"\r\n", b"\r": b" "}
    return re.sub(
        rb"\r\r\n|\r\n|\r|\n|\0", lambda found: repairs.get(found[0], b""), text
    )


def stuffed(text: bytes) -> bytes:
    stuffer = DotStuffer()
    return stuffer.feed(text) + stuffer.finish()


MESSAGES = [
    pytest.param(b".\r\n", b"", id="empty"),
    pytest.param(b"\r\n.\r\n", b"\r\n", id="one-empty-line"),
    pytest.param(b"a\r\n.\r\n", b"a\r\n", id="one-line"),
    pytest.param(b"a\r\n\r\nb\r\n.\r\n", b"a\r\n\r\nb\r\n", id="header-and-body"),
    pytest.param(b"..\r\n.\r\n", b".\r\n", id="first-line-a-dot"),
    pytest.param(b".a\r\n.\r\n", b"a\r\n", id="one-dot-too-few"),
    pytest.param(b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n", id="a-dot-alone"),
    pytest.param(b"a\r\n...\r\n.\r\n", b"a\r\n..\r\n", id="two-dots"),
    pytest.param(b"a.\r\n.\r\n", b"a.\r\n", id="a-dot-at-the-end-of-a-line"),
    pytest.param(b"a\r\n. \r\n.\r\n", b"a\r\n \r\n", id="dot-and-space"),
    pytest.param(b"\xff\x80\r\n.\r\n", b"\xff\x80\r\n", id="8-bit"),
]


@pytest.mark.parametrize(("octets", "text"), MESSAGES)
@pytest.mark.parametrize("normalise", [False, True], ids=["strict", "normalise"])
def test_messages_come_out_unstuffed(
    octets: bytes, text: bytes, normalise: bool
) -> None:
    for segments in ([octets], octet_by_octet(octets)):
        read = Read(segments, normalise=normalise)
        assert (read.ended, read.text, read.rest) == (True, text, b"")
        assert (read.found.size, read.found.stray) == (len(text), 0)


@pytest.mark.parametrize(("octets", "text"), MESSAGES)
def test_what_follows_the_end_stays_in_the_receiver(octets: bytes, text: bytes) -> None:
    read = Read([octets + b".\r\nQUIT\r\n"])
    assert (read.ended, read.text, read.rest) == (True, text, b".\r\nQUIT\r\n")
    assert read.reader.read(read.receiver, failing)


@given(st.data(), of_words(*WORDS))
def test_any_split_gives_what_the_model_says(
    data: st.DataObject, octets: bytes
) -> None:
    expected = model(octets)
    read = Read(data.draw(cuts(octets)))
    assert read.held_back <= 4
    if expected is None:
        assert not read.ended
        return
    text, rest = expected
    assert (read.ended, read.text, read.rest) == (True, text, rest)
    assert read.found.bare_cr == len(re.findall(rb"\r(?!\n)", text))
    assert read.found.bare_lf == len(re.findall(rb"(?<!\r)\n", text))
    assert read.found.nul == text.count(b"\0")


@given(st.data(), of_words(*WORDS))
def test_normalising_repairs_after_the_end_was_decided(
    data: st.DataObject, octets: bytes
) -> None:
    expected = model(octets + END)
    assert expected is not None
    text, rest = expected
    read = Read(data.draw(cuts(octets + END)), normalise=True)
    assert (read.ended, read.text, read.rest) == (True, normal(text), rest)


@given(
    st.data(),
    of_words(b"x" * 500, b"y" * 998, b"z", b"\r\n", b"\n", b"\r\n.", max_size=12),
    st.booleans(),
)
def test_any_split_gives_the_same_facts(
    data: st.DataObject, octets: bytes, normalise: bool
) -> None:
    whole = Read([octets + END], limit=2000, normalise=normalise)
    split = Read(data.draw(cuts(octets + END)), limit=2000, normalise=normalise)
    assert split.facts() == whole.facts()


@given(st.lists(of_words(b"a", b".", b"\r\n", b"\r\n.", max_size=8)))
def test_what_was_stuffed_is_unstuffed_to_the_same(chunks: list[bytes]) -> None:
    text = b"".join(chunks)
    stuffer = DotStuffer()
    octets = b"".join(map(stuffer.feed, chunks)) + stuffer.finish()
    ended = not text or text.endswith(b"\r\n")
    assert stuffer.added_crlf is not ended
    read = Read([octets])
    assert (read.ended, read.rest) == (True, b"")
    assert read.text == (text if ended else text + b"\r\n")


@given(st.data(), of_words(*WORDS))
def test_any_split_is_stuffed_the_same(data: st.DataObject, octets: bytes) -> None:
    stuffer = DotStuffer()
    split = b"".join(map(stuffer.feed, data.draw(cuts(octets)))) + stuffer.finish()
    assert split == stuffed(octets)


@pytest.mark.parametrize(
    ("text", "octets", "added"),
    [
        (b"", b".\r\n", False),
        (b"a\r\n", b"a\r\n.\r\n", False),
        (b"a", b"a\r\n.\r\n", True),
        (b".", b"..\r\n.\r\n", True),
        (b".\r\n.\r\n", b"..\r\n..\r\n.\r\n", False),
        (b"\r\n", b"\r\n.\r\n", False),
        (b"a\r", b"a\r\r\n.\r\n", True),
        (b"a\n.b\r\n", b"a\n.b\r\n.\r\n", False),
    ],
    ids=["empty", "plain", "no-end", "dot", "dots", "newline", "cr", "bare-lf"],
)
def test_stuffing_adds_dots_and_an_end(text: bytes, octets: bytes, added: bool) -> None:
    for chunks in ([text], octet_by_octet(text)):
        stuffer = DotStuffer()
        assert b"".join(map(stuffer.feed, chunks)) + stuffer.finish() == octets
        assert stuffer.added_crlf is added


# F1: SMTP smuggling. What stands in the attack's table, and every combination of ends
# before and after the dot that is not the one of RFC 5321.

LISTED = (
    *(b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n"),
    *(b"\r\n.\r", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n"),
)
_ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\0", b"\0\r\n", b"\r\0\n")
COMBINED = tuple(
    before + b"." + after
    for before, after in itertools.product(_ENDS, _ENDS)
    if not (before.endswith(b"\r\n") and after.startswith(b"\r\n"))
)
FORMS = tuple(dict.fromkeys(LISTED + COMBINED))
SMUGGLED = b"MAIL FROM:<s@evil.example>\r\nRCPT TO:<v@b.example>\r\nDATA\r\nz"


def splits_of(form: bytes) -> list[list[bytes]]:
    """Return the form between two texts, split at up to four places around it."""
    octets = b"x" + form + SMUGGLED + END + b"QUIT\r\n"
    inside = range(1, len(form) + 2)
    places = [found for n in range(5) for found in itertools.combinations(inside, n)]
    return [cut(octets, *found) for found in places]


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_F1_no_other_form_ends_the_data(form: bytes) -> None:
    for segments in splits_of(form):
        read = Read(segments)
        assert (read.ended, read.rest) == (True, b"QUIT\r\n")
        assert read.text.endswith(SMUGGLED + b"\r\n")
        assert read.found.stray > 0


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_F1_normalised_forms_leave_one_reading_only(form: bytes) -> None:
    for segments in splits_of(form):
        read = Read(segments, normalise=True)
        assert (read.ended, read.rest) == (True, b"QUIT\r\n")
        sent = stuffed(read.text)
        assert re.search(rb"\0|\r(?!\n)|(?<!\r)\n", sent) is None
        assert sent.find(END) == len(sent) - len(END)
        assert not sent.startswith(b".\r\n")


def test_F1_a_dot_and_a_space_is_a_line_like_any_other() -> None:
    for segments in splits_of(b"\r\n. \r\n"):
        read = Read(segments)
        assert (read.ended, read.rest) == (True, b"QUIT\r\n")
        assert read.text == b"x\r\n \r\n" + SMUGGLED + b"\r\n"
        assert read.found.stray == 0


def test_F1_there_are_enough_forms() -> None:
    assert len(FORMS) >= 30


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"a\nb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\r\r\nb\r\n.\r\n", b"a\r\nb\r\n"),
        (b"a\r\r\r\nb\r\n.\r\n", b"a \r\nb\r\n"),
        (b"a\rb\r\n.\r\n", b"a b\r\n"),
        (b"a\0b\r\n.\r\n", b"ab\r\n"),
        (b"a\r\0\nb\r\n.\r\n", b"a \r\nb\r\n"),
        (b"a\n.b\r\n.\r\n", b"a\r\n.b\r\n"),
        (b"a\n..b\r\n.\r\n", b"a\r\n..b\r\n"),
        (b"a\r\n\0.\r\n.\r\n", b"a\r\n.\r\n"),
        (b"a\r\n.\0\r\n.\r\n", b"a\r\n\r\n"),
        (b"\n.\r\n.\r\n", b"\r\n.\r\n"),
        (b"\0\r\n.\r\n", b"\r\n"),
    ],
    ids=repr,
)
def test_F1_normalising_does_what_it_says(octets: bytes, text: bytes) -> None:
    """Un-stuffing happens at CRLF of the client only: a dot after a bare LF stays."""
    for segments in ([octets], octet_by_octet(octets)):
        read = Read(segments, normalise=True)
        assert (read.ended, read.text) == (True, text)
        assert read.found.stray > 0


def test_F2_a_body_of_ours_cannot_end_the_data() -> None:
    notice = b"name: a\r\n.\r\nMAIL FROM:<s@evil.example>\r\n"
    sent = stuffed(notice)
    assert sent.find(END) == len(sent) - len(END)
    assert Read([sent]).text == notice


def test_F5_a_line_of_300_kB_is_passed_and_reported() -> None:
    line = b"x" * 300_000 + b"\r\n"
    read = Read(cut(line + b".\r\n", *range(0, len(line), 4096)))
    assert (read.ended, read.text == line, read.found.long_lines) == (True, True, 1)


def test_F11_dots_are_seen_unstuffed_and_sent_as_they_came() -> None:
    wire = b"...\r\n....x\r\n..y\r\nz.\r\n.\r\n"
    for segments in (cut(wire, place) for place in range(len(wire))):
        read = Read(segments)
        assert read.text == b"..\r\n...x\r\n.y\r\nz.\r\n"
        assert stuffed(read.text) == wire


def test_T7_what_looks_like_tls_stays_data() -> None:
    body = b"\x16\x03\x01\x02\x01\x01\r\n"
    read = Read([body + b".\r\n"])
    assert (read.ended, read.text) == (True, body)


def test_over_the_limit_it_consumes_on_to_the_real_end() -> None:
    octets = b"12345678\r\n" * 11 + b".\r\nQUIT\r\n"
    for segments in ([octets], octet_by_octet(octets)):
        read = Read(segments, limit=100)
        assert (read.ended, read.rest) == (True, b"QUIT\r\n")
        assert read.text == b"12345678\r\n" * 10
        assert (read.found.size, read.found.too_large) == (110, True)
        assert not read.found.overrun


def test_exactly_the_limit_is_not_too_large() -> None:
    read = Read([b"12345678\r\n" * 10 + b".\r\n"], limit=100)
    assert (read.found.size, read.found.too_large) == (100, False)


@pytest.mark.parametrize("normalise", [False, True], ids=["strict", "normalise"])
@pytest.mark.parametrize("word", [b"1234567\r\n", b"\0", b"\r", b"\n"], ids=repr)
def test_beyond_the_limit_again_it_gives_up(word: bytes, normalise: bool) -> None:
    """NUL is dropped when normalising: it must count all the same."""
    read = Read([word] * 300, limit=100, normalise=normalise)
    assert (read.ended, read.found.overrun, read.found.too_large) == (
        False,
        True,
        True,
    )
    assert len(read.text) <= 100
    assert read.held_back <= 4


def test_an_end_is_not_missed_when_writing_fails() -> None:
    receiver = Receiver()
    reader = DataReader(limit=PLENTY)

    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    receiver.feed(b"a\r\n.\r\nQUIT\r\n")
    with pytest.raises(OSError, match="No space"):
        reader.read(receiver, full)
    assert reader.read(receiver, full)
    assert receiver.take(6) == b"QUIT\r\n"


def test_reading_goes_on_after_writing_failed() -> None:
    receiver = Receiver()
    reader = DataReader(limit=PLENTY)
    receiver.feed(b"lost\r\nmore")
    with pytest.raises(OSError, match="gone"):
        reader.read(receiver, failing)
    kept: list[bytes] = []
    receiver.feed(b"\r\nkept\r\n.\r\n")
    assert reader.read(receiver, kept.append)
    assert b"".join(kept) == b"\r\nkept\r\n"


def failing(_: bytes) -> None:
    raise OSError("gone")


def ignoring(_: bytes) -> None:
    pass


def test_one_octet_at_a_time_costs_linear_time() -> None:
    def read(size: int) -> None:
        receiver = Receiver()
        reader = DataReader(limit=size)
        for _ in range(size):
            receiver.feed(b"x")
            assert not reader.read(receiver, ignoring)

    assert slowdown(read, 10_000) < LINEAR


def test_many_messages_in_one_segment_cost_linear_time() -> None:
    def read(messages: int) -> None:
        receiver = Receiver()
        receiver.feed(b"a\r\n.\r\n" * messages)
        while len(receiver):
            assert DataReader(limit=10).read(receiver, ignoring)

    assert slowdown(read, 5_000) < LINEAR
