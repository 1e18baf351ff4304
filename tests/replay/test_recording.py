from __future__ import annotations

from typing import Any

import pytest

from smtpguard.dialogue.transcript import Entry
from smtpguard.model.reply import Reply
from smtpguard.replay.recording import (
    Answers,
    Introduce,
    Leave,
    Mail,
    Recording,
    Say,
    Shake,
    Step,
    chunk_size,
    client_steps,
    outcomes,
    read_reply,
)
from smtpguard.wire import replies


OK = Reply.make(250, "", "ok")


def c(octets: bytes) -> Entry:
    return Entry("c", octets)


def said(octets: bytes) -> Entry:
    return Entry("C", octets)


def steps_of(entries: list[Entry]) -> tuple[Step, ...]:
    return client_steps([c(b"220 mx.example\r\n"), *entries])


def mail(octets: bytes, size: int | None = None) -> Entry:
    return Entry("C", octets, "message", size=len(octets) if size is None else size)


def mark(text: bytes) -> Entry:
    return Entry("C", text, "mark")


def test_each_line_has_its_own_reply_also_in_a_pipelined_group() -> None:
    steps = steps_of(
        [
            said(b"MAIL FROM:<a@b.example>\r\n"),
            said(b"RCPT TO:<c@d.example>\r\n"),
            c(b"250 ok\r\n"),
            c(b"550 no\r\n"),
        ]
    )
    assert steps == (
        Say(b"MAIL FROM:<a@b.example>\r\n", told=OK),
        Say(b"RCPT TO:<c@d.example>\r\n", told=Reply.make(550, "", "no")),
    )


def test_the_mail_after_data_belongs_to_it_with_the_answer_to_the_mail() -> None:
    steps = steps_of(
        [said(b"DATA\r\n"), c(b"354 go\r\n"), mail(b"hi\r\n"), c(b"250 ok\r\n")]
    )
    assert steps == (Say(b"DATA\r\n", mail=Mail(b"hi\r\n", 4), told=OK, invited=True),)


def test_the_mail_of_chunks_belongs_to_the_last_of_them() -> None:
    steps = steps_of(
        [
            said(b"BDAT 2\r\n"),
            c(b"250 ok\r\n"),
            said(b"BDAT 2 LAST\r\n"),
            mail(b"hi\r\n"),
            c(b"250 ok\r\n"),
        ]
    )
    assert steps == (
        Say(b"BDAT 2\r\n", told=OK),
        Say(b"BDAT 2 LAST\r\n", mail=Mail(b"hi\r\n", 4), told=OK),
    )


def test_data_without_a_mail_was_invited_or_was_not() -> None:
    invited = steps_of([said(b"DATA\r\n"), c(b"354 go\r\n"), mark(b"reset")])
    assert invited == (Say(b"DATA\r\n", invited=True), Leave(reset=True))
    (refused,) = steps_of([said(b"DATA\r\n"), c(b"554 no\r\n")])
    assert isinstance(refused, Say)
    assert not refused.invited


def test_a_mail_that_was_too_large_for_us_had_more_than_was_taken_in() -> None:
    too_large = replies.MESSAGE_TOO_LARGE.to_octets()
    (step,) = steps_of(
        [said(b"DATA\r\n"), c(b"354 go\r\n"), mail(b"hi\r\n"), c(too_large)]
    )
    assert isinstance(step, Say)
    assert step.mail == Mail(b"hi\r\n", 4, longer=True)


def test_leaving_comes_last_whatever_was_read_after_it() -> None:
    steps = steps_of([mark(b"closed"), said(b"QUIT\r\n"), c(b"221 bye\r\n")])
    assert [type(step) for step in steps] == [Say, Leave]
    assert steps[-1] == Leave(reset=False)


