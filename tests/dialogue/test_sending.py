"""A message on its way up, in pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from smtpguard.dialogue import effects, events
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.session import Leg
from smtpguard.replay.memory import MemorySession
from smtpguard.wire import Capabilities
from tests.dialogue.peers import Rules, enveloped, forget_heard, greeted, lines, session
from tests.dialogue.world import Watched


CHUNKING = b"250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"
LARGE = (b"x" * 998 + b"\r\n") * 600


class Pieces:
    """Content in given pieces, of a size that may be a lie."""

    def __init__(self, pieces: list[bytes], size: int | None = None) -> None:
        self._pieces = pieces
        self.size = sum(map(len, pieces)) if size is None else size

    def chunks(self) -> Iterator[bytes]:
        yield from self._pieces


def judged(content: Pieces, how: str, **options: object) -> MemorySession:
    """Have a message replaced by content and sent up by DATA or BDAT."""
    said = Disposition(Outcome.MODIFIED, content=content)
    rules = Rules(verdict=lambda *_: said)
    memory = enveloped(greeted(session(rules, **options), CHUNKING))
    if how == "BDAT":
        memory.from_client(b"BDAT 1 LAST\r\nx")
        return memory
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    assert lines(memory.upstream_heard) == ["DATA"]
    memory.client_heard.clear()
    memory.from_upstream(b"354 go\r\n")
    return memory


def random_pieces(octets: bytes, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    pieces = []
    while octets:
        size = chance.choice((1, 2, 3, 1000, 70_000))
        pieces.append(octets[:size])
        octets = octets[size:]
    return pieces


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_same_by_data_however_it_is_cut(seed: int) -> None:
    text = b".\r\n..\r\n" + LARGE + b".x\r\n\r\n."
    memory = judged(Pieces(random_pieces(text, seed)), "DATA")
    expected = b"..\r\n...\r\n" + LARGE + b"..x\r\n\r\n..\r\n.\r\n"
    assert bytes(memory.upstream_heard) == expected


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_same_by_bdat_however_it_is_cut(seed: int) -> None:
    text = b".\r\n..\r\n" + LARGE + b".x\r\n"
    memory = judged(Pieces(random_pieces(text, seed)), "BDAT")
    assert bytes(memory.upstream_heard) == b"BDAT %d LAST\r\n" % len(text) + text


@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_large_pieces_wait_until_the_last_one_has_left(how: str) -> None:
    pieces = [LARGE[:100_000], LARGE[100_000:200_000], LARGE[200_000:]]
    memory = judged(Pieces(pieces), how, kind=Watched)
    head = b"BDAT 600000 LAST\r\n" if how == "BDAT" else b""
    sent = [head if how == "BDAT" else b"", *pieces]
    for count in range(1, 4):
        expected = b"".join(sent[: count + 1])
        if how == "DATA":
            whole = count == 3
            assert bytes(memory.upstream_heard) == expected + b".\r\n" * whole
        if count < 3:
            assert memory.take(effects.Pace) is not None
            memory.feed(events.Drained(Leg.UPSTREAM))
    assert bytes(memory.upstream_heard).startswith(head + LARGE)


@pytest.mark.parametrize("size", [0, 1, 4, 6, 700_000])
def test_a_chunk_whose_size_is_a_lie_is_never_sent_whole(size: int) -> None:
    """Its octets would be read as commands, or the next command as its octets."""
    memory = judged(Pieces([b"hello"], size), "BDAT")
    assert lines(memory.client_heard)[0].startswith("451 4.3.0")
    assert lines(memory.upstream_heard) == ["RSET"]


def test_a_large_chunk_whose_size_is_a_lie_closes_the_connection() -> None:
    memory = judged(Pieces([LARGE, b"more"], len(LARGE)), "BDAT")
    assert lines(memory.client_heard)[0].startswith("451 4.3.0")
    assert Leg.UPSTREAM in memory.closed
    assert b"more" not in memory.upstream_heard


def test_binarymime_does_not_go_to_an_upstream_that_lost_it() -> None:
    memory = greeted(
        session(judge=None),
        b"250-mx.example\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 BINARYMIME\r\n",
    )
    memory.from_client(b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"BDAT 1 LAST\r\n\0")
    memory.feed(events.Closed(Leg.UPSTREAM))
    forget_heard(memory)
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, Disposition(Outcome.RELAYED)))
    memory.opened()
    memory.from_upstream(b"220 other.example\r\n")
    memory.from_upstream(b"250 other.example\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_upstream(b"250 ok\r\n")
    assert lines(memory.client_heard) == ["451 4.4.1 Next server changed its answer"]
    assert b"DATA" not in memory.upstream_heard


@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_an_upstream_that_goes_between_two_pieces_has_not_got_it(how: str) -> None:
    memory = judged(Pieces([LARGE, b"end\r\n"]), how, kind=Watched)
    memory.feed(events.Closed(Leg.UPSTREAM, reset=True))
    assert lines(memory.client_heard) == ["451 4.4.2 Connection to next server lost"]
    assert memory.records[0].in_doubt == ""
    memory.feed(events.Drained(Leg.UPSTREAM))
    assert b"end" not in memory.upstream_heard


def test_a_client_that_goes_between_two_pieces_aborts_the_message() -> None:
    memory = judged(Pieces([LARGE, b"end\r\n"]), "DATA", kind=Watched)
    memory.feed(events.Closed(Leg.CLIENT, reset=True))
    assert memory.ended
    assert bytes(memory.upstream_heard) == LARGE


def test_an_upstream_that_says_no_after_354_gets_nothing() -> None:
    memory = enveloped(greeted(session(kind=Watched)))
    memory.from_client(b"DATA\r\n" + LARGE + b".\r\n")
    memory.client_heard.clear()
    memory.from_upstream(b"354 go\r\n552 5.3.4 or no\r\n")
    assert lines(memory.upstream_heard) == ["DATA"]
    assert lines(memory.client_heard) == ["552 5.3.4 or no"]


def test_the_dot_is_not_sent_when_its_reply_could_not_be_awaited() -> None:
    """The client has given up by then, and would send it again."""
    memory = enveloped(greeted(session(kind=Watched)))
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    asked = memory.now
    memory.now = asked + 570
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard == b"DATA\r\n"
    assert lines(memory.client_heard)[1:] == ["451 4.4.2 Next server does not answer"]
    assert memory.records[0].in_doubt == ""


@pytest.mark.parametrize("limit", [0, 10, 10_000])
def test_the_transcript_keeps_no_more_of_a_message_than_asked(limit: int) -> None:
    memory = enveloped(greeted(session(record_limit=limit)))
    memory.from_client(b"DATA\r\nSubject: x\r\n\r\nhello\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    entries = [e for e in memory.dialogue.transcript.entries if e.kind == "message"]
    text = b"Subject: x\r\n\r\nhello\r\n"
    assert [(e.direction, e.octets, e.size, e.same) for e in entries] == [
        ("C", text[:limit], len(text), False),
        ("s", b"", len(text), True),
    ]


@pytest.mark.parametrize("limit", [0, 10, 10_000])
def test_an_edited_message_is_kept_as_it_went_up(limit: int) -> None:
    text = b"Subject: other\r\n\r\nbye\r\n"
    memory = judged(Pieces([text[:5], text[5:]]), "DATA", record_limit=limit)
    entry = memory.dialogue.transcript.entries[-1]
    assert (entry.direction, entry.kind) == ("s", "message")
    assert (entry.octets, entry.size, entry.same) == (text[:limit], len(text), False)


def test_the_beginning_of_a_reply_before_the_dot_is_no_answer_to_it() -> None:
    """Its end, said after the dot, would be: then nobody knows what was answered."""
    memory = enveloped(greeted(session()))
    memory.from_client(b"DATA\r\nSubject: x\r\n\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n25")
    memory.from_upstream(b"0 nonsense\r\n")
    assert memory.upstream_heard == b"DATA\r\n"
    assert lines(memory.client_heard)[1:] == [
        "451 4.4.2 Connection to next server lost"
    ]


def test_binarymime_is_never_sent_by_data() -> None:
    memory = greeted(
        session(judge=None),
        b"250-mx.example\r\n250-8BITMIME\r\n250-CHUNKING\r\n250 BINARYMIME\r\n",
    )
    memory.from_client(b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"RCPT TO:<c@d.example>\r\n")
    memory.from_upstream(b"250 ok\r\n")
    memory.from_client(b"BDAT 1 LAST\r\n\0")
    forget_heard(memory)
    assert memory.dialogue.upstream is not None
    memory.dialogue.upstream.capabilities = Capabilities(b"mx.example")
    asked = memory.take(effects.AskVerdict)
    assert asked is not None
    memory.feed(events.Judged(asked.transaction.id, Disposition(Outcome.RELAYED)))
    assert lines(memory.client_heard)[0].startswith("451 4.3.0")
    assert lines(memory.upstream_heard) == ["RSET"]
