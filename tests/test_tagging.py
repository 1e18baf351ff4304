from __future__ import annotations

import pytest

from smtpguard.mime import parse
from smtpguard.model.disposition import Outcome
from smtpguard.model.verdict import Verdict, VerdictKind
from tests.judging import PreparedScanners, judge_message, lines, octets, rules


TOP = (
    "domains: [own.test]\nscanners:\n  v: {type: yara}\n"
    '  s: {type: rspamd, url: "http://127.0.0.1:1"}'
)
BULK = "bulk: {at: 5, action: tag}"


def scored(score: float = 6.5) -> PreparedScanners:
    return PreparedScanners(lambda *_: Verdict("s", VerdictKind.SCORED, score=score))


def tag(head: bytes, *more: str, table: str = BULK) -> bytes:
    text = rules(f"spam: {{scanner: s, {table}}}", *more, top=TOP)
    said = judge_message(text, head + b"\r\n\r\nBody\r\n", scored())
    assert said.outcome is Outcome.MODIFIED
    assert said.action is not None
    assert str(said.action) == "tag"
    return octets(said)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Subject: Hello", b"Subject: ***BULK*** Hello"),
        (b"Subject:Hello", b"Subject: ***BULK*** Hello"),
        (b"SUBJECT:\tHello", b"SUBJECT: ***BULK***\tHello"),
        (b"Subject:", b"Subject: ***BULK***"),
        (b"Subject: =?utf-8?q?=C3=BC?=", b"Subject: ***BULK*** =?utf-8?q?=C3=BC?="),
        (b"Subject:\r\n folded", b"Subject: ***BULK***\r\n folded"),
        (
            b"Subject: a\r\nSubject: b",
            b"Subject: ***BULK*** a\r\nSubject: ***BULK*** b",
        ),
    ],
)
def test_the_subject_gets_a_word_in_front(before: bytes, after: bytes) -> None:
    found = tag(b"X-A: 1\r\n" + before)
    assert (
        found
        == b"X-SmtpGuard-Spam: bulk; s=6.5\r\nX-A: 1\r\n" + after + b"\r\n\r\nBody\r\n"
    )


def test_encoded_words_are_read_as_before() -> None:
    found = parse(tag(b"Subject: =?utf-8?b?w7w=?= =?utf-8?b?w7Y=?="))
    [subject] = [one for one in found.fields if one.is_named("subject")]
    assert subject.value == "***BULK*** \u00fc\u00f6"


def test_a_message_without_a_subject_gets_one() -> None:
    assert b"\r\nSubject: ***BULK***\r\n" in b"\r\n" + tag(b"X-A: 1")


def test_no_line_becomes_too_long() -> None:
    found = tag(b"Subject: " + b"x" * 980)
    assert max(map(len, found.split(b"\r\n"))) <= 998
    [subject] = [one for one in parse(found).fields if one.is_named("subject")]
    assert subject.value.split() == ["***BULK***", "x" * 980]


def test_a_field_that_the_sender_forged_goes() -> None:
    found = tag(b"X-SmtpGuard-Spam: clean; s=-5\r\nSubject: a")
    assert found.count(b"X-SmtpGuard-Spam") == 1
    assert b"clean" not in found


def test_a_field_alone_leaves_the_subject_and_its_signature() -> None:
    head = b"DKIM-Signature: v=1; h=subject; d=a.test; s=b; bh=; b=\r\nSubject: a"
    field = b"X-SmtpGuard-Spam: bulk; s=6.5\r\n"
    assert tag(head, table=f"{BULK}, tag: header") == field + head + b"\r\n\r\nBody\r\n"
    assert tag(head, "on_dkim: deny") == field + head + b"\r\n\r\nBody\r\n"
    assert b"Subject: ***BULK*** a" in tag(head)


def test_an_own_word_stands_in_the_subject() -> None:
    table = 'bulk: {at: 5, action: tag, subject: "[maybe]"}'
    assert b"Subject: [maybe] a" in tag(b"Subject: a", table=table)


def test_an_exception_tags_without_a_score() -> None:
    table = f'{BULK}, exceptions: [{{match: "*", action: tag}}]'
    found = tag(b"Subject: a", table=table)
    assert found.startswith(b"X-SmtpGuard-Spam: exception\r\n")
    assert b"Subject: ***SPAM*** a" in found


def test_verdicts_are_told_in_fields_of_ours_where_they_are_wanted() -> None:
    scan = 'content_types: [{match: "*", action: scan}]'
    text = rules(
        "own_fields: add",
        scan,
        "antivirus: {scanner: v}",
        f"spam: {{scanner: s, {BULK}}}",
        top=TOP,
    )
    mail = lines("X-SmtpGuard-Virus: none at all", "Subject: a", "") + b"Body\r\n"

    def answer(key: str, _: object) -> Verdict:
        if key == "spam":
            return Verdict("s", VerdictKind.SCORED, score=1.5)
        return Verdict("v", VerdictKind.CLEAN)

    said = judge_message(text, mail, PreparedScanners(answer))
    head = octets(said).partition(b"\r\nSubject")[0]
    assert (
        b"X-SmtpGuard-Virus: 1 part scanned. clean action=allow\r\n" in head + b"\r\n"
    )
    assert b"X-SmtpGuard-Spam: clean; s=1.5" in head
    assert b"none at all" not in head