def test_marks_of_handshake_and_proxy_header_are_steps_others_are_not() -> None:
    steps = steps_of(
        [mark(b"proxy 192.0.2.7"), mark(b"tls TLSv1.3"), mark(b"xclient 192.0.2.8")]
    )
    assert steps == (Introduce(), Shake())


@pytest.mark.parametrize(
    ("recorded", "octets"),
    [
        pytest.param(
            rb"MAIL FROM:<j\xc3\xb6rg@b.example>",
            "MAIL FROM:<jörg@b.example>".encode(),
            id="utf-8",
        ),
        pytest.param(rb"MAIL FROM:<\xff@b>", rb"MAIL FROM:<\xff@b>", id="not-utf-8"),
        pytest.param(
            rb'MAIL FROM:<"a\tb\x41"@b>', rb'MAIL FROM:<"a\tb\x41"@b>', id="quoted-pair"
        ),
        pytest.param(rb"\x16\x03\x01", b"\x16\x03\x01", id="noise"),
        pytest.param(rb"STARTTLS\t", b"STARTTLS\t", id="tab"),
    ],
)
def test_escapes_of_a_printable_transcript_are_undone(
    recorded: bytes, octets: bytes
) -> None:
    (step,) = steps_of([said(recorded + b"\r\n")])
    assert isinstance(step, Say)
    assert step.octets == octets + b"\r\n"


@pytest.mark.parametrize(
    ("octets", "verb"),
    [
        pytest.param(b"ehlo x\r\n", "EHLO", id="lower-case"),
        pytest.param(b"\r\n", "", id="empty"),
        pytest.param(b"QUIT\r\n", "QUIT", id="alone"),
    ],
)
def test_verb(octets: bytes, verb: str) -> None:
    assert Say(octets).verb == verb


def test_read_reply_takes_whole_replies_only() -> None:
    assert read_reply(b"250-a\r\n250 b\r\n") == Reply(250, (b"a", b"b"))
    assert read_reply(b"250-a\r\n") is None
    assert read_reply(b"garbage\r\n") is None


@pytest.mark.parametrize(
    ("line", "size"),
    [
        pytest.param(b"BDAT 12\r\n", 12, id="chunk"),
        pytest.param(b"bdat 7 LAST\r\n", 7, id="last"),
        pytest.param(b"BDAT x\r\n", 0, id="nonsense"),
    ],
)
def test_chunk_size(line: bytes, size: int) -> None:
    assert chunk_size(line) == size


def recording(steps: list[Step], transactions: list[dict[str, Any]]) -> Recording:
    return Recording(
        "x", {"id": "s1"}, {}, tuple(steps), Answers(), tuple(transactions)
    )


def test_outcomes_belong_to_the_mail_command_they_began_with() -> None:
    refused = Reply.make(550, "5.7.1", "no")
    steps: list[Step] = [
        Say(b"MAIL FROM:<a@b>\r\n", told=OK),  # s1.1, left without a record
        Say(b"MAIL FROM:<b@b>\r\n", told=refused),  # s1.2, refused by the rules
        Say(b"MAIL bad\r\n", told=replies.BAD_SENDER),  # no transaction at all
        Say(b"MAIL FROM:<c@b>\r\n", told=OK),  # s1.3
    ]
    second = {
        "transaction": "s1.2",
        "reply": str(refused),
        "envelope": {"rcpt_to": [{"reply": ""}]},
    }
    third = {
        "transaction": "s1.3",
        "reply": str(replies.BAD_SENDER),  # to its RCPT, as it happens
        "envelope": {"rcpt_to": [{"reply": str(replies.BAD_SENDER)}]},
    }
    assert outcomes(recording(steps, [second, third])) == {2: second, 4: third}


def test_the_greeting_answers_nothing_also_where_the_client_spoke_first() -> None:
    steps = client_steps([said(b"EHLO x\r\n"), c(b"220 mx\r\n"), c(b"250 mx\r\n")])
    assert steps == (Say(b"EHLO x\r\n", told=Reply.make(250, "", "mx")),)
