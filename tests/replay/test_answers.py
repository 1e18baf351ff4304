from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from smtpguard.dialogue.transcript import Direction, Entry
from smtpguard.model.reply import Reply
from smtpguard.replay.answers import EHLO, GREETING, Upstream, collect, question
from smtpguard.replay.recording import Answer, Answers, Quiet


def entries(text: str) -> list[Entry]:
    """Read ``D octets`` lines; ``[...]`` is a mark, ``(...)`` a message."""
    found = []
    for line in text.strip().splitlines():
        letter, rest = line.strip().split(" ", 1)
        direction = cast("Direction", letter)
        if rest.startswith("["):
            found.append(Entry(direction, rest[1:-1].encode(), "mark"))
        elif rest.startswith("("):
            found.append(Entry(direction, rest[1:-1].encode(), "message"))
        else:
            found.append(Entry(direction, rest.encode() + b"\r\n"))
    return found


def upstream(text: str) -> Upstream:
    made = Upstream(collect(entries(text)))
    made.connect()
    return made


def codes(said: Sequence[Answer]) -> list[int]:
    return [reply.code for reply in said if isinstance(reply, Reply)]


def lines(said: Sequence[Answer]) -> tuple[bytes, ...]:
    (reply,) = said
    assert isinstance(reply, Reply)
    return reply.lines


SESSION = """
s [open]
S 220 mx.example ready
s EHLO c.example
S 250 mx.example
C MAIL FROM:<a@b.example>
s MAIL FROM:<a@b.example>
S 251 mail one
C RCPT TO:<c@d.example>
s RCPT TO:<c@d.example>
s RCPT TO:<e@d.example>
S 252 rcpt c
S 550 rcpt e
s DATA
S 354 go
s .
s (message)
S 250 queued one
C MAIL FROM:<a@b.example>
s MAIL FROM:<a@b.example>
S 451 mail two
s QUIT
S 221 bye
"""


def test_answers_are_found_by_question_in_any_order() -> None:
    server = upstream(SESSION)
    assert server.greeting() == Reply.make(220, "", "mx.example ready")
    server.mail = 1
    said = server.feed(
        b"RCPT TO:<e@d.example>\r\nRCPT TO:<C@D.example>\r\nMAIL FROM:<x@y.example>\r\n"
    )
    # The local part of a mailbox is what it is (RFC 5321 2.4), the domain has no case.
    assert codes(said) == [550, 250, 251]
    assert codes(server.feed(b"RCPT TO:<c@D.example>\r\n")) == [252]


def test_each_mail_of_the_client_has_its_own_answers() -> None:
    server = upstream(SESSION)
    server.mail = 1
    assert codes(server.feed(b"MAIL FROM:<a@b.example>\r\n")) == [251]
    server.mail = 2
    assert codes(server.feed(b"MAIL FROM:<a@b.example>\r\n")) == [451]
    server.mail = 3
    assert codes(server.feed(b"MAIL FROM:<a@b.example>\r\n")) == [250]


def test_a_message_is_read_to_its_end_and_answered_as_recorded() -> None:
    server = upstream(SESSION)
    server.mail = 1
    assert codes(server.feed(b"DATA\r\n")) == [354]
    assert server.feed(b"RSET\r\nQUIT\r\n..\r\n") == []
    assert server.feed(b".\r\nNOOP\r\n") == [
        Reply.make(250, "", "queued one"),
        Reply.make(250, "2.0.0", "OK"),
    ]


def test_a_message_in_a_chunk_gets_the_answer_to_the_message() -> None:
    server = upstream(SESSION)
    server.mail = 1
    assert server.feed(b"BDAT 6 LAST\r\n123") == []
    assert server.feed(b"456RSET\r\n") == [
        Reply.make(250, "", "queued one"),
        Reply.make(250, "2.0.0", "OK"),
    ]
    assert codes(server.feed(b"BDAT 0 LAST\r\n")) == [250]


def test_a_recorded_chunk_is_asked_once_with_its_message() -> None:
    server = upstream(
        """
        s [open]
        S 220 hi
        C MAIL FROM:<a@b.example>
        s BDAT 6 LAST
        s (123456)
        S 552 too large
        """
    )
    server.mail = 1
    assert codes(server.feed(b"DATA\r\nx\r\n.\r\n")) == [354, 552]


def test_what_was_never_asked_is_agreed_to() -> None:
    server = Upstream(Answers())
    assert server.connect()
    assert server.greeting() == GREETING
    assert server.shakes_hands()
    said = server.feed(
        b"EHLO x\r\nHELO x\r\nSTARTTLS\r\nXCLIENT ADDR=1\r\nAUTH PLAIN x\r\nNOOP\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nRSET\r\nETRN x\r\nQUIT\r\n"
    )
    assert codes(said) == [250, 250, 220, 220, 235, 250, 250, 250, 250, 250, 221]
    assert said[0] == EHLO


