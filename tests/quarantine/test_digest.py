from __future__ import annotations

import email
import email.policy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.quarantine.delivery import Fate
from smtpguard.quarantine.digest import (
    MAX_ITEMS,
    digest_mail,
    held_for,
    send_digest,
)
from smtpguard.quarantine.record import State
from tests.quarantine.making import NOW, boxes, part, record, to
from tests.quarantine.servers import Server


BOB, UMLAUT, SENDER = boxes("b@y.test", "ä@y.test", "postmaster@y.test")


def fields_and_text(octets: bytes) -> tuple[list[str], str]:
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    return parsed.keys(), parsed.get_content().replace("\r\n", "\n")


def test_each_recipient_gets_what_is_held_for_him() -> None:
    first, second = record("b@y.test", "c@y.test"), record("c@y.test")
    found = {str(box): held for box, held in held_for([first, second, part()]).items()}
    assert found == {"b@y.test": [first], "c@y.test": [first, second]}


@pytest.mark.parametrize(
    "changes", [{"state": State.RELEASED}, {"state": State.RELEASING}, {"added": True}]
)
def test_what_is_not_held_is_not_told(changes: dict[str, object]) -> None:
    made = record("b@y.test")
    one = replace(made.recipients[0], **changes)  # type: ignore[arg-type]
    assert held_for([made.with_recipients({0: one})]) == {}


def test_the_mail_names_id_sender_and_subject() -> None:
    made = record(subject="Rechnung für Übermorgen", header_from="Anna <anna@x.test>")
    octets = digest_mail(BOB, [made], SENDER, NOW)
    parsed = email.message_from_bytes(octets, policy=email.policy.default)
    assert octets.startswith(b"From: <postmaster@y.test>\r\nTo: <b@y.test>\r\n")
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert parsed["Date"] == "Tue, 24 Nov 2026 09:36:13 +0000"
    _, text = fields_and_text(octets)
    assert made.id in text
    assert "    From: Anna <anna@x.test>\n" in text
    assert "    Subject: Rechnung für Übermorgen\n" in text


HOSTILE = st.text() | st.sampled_from(
    ["a\r\nBcc: evil@x.test", "\r\n\r\n.\r\n", "\x1b[31m", "\u202e", "x" * 5000]
)


@given(HOSTILE, HOSTILE)
def test_nothing_of_others_becomes_a_field_or_leaves_seven_bits(
    subject: str, sender: str
) -> None:
    usual, _ = fields_and_text(digest_mail(BOB, [record()], SENDER, NOW))
    made = record(subject=subject, header_from=sender)
    octets = digest_mail(BOB, [made], SENDER, NOW)
    assert octets.isascii()
    assert octets.replace(b"\r\n", b"").isascii()
    assert not set(octets.replace(b"\r\n", b"")) & {*range(9), 10, 13, 27, 127}
    assert max(map(len, octets.split(b"\r\n"))) <= 998
    names, text = fields_and_text(octets)
    assert names == usual
    assert len(text.splitlines()) == 6
    assert all(line.isprintable() for line in text.split("\n"))


def test_an_address_outside_ascii_stands_in_no_field() -> None:
    octets = digest_mail(UMLAUT, [record("ä@y.test")], SENDER, NOW)
    assert b"To: undisclosed-recipients:;\r\n" in octets
    assert octets.isascii()


def test_a_mail_does_not_grow_without_end() -> None:
    many = [record() for _ in range(MAX_ITEMS + 7)]
    _, text = fields_and_text(digest_mail(BOB, many, SENDER, NOW))
    assert text.endswith("... and 7 more.\n")
    assert text.count("Subject: ") == MAX_ITEMS


def test_it_is_sent_from_nobody_so_that_nobody_answers() -> None:
    with Server() as server:
        result = send_digest(to(server.port), BOB, [record()], SENDER, NOW)
    assert result.fate is Fate.SENT
    assert server.commands[1].startswith(b"MAIL FROM:<> ")
    assert server.commands[2] == b"RCPT TO:<b@y.test>"
    (octets,) = server.messages
    assert b"Subject: Messages that are held for you: 1\r\n" in octets
