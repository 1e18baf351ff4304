"""DATA and BDAT: taking a message in, where no script or attack shows it."""

from __future__ import annotations

import pytest

from smtpguard.model.settings import BareNewlines, Deadlines, Limits, Settings
from smtpguard.replay.memory import MemorySession
from tests.dialogue.peers import FullDisk, Rules, enveloped, greeted, lines, session


CHUNKING = b"250-mx.example\r\n250-PIPELINING\r\n250 CHUNKING\r\n"


def chunked(rules: Rules | None = None, **options: object) -> MemorySession:
    return enveloped(greeted(session(rules, **options), CHUNKING))


@pytest.mark.parametrize("mode", ["refuse", "normalise"])
@pytest.mark.parametrize("text", [b"a\rb\r\n", b"a\nb\r\n", b"a\0b\r\n"], ids=repr)
def test_chunks_are_repaired_or_refused_as_data_is(
    text: bytes, mode: BareNewlines
) -> None:
    memory = chunked(Rules(Settings(bare_newlines=mode)))
    memory.from_client(b"BDAT %d LAST\r\n" % len(text) + text)
    if mode == "refuse":
        assert lines(memory.client_heard)[0].startswith("550 5.6.0")
    else:
        repaired = {b"a\rb\r\n": b"a b\r\n", b"a\nb\r\n": b"a\r\nb\r\n"}
        expected = repaired.get(text, b"ab\r\n")
        head = b"BDAT %d LAST\r\n" % len(expected)
        assert memory.upstream_heard == head + expected


def test_a_line_end_that_two_chunks_share_is_no_bare_one() -> None:
    memory = chunked()
    memory.from_client(b"BDAT 2\r\na\rBDAT 2 LAST\r\n\nb")
    assert memory.upstream_heard == b"BDAT 4 LAST\r\na\r\nb"


def test_the_smaller_limit_of_a_message_counts() -> None:
    for ours, theirs, size, refused in [
        (100, 50, 60, True),
        (50, 100, 60, True),
        (100, 0, 60, False),
        (100, 100, 100, False),
    ]:
        rules = Rules(Settings(limits=Limits(message=ours)))
        offer = b"250-mx.example\r\n250 SIZE %d\r\n" % theirs
        memory = enveloped(greeted(session(rules), offer))
        memory.from_client(b"DATA\r\n" + b"x" * (size - 2) + b"\r\n.\r\n")
        heard = lines(memory.client_heard)
        assert heard[1:] == (["552 5.3.4 Message too large"] if refused else [])


def test_a_disk_that_fills_between_chunks_refuses_the_next() -> None:
    memory = chunked(new_spool=lambda: FullDisk(3))
    memory.from_client(b"BDAT 2\r\nab")
    memory.from_client(b"BDAT 2\r\ncd")
    memory.from_client(b"BDAT 2 LAST\r\nef")
    heard = [line[:9] for line in lines(memory.client_heard)]
    assert heard == ["250 2.0.0", "451 4.3.0", "451 4.3.0"]
    assert lines(memory.upstream_heard) == ["RSET"]


def test_data_may_be_tried_again_where_there_was_no_place_for_it() -> None:
    rooms = iter([OSError(28, "No space left on device"), None])

    def spool() -> FullDisk:
        if (error := next(rooms)) is not None:
            raise error
        return FullDisk(1000)

    memory = enveloped(greeted(session(new_spool=spool)))
    memory.from_client(b"DATA\r\n")
    assert lines(memory.client_heard) == ["451 4.3.0 Storage failed, try again later"]
    memory.from_client(b"DATA\r\nx\r\n.\r\n")
    memory.from_upstream(b"354 go\r\n")
    assert memory.upstream_heard.endswith(b"x\r\n.\r\n")


def test_data_before_mail_and_before_rcpt() -> None:
    memory = greeted(session())
    memory.from_client(b"DATA\r\n")
    assert lines(memory.client_heard) == ["503 5.5.1 Bad sequence of commands"]
    enveloped(memory, recipients=0)
    memory.from_client(b"DATA\r\n")
    assert lines(memory.client_heard) == ["554 5.5.1 No valid recipients"]


def test_a_chunk_that_comes_slowly_but_surely_is_taken() -> None:
    rules = Rules(Settings(deadlines=Deadlines(data=10), limits=Limits(body_rate=2)))
    memory = chunked(rules)
    memory.from_client(b"BDAT 100 LAST\r\n")
    for _ in range(20):
        memory.from_client(b"xxxxx")
        memory.pass_time(2)
    assert memory.upstream_heard == b"BDAT 100 LAST\r\n" + b"x" * 100


def test_a_refused_mail_swallows_its_chunks() -> None:
    """Pipelined: the chunk comes in before the upstream says no to MAIL."""
    memory = greeted(session(), CHUNKING)
    memory.from_client(
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n"
        b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
    )
    memory.from_upstream(b"550 not you\r\n")
    memory.from_upstream(b"503 no MAIL\r\n")
    assert [line[:3] for line in lines(memory.client_heard)] == [
        "550",
        "503",
        "503",
        "250",
    ]


@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_a_message_over_the_limit_is_552_also_where_it_has_no_place(how: str) -> None:
    """Trying again, as 451 asks for, would never help it."""
    memory = chunked(
        Rules(Settings(limits=Limits(message=1000))), new_spool=lambda: FullDisk(10)
    )
    if how == "DATA":
        memory.from_client(b"DATA\r\n" + b"x" * 1500 + b"\r\n.\r\n")
        assert lines(memory.client_heard)[1:] == ["552 5.3.4 Message too large"]
    else:
        for last in (b"", b"", b" LAST"):
            memory.from_client(b"BDAT 600%b\r\n" % last + b"x" * 600)
        assert [line[:3] for line in lines(memory.client_heard)] == [
            "451",
            "552",
            "552",
        ]
    assert memory.records[0].reply == "552 5.3.4 Message too large"


@pytest.mark.parametrize("how", ["DATA", "BDAT"])
def test_a_message_without_a_place_is_logged_once_and_says_why(how: str) -> None:
    memory = chunked(new_spool=lambda: FullDisk(3))
    if how == "DATA":
        memory.from_client(b"DATA\r\nhello\r\n.\r\n")
    else:
        memory.from_client(b"BDAT 4\r\nabcd")
        assert lines(memory.client_heard) == [
            "451 4.3.0 Storage failed, try again later"
        ]
        assert len(memory.log) == 1
        memory.from_client(b"BDAT 4\r\nabcdBDAT 1 LAST\r\nx")
    told = [line for line in memory.log if "no place for the message" in line]
    assert told == ["s1.1: no place for the message: No space left on device"]
