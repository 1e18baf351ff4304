"""The mail log: one line a transaction, whatever the peers sent (attacks P1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smtpguard.model.disposition import Outcome
from smtpguard.proxy.maillog import codes, line, printable, private, shown
from tests.proxy.fakes import ended_record


def test_a_line_tells_who_sent_what_and_how_it_ended() -> None:
    record = replace(
        ended_record(),
        outcome=Outcome.REJECTED,
        reply="550 5.7.1 Message refused",
        rule="content_types:2",
        action="deny",
        reason="application/x-dosexec",
        duration=0.25,
    )

    assert line(record, "full") == (
        "tx=5f3a.1 from=<a@client.example> to=<b@example.org>:250 rcpts=1 size=10 "
        "policy=inbound disposition=rejected rule=content_types:2 action=deny "
        'duration=0.250 reply="550 5.7.1 Message refused" '
        'reason="application/x-dosexec"'
    )


def test_recipients_stand_with_their_replies() -> None:
    record = replace(
        ended_record(),
        rcpt_to=(
            {"address": "b@example.org", "reply": "250 2.1.5 OK"},
            {"address": "c@example.org", "reply": "550 5.1.1 no"},
            {"address": "d@example.org", "reply": ""},
        ),
    )

    assert (
        "to=<b@example.org>:250,<c@example.org>:550,<d@example.org>:- rcpts=3 "
        in line(record, "full")
    )


def test_doubt_stands_in_the_line() -> None:
    record = replace(ended_record(), in_doubt="client gone")

    assert ' in_doubt="client gone" ' in line(record, "full")


@pytest.mark.parametrize(
    ("hostile", "escaped"),
    [
        ("x\r\ntx=1.1 disposition=relayed", "x\\r\\ntx=1.1 disposition=relayed"),
        ('x" rule="none', 'x\\" rule=\\"none'),
        ('\xf6" rule="none\\', '\\xf6\\" rule=\\"none\\\\'),
        ("x\x1b]0;owned\x07", "x\\x1b]0;owned\\x07"),
        ("x\u202eexe.txt", "x\\u202eexe.txt"),
        ("j\xf6rg\udcff", "j\\xf6rg\\udcff"),
    ],
    ids=["line break", "quote", "quote beside others", "terminal", "bidi", "surrogate"],
)
def test_nothing_breaks_out_of_its_field(hostile: str, escaped: str) -> None:
    text = line(replace(ended_record(), reason=hostile), "full")

    assert text.isascii()
    assert text.isprintable()
    assert text.endswith(f' reason="{escaped}"')


def test_a_space_in_an_address_does_not_end_its_field() -> None:
    text = line(replace(ended_record(), mail_from='"a size=0"@x'), "full")

    assert ' from=<"a\\x20size=0"@x> ' in text


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [("full", "A@example.org"), ("none", "hidden"), ("hashed", "8bb0cf6eb9b17d0f")],
)
def test_addresses_are_shown_as_the_option_says(mode: str, wanted: str) -> None:
    import hashlib

    if mode == "hashed":
        wanted = hashlib.sha256(b"a@example.org").hexdigest()[:16]

    assert shown("A@example.org", mode) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["hashed", "none"])
def test_no_address_is_left_in_a_private_line(mode: str) -> None:
    text = line(ended_record(), mode)  # type: ignore[arg-type]

    assert "client.example" not in text
    assert "example.org" not in text
    assert "rcpts=1" in text


@pytest.mark.parametrize("mode", ["hashed", "none"])
def test_words_that_may_quote_an_address_are_left_out(mode: str) -> None:
    record = replace(
        ended_record(),
        reply="550 5.1.1 <b@example.org>: no such user",
        reason="upstream says 550 <b@example.org>: no such user",
    )
    text = line(record, mode)  # type: ignore[arg-type]

    assert text.endswith(' reply="550 5.1.1"')


@pytest.mark.parametrize(
    ("reply", "wanted"),
    [
        ("250 2.0.0 OK", "250 2.0.0"),
        ("250 anna@d.example", "250"),
        ("550 5.7.1x@d.example", "550"),
        ("550 5.7.1@d.example", "550"),
        ("550", "550"),
        ("", ""),
    ],
)
def test_the_codes_of_a_reply(reply: str, wanted: str) -> None:
    assert codes(reply) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("550 <anna@d.example>: no", "550 <hidden>: no"),
        ("to=a@b,c@d;e@f", "to=hidden,hidden;hidden"),
        ("no address here", "no address here"),
        ("@", "hidden"),
    ],
)
def test_addresses_are_hidden_wherever_they_stand(text: str, wanted: str) -> None:
    assert private(text, "none") == wanted
    assert private(text, "full") == text


def test_hashes_in_a_text_are_those_of_the_mail_log() -> None:
    assert private("<A@x>", "hashed") == f"<{shown('a@x', 'hashed')}>"


def test_the_null_sender_stays_what_it_is() -> None:
    assert shown("", "hashed") == ""


def test_plain_text_is_left_alone() -> None:
    assert printable("250 2.0.0 OK (id 5f3a.1)") == "250 2.0.0 OK (id 5f3a.1)"
