from __future__ import annotations

import pytest

from smtpguard.errors import ReplayError
from smtpguard.model.reply import Reply
from smtpguard.replay.recorded import replay
from smtpguard.replay.recording import Leave, Mail, Quiet, Recording, Say, Shake
from smtpguard.replay.script import parse_script
from smtpguard.replay.scriptfile import read_script
from tests.replay.deciders import Rules


RELAYED = r"""
S> 220 mx.example ESMTP
c< 220 mx.example ESMTP
C> EHLO client.example
s< EHLO client.example
S> 250-mx.example
S> 250 PIPELINING
c< 250-mx.example
c< 250 PIPELINING...
C> MAIL FROM:<a@b.example>
C> RCPT TO:<c@d.example>
C> RCPT TO:<e@d.example>
C> DATA
s< MAIL FROM:<a@b.example>
s< RCPT TO:<c@d.example>
s< RCPT TO:<e@d.example>
S> 250 ok
S> 250 ok
S> 550 no
c< 250 ok
c< 250 ok
c< 550 no
c< 354 ...
C> Subject: x
C>
C> ..dot
C> .
C> QUIT
s< DATA
S> 354 go
s< Subject: x
s<
s< ..dot
s< .
S> 250 queued
c< 250 queued
c< 221 ...
"""


def lines(recording: Recording) -> list[Say]:
    return [step for step in recording.steps if isinstance(step, Say)]


def code(reply: object) -> int:
    assert isinstance(reply, Reply)
    return reply.code


def test_a_script_is_read_as_the_session_it_describes() -> None:
    recording = read_script(parse_script(RELAYED, "relayed.smtp"))
    ehlo, mail, rcpt, refused, data, quit_ = lines(recording)
    assert ehlo.octets == b"EHLO client.example\r\n"
    assert [code(line.told) for line in (mail, rcpt, refused)] == [250, 250, 550]
    assert data.mail == Mail(b"Subject: x\r\n\r\n.dot\r\n", 20)
    assert [code(line.told) for line in (data, quit_)] == [250, 221]
    known = recording.answers.known
    assert code(known["RCPT", 1, ("e", "d.example")][0]) == 550
    assert known["FINAL", 1] == [Reply.make(250, "", "queued")]


def test_a_script_replays_to_what_it_describes() -> None:
    (result,) = replay(read_script(parse_script(RELAYED, "relayed.smtp")), Rules())
    assert result["disposition"] == "relayed"
    assert result["reply"] == "250 queued"
    assert result["file"] == "relayed.smtp"
    assert [r["reply"] for r in result["envelope"]["rcpt_to"]] == ["250 ok", "550 no"]


def test_handshakes_close_and_a_second_connection() -> None:
    script = parse_script(
        """
name: mx.example
S> 220 first
c< 220 first
C> STARTTLS
s< STARTTLS
S> 220 go
S> [tls]
c< 220 go
C> [tls client.sni]
S> [close]
s< [open]
S> 220 second
C> [close]
"""
    )
    recording = read_script(script)
    assert [type(step) for step in recording.steps] == [Say, Shake, Leave]
    links = recording.answers.links
    assert [(str(link.greeting), link.secure) for link in links] == [
        ("220 first", True),
        ("220 second", False),
    ]
    assert recording.legs["client"]["tls"]["name"] == "client.sni"
    assert recording.session["reverse_name"] == "mx.example"


def test_an_upstream_that_cannot_be_reached_is_a_connection_without_greeting() -> None:
    recording = read_script(parse_script("S> [refused]\nc< 421 4.3.2 no\n"))
    (link,) = recording.answers.links
    assert link.greeting is None


def test_chunks_are_a_message() -> None:
    recording = read_script(
        parse_script(
            r"""
S> 220 hi
c< 220 hi
C> BDAT 3
C> abc\
c< 250 ok
C> BDAT 4 LAST
C> de
c< 250 ok
C> RSET
c< 250 ok
"""
        )
    )
    first, last, reset = lines(recording)
    assert first.mail is None
    assert last.mail == Mail(b"abcde\r\n", 7)
    assert reset.octets == b"RSET\r\n"


def test_garbage_of_the_upstream_loses_it() -> None:
    script = (
        "S> 220 hi\nc< 220 hi\nC> MAIL FROM:<a@b>\ns< MAIL FROM:<a@b>\nS> garbage\n"
    )
    recording = read_script(parse_script(script))
    assert recording.answers.known["MAIL", 1] == [Quiet.CLOSED]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param(r"C> EHLO\0x", "bare CR", id="nul"),
        pytest.param("c< 99 nonsense", "no reply", id="no-reply"),
    ],
)
def test_what_is_no_dialogue_is_named_with_its_line(line: str, told: str) -> None:
    with pytest.raises(ReplayError, match=r"bad\.smtp:2: no dialogue.*" + told):
        read_script(parse_script(f"# a comment\n{line}\n", "bad.smtp"))