@pytest.mark.parametrize(
    ("end", "quiet"),
    [
        pytest.param("", Quiet.SILENT, id="silent"),
        pytest.param("S [closed]", Quiet.CLOSED, id="closed"),
        pytest.param("S [reset]", Quiet.CLOSED, id="reset"),
        pytest.param("S garbage", Quiet.CLOSED, id="garbage"),
    ],
)
def test_where_it_said_nothing_it_says_nothing(end: str, quiet: Quiet) -> None:
    server = upstream(
        f"""
        s [open]
        S 220 hi
        C MAIL FROM:<a@b.example>
        s MAIL FROM:<a@b.example>
        {end}
        """
    )
    server.mail = 1
    assert server.feed(b"MAIL FROM:<a@b.example>\r\n") == [quiet]


@pytest.mark.parametrize("last", ["S [closed]", "S 421 idle", "S 250 unasked"])
def test_an_upstream_that_goes_of_its_own_accord_does_so_after_the_same_line(
    last: str,
) -> None:
    answers = collect(
        entries(
            f"""
            s [open]
            S 220 hi
            C EHLO x
            s EHLO x
            S 250 hi
            C NOOP
            {last}
            C MAIL FROM:<a@b.example>
            """
        )
    )
    assert answers.lost_after == {2}


def test_a_reply_that_accepts_a_message_too_early_is_none() -> None:
    server = upstream(
        """
        s [open]
        S 220 hi
        C MAIL FROM:<a@b.example>
        s DATA
        S 354 go
        S 250 I have it all
        """
    )
    server.mail = 1
    said = server.feed(b"DATA\r\nx\r\n.\r\n")
    assert codes(said[:1]) == [354]
    assert said[1:] == [Quiet.CLOSED]


def test_a_repeated_envelope_is_answered_as_the_first_one() -> None:
    server = upstream(SESSION)
    server.mail = 1
    for _ in range(2):
        assert codes(server.feed(b"RCPT TO:<e@d.example>\r\n")) == [550]


def test_a_refusal_before_the_end_of_the_message_is_the_answer_to_it() -> None:
    server = upstream(
        """
        s [open]
        S 220 hi
        C MAIL FROM:<a@b.example>
        s DATA
        S 354 go
        S 552 enough
        """
    )
    server.mail = 1
    assert codes(server.feed(b"DATA\r\nx\r\n.\r\n")) == [354, 552]


def test_connections_come_and_fail_as_recorded_and_the_last_one_again() -> None:
    server = upstream("s [open]\nS 220 one\ns [open]\ns [open]\nS 220 three")
    assert server.greeting() == Reply.make(220, "", "one")
    assert not server.connect()
    assert server.connect()
    assert server.greeting() == Reply.make(220, "", "three")
    assert server.connect()
    assert server.greeting() == Reply.make(220, "", "three")


def test_a_handshake_fails_only_where_it_is_on_record_that_it_did() -> None:
    failed = "s [open]\nS 220 hi\ns STARTTLS\nS 220 go"
    assert not upstream(failed).shakes_hands()
    assert upstream(failed + "\nS [tls TLSv1.3]").shakes_hands()
    assert upstream("s [open]\nS 220 hi").shakes_hands()


def test_ehlo_is_answered_by_whether_tls_is_on() -> None:
    text = """
    s [open]
    S 220 hi
    s EHLO x
    S 250-clear
    """
    made = entries(text)[:-1]
    made.append(Entry("S", b"250-clear\r\n250-SIZE 9\r\n250 STARTTLS\r\n"))
    server = Upstream(collect(made))
    server.connect()
    assert lines(server.feed(b"EHLO x\r\n")) == (b"clear", b"SIZE 9", b"STARTTLS")
    server.secure = True
    # Never said under TLS: the same without the offer that makes no sense there.
    assert lines(server.feed(b"EHLO x\r\n")) == (b"clear", b"SIZE 9")


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"PROXY TCP4 192.0.2.1 192.0.2.9 1 25\r\n", id="v1"),
        pytest.param(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", id="v2"),
    ],
)
def test_a_proxy_header_is_not_answered(header: bytes) -> None:
    server = upstream(SESSION)
    for octet in header:
        assert server.feed(bytes([octet])) == []
    assert codes(server.feed(b"NOOP\r\n")) == [250]


def test_every_split_of_what_is_sent_gives_the_same_answers() -> None:
    sent = b"EHLO x\r\nDATA\r\na\r\n..\r\n.\r\nBDAT 3 LAST\r\nabcRSET\r\n"
    whole = upstream(SESSION)
    whole.mail = 1
    expected = whole.feed(sent)
    split = upstream(SESSION)
    split.mail = 1
    assert [r for octet in sent for r in split.feed(bytes([octet]))] == expected


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        pytest.param(b"EHLO x", ("EHLO", True), id="ehlo"),
        pytest.param(b"mail FROM:<a@b>", ("MAIL", 3), id="mail"),
        pytest.param(b"DATA", ("DATA", 3), id="data"),
        pytest.param(b".", ("FINAL", 3), id="final"),
        pytest.param(b"RCPT TO:<a@B.x>", ("RCPT", 3, ("a", "b.x")), id="rcpt"),
        pytest.param(b"RCPT nonsense", ("RCPT", 3, b"nonsense"), id="unparsable"),
        pytest.param(b"Kg==", ("AUTH",), id="auth-continued"),
    ],
)
def test_question(line: bytes, asked: tuple[object, ...]) -> None:
    assert question(line, 3, secure=True) == asked
