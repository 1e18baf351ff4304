from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from smtpguard.demomails import (
    ANNA,
    EXE,
    MAILS,
    PAYLOAD,
    RULES,
    SMUGGLED,
    Mail,
    deliver,
    for_recipients,
    only_attachment_gone,
    unchanged,
)
from smtpguard.model.disposition import Outcome
from tests.judging import judge_message, make_pipeline, octets


class FakeClient:
    """Answers as it is told and keeps what it was asked."""

    def __init__(self, answers: dict[str, int]) -> None:
        self.answers = answers
        self.said: list[str] = []
        self.sent: list[bytes] = []

    def _answer(self, *words: str) -> tuple[int, bytes]:
        self.said.append(" ".join(words))
        code = self.answers.get(" ".join(words), self.answers.get(words[0], 250))
        return code, " ".join(words).encode()

    def ehlo(self) -> tuple[int, bytes]:
        return self._answer("EHLO")

    def mail(self, address: str) -> tuple[int, bytes]:
        return self._answer("MAIL", address)

    def rcpt(self, address: str) -> tuple[int, bytes]:
        return self._answer("RCPT", address)

    def data(self, content: bytes) -> tuple[int, bytes]:
        self.sent.append(content)
        return self._answer("DOT")

    def docmd(self, command: str) -> tuple[int, bytes]:
        return self._answer(command)

    def send(self, octets: bytes) -> None:
        self.sent.append(octets)

    def getreply(self) -> tuple[int, bytes]:
        return self._answer("REPLY")


def send(mail: Mail, **answers: int) -> tuple[str, FakeClient]:
    client = FakeClient(
        {name.replace("_", " "): code for name, code in answers.items()}
    )
    return deliver(client, mail), client  # type: ignore[arg-type]


PLAIN = Mail("plain", "250 ", b"Subject: x\r\n\r\nabcdef\r\n")


def test_a_mail_is_sent_and_the_last_reply_told() -> None:
    told, client = send(PLAIN)
    assert told == "250 DOT"
    assert client.sent == [PLAIN.content]


def test_a_refused_sender_ends_the_mail() -> None:
    told, client = send(PLAIN, MAIL=550)
    assert told == "550 MAIL karl@partner.test"
    assert client.sent == []


def test_refused_recipients_end_it_only_together() -> None:
    mail = Mail("two", "250 ", b"x", rcpt_to=("a@x.test", "b@x.test"))
    told, client = send(mail, **{"RCPT a@x.test": 550})
    assert (told, len(client.sent)) == ("250 DOT", 1)
    told, client = send(mail, **{"RCPT a@x.test": 550, "RCPT b@x.test": 550})
    assert (told[:3], client.sent) == ("550", [])


def test_chunks_are_sent_by_bdat_and_end_where_one_is_refused() -> None:
    mail = Mail("chunks", "250 ", b"abcdefghij", chunks=(3, 4))
    _, client = send(mail)
    assert client.sent == [
        b"BDAT 3\r\nabc",
        b"BDAT 4\r\ndefg",
        b"BDAT 3 LAST\r\nhij",
    ]
    told, client = send(mail, REPLY=452)
    assert (told, len(client.sent)) == ("452 REPLY", 1)


def test_verbatim_octets_are_sent_only_where_they_are_awaited() -> None:
    mail = Mail("verbatim", "550 ", b"", verbatim=b"\n.\r\n")
    _, client = send(mail, DATA=354)
    assert client.sent == [b"\n.\r\n"]
    _, client = send(mail, DATA=554)
    assert client.sent == []


# ------------------------------------------------------------------------------ checks


def test_unchanged_notices_one_octet() -> None:
    assert unchanged(b"abc")(b"abc", ()) == []
    assert unchanged(b"abc")(b"abC", ()) != []


def test_recipients_are_compared() -> None:
    assert for_recipients(ANNA)(b"", (ANNA,)) == []
    assert for_recipients(ANNA)(b"", ("b@x.test",)) != []


def stripped() -> bytes:
    said = judge_message(RULES, EXE, client=("192.0.2.1", 1))
    assert said.outcome is Outcome.MODIFIED
    return octets(said)


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (lambda mail: mail, None),
        (lambda mail: mail.replace(b"See the", b"See no"), "piece 1: changed"),
        (lambda mail: mail.replace(b"image/png", b"image/gif"), "piece 3: changed"),
        (lambda mail: EXE, "the attachment is still there"),
        (lambda mail: mail.replace(b"\r\n--=_demo--", b""), "4 pieces"),
        (lambda mail: mail.replace(b"text/plain; charset", b"x/y; charset"), "notice"),
    ],
    ids=["none", "text", "picture", "nothing done", "end lost", "no notice"],
)
def test_the_check_of_a_stripped_mail_sees_harm(
    harm: Callable[[bytes], bytes], complaint: str | None
) -> None:
    problems = only_attachment_gone(EXE, PAYLOAD)(harm(stripped()), ())
    if complaint is None:
        assert problems == []
    else:
        assert complaint in " ".join(problems)


# ------------------------------------------------------------------------------- mails


def test_the_rules_load_without_an_error() -> None:
    assert make_pipeline(RULES).rules.policies[0].name == "demo"


def test_there_is_a_dozen_of_mails_with_titles_of_their_own() -> None:
    titles = [mail.title for mail in MAILS]
    assert len(titles) >= 12
    assert len(set(titles)) == len(titles)


def test_what_is_not_to_arrive_is_refused_or_discarded_on_purpose() -> None:
    """A mail that vanishes behind a 250 must be the one that is to be discarded."""
    vanishing = [
        mail.title for mail in MAILS if not mail.copies and re.match(mail.told, "250 x")
    ]
    assert vanishing == ["a type to be discarded"]


def test_the_smuggled_mail_is_followed_by_another() -> None:
    """What it left behind would be taken for that one."""
    places = [bool(mail.verbatim) for mail in MAILS]
    assert places.count(True) == 1
    assert not places[-1]
    assert SMUGGLED.count(b"\n.\r\n") == 2


def test_every_mail_that_is_to_arrive_is_looked_at() -> None:
    unchecked = Mail("", "", b"").check
    assert [
        mail.title for mail in MAILS if mail.copies and mail.check is unchecked
    ] == []
