"""The mail log: one line a transaction, whatever the peers sent (attacks P1)."""

from __future__ import annotations

import hashlib
import json
import time
import timeit
from dataclasses import replace
from pathlib import Path

import pytest

from smtpguard.model.disposition import Outcome
from smtpguard.options import GuardOptions
from smtpguard.proxy.maillog import (
    Addresses,
    codes,
    describe,
    json_line,
    line,
    printable,
    private,
    shown,
    told,
)
from smtpguard.wire import parse_mailbox
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


SCANNED = {
    "parts": [
        {"verdicts": [{"scanner": "clam", "kind": "clean", "name": ""}]},
        {"verdicts": [{"scanner": "clam", "kind": "infected", "name": "Eicar"}]},
        {"verdicts": [{"scanner": "clam", "kind": "clean", "name": ""}]},
    ],
    "spam": {"scanner": "rspamd", "category": "bulk", "score": 8.5},
    "quarantine": ["20261124-a", "20261124-b"],
}


def test_verdicts_are_told_once_each_and_what_is_kept() -> None:
    found = line(replace(ended_record(), report=SCANNED), "full")
    assert " verdicts=clam:clean,clam:infected:Eicar,rspamd:bulk:8.5 " in found
    assert " kept=20261124-a,20261124-b " in found


@pytest.mark.parametrize(
    "report",
    [
        {"parts": 7, "spam": "x", "quarantine": None},
        {
            "parts": [7, {"verdicts": 7}, {"verdicts": [7, {}]}],
            "spam": {},
            "quarantine": [7],
        },
    ],
)
def test_whatever_an_addon_reports_is_no_error(report: dict[str, object]) -> None:
    assert line(replace(ended_record(), report=report), "full").startswith("tx=")
    assert json.loads(json_line(replace(ended_record(), report=report), "full"))


def test_the_same_can_be_had_as_json() -> None:
    record = replace(ended_record(), report=SCANNED, reason='"\u00fc"\r\n')
    found = json_line(record, "full")
    assert found.isascii()
    assert "\n" not in found
    told = json.loads(found)
    assert told["verdicts"] == ["clam:clean", "clam:infected:Eicar", "rspamd:bulk:8.5"]
    assert (told["to"], told["size"]) == (["<b@example.org>:250"], 10)
    assert told["reason"] == '"\u00fc"\r\n'
    assert told["duration"] == round(record.duration, 3)
    assert "in_doubt" not in told
    hashed = json.loads(json_line(record, "hashed"))
    assert "example" not in json.dumps(hashed)
    assert "reason" not in hashed


def test_the_option_says_which_form() -> None:
    record = ended_record()
    assert told(record, GuardOptions(Path())) == line(record, "full")
    as_json = GuardOptions(Path(), log_form="json", log_addresses="none")
    assert told(record, as_json) == json_line(record, "none")


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
        ("to:a@b,c@d;e@f", "to:hidden,hidden;hidden"),
        ("no address here", "no address here"),
        ("@", "hidden"),
        ("bounce+anna=d.example@lists.example no", "hidden no"),
        ("prvs=0123456789=anna@d.example no", "hidden no"),
        ("SRS0=HHH=TT=d.example=anna@relay.example no", "hidden no"),
        ("o'neil@d.example's mailbox", "hidden's mailbox"),
        ("user 'anna@d.example' unknown", "user 'hidden' unknown"),
        ("user {anna@d.example} unknown", "user hidden} unknown"),
        ('user "anna@d.example" unknown', 'user "hidden" unknown'),
        ('550 <"anna k"@d.example>: no', "550 <hidden>: no"),
        (r'550 "anna \"the\" k"@d.example no', "550 hidden no"),
        ('550 "a>b@c, d"@d.example no', "550 hidden no"),
        ('said "no" to "anna k"@d.example', 'said "no" to hidden'),
        ('a 5" disk of "anna k"@d.example', 'a 5" disk of hidden'),
        ('"anna k".b@d.example', "hidden"),
        ('"anna \\\nk"@d.example', "hidden"),
        ("a@b@c no", "hidden no"),
        ("<@relay.example,@b.example:anna@d.example>", "<hidden,hidden:hidden>"),
        ("anna@[192.0.2.1] no", "hidden no"),
        ("anna@[IPv6:2001:db8::1]: no", "hidden: no"),
        ("anna@[192.0.2.1", "hidden"),
        ("j\xf6rg@b\xfccher.example no", "hidden no"),
        (r"j\xc3\xb6rg@b\xc3\xbccher.example no", "hidden no"),
        ("write to anna@d.example.", "write to hidden."),
        (r"b'\"anna k\"@d.example'", "b'hidden'"),
        (r"\"anna k\"@d.example no", "hidden no"),
        ("anna@\u0921\u093e\u091f\u093e.\u092d\u093e\u0930\u0924 no", "hidden no"),
        ("anna@b..d.example no", "hidden no"),
        ("anna@d.example... bob@d.example!", "hidden... hidden!"),
        ("anna@d.example/bob@d.example|x", "hiddenhidden|x"),
        ("line one anna@d\nbob@d line two", "line one hidden\nhidden line two"),
        ("unsubscribe?u=anna%40d.example no", "hidden no"),
        ("ORCPT=rfc822;anna+40d.example no", "ORCPT=rfc822;hidden no"),
        ("anna%40[192.0.2.1] no", "hidden no"),
        ('"anna k"%40d.example no', "hidden no"),
        ("took +40 ms, 40%", "took +40 ms, 40%"),
        ("anna%host@relay.example no", "hidden no"),
        ("to <anna @ d.example> no", "to <hidden> no"),
        ("anna\t@d.example, bob@ e.example no", "hidden, hidden no"),
        ('"anna k" @ d.example no', "hidden no"),
        ("anna\r\n @d.example no", "hidden no"),
        ('550 <"a"."b c"@d.example>: no', "550 <hidden>: no"),
        ('550 a."b c".d."e f".g@d.example no', "550 hidden no"),
        ('said "no". "anna k"@d.example', 'said "no". hidden'),
    ],
)
def test_addresses_are_hidden_wherever_they_stand(text: str, wanted: str) -> None:
    assert private(text, "none") == wanted
    assert private(text, "full") == text


@pytest.mark.parametrize(
    ("before", "address", "after"),
    [
        ("<", "A@x.example", ">"),
        ("write to ", "a@x.example", "."),
        ("to '", "a@x.example", "'"),
        ("550 ", '"a b"@x.example', ": no"),
        ("", "a@[192.0.2.1]", " no"),
        ("", "bounce+a=x.example@lists.example", ","),
        ("<", '"a"."b c"@x.example', ">"),
        ("'", "a@x.example", "'"),
    ],
)
def test_hashes_in_a_text_are_those_of_the_mail_log(
    before: str, address: str, after: str
) -> None:
    wanted = before + shown(address, "hashed") + after

    assert private(before + address + after, "hashed") == wanted


@pytest.mark.parametrize(
    "written",
    [
        '"a"@x.example',
        "A@X.example",
        "a @ x.example",
        "a%40x.example",
        "a+40x.example",
        r"\"a\"@x.example",
    ],
)
def test_one_address_has_one_hash_however_it_is_written(written: str) -> None:
    """An address in a text can be found in the mail log by its hash."""
    wanted = shown("a@x.example", "hashed")

    assert private(f"<{written}>", "hashed").replace("\\", "") == f"<{wanted}>"


@pytest.mark.parametrize(
    "quoted",
    [
        b'"a b"@x.example',
        rb'"a\"b"@x.example',
        rb'"a\\"@x.example',
        b'"a @b"@x.example',
    ],
)
def test_a_quoted_local_part_has_the_hash_of_its_mailbox(quoted: bytes) -> None:
    """The mail log shows mailboxes, whose quoting is undone; texts quote the peer."""
    mailbox = str(parse_mailbox(quoted.decode()))

    assert mailbox.encode() != quoted
    assert private(f"<{quoted.decode()}>", "hashed") == f"<{shown(mailbox, 'hashed')}>"


def test_other_addresses_have_other_hashes() -> None:
    assert shown("a@x.example", "hashed") != shown("a@y.example", "hashed")
    assert shown("a@x.example", "hashed") != shown("b@x.example", "hashed")


@pytest.mark.parametrize(
    ("piece", "end"),
    [
        (" ", "@b"),
        ("a ", "@b"),
        ("@ ", ""),
        ("a@ ", ""),
        ("%40", ""),
        ("a%40", "b"),
        ("+40[", ""),
        ('"a".', "@b"),
        ('"a".', "x"),
        ('."', "@b"),
        ('"a" ', "@b"),
        ('"a".b@c ', ""),
        ("a", "@"),
        ("a@", ""),
        (".", "@"),
        ("@.", ""),
        ("a@b.", ""),
        ("'", "@b"),
        ('"', "@b"),
        ('"a@', ""),
        (r"\"", "@"),
        ('"' + "\\", "@"),
        ('"a"b', "@"),
        ("[", "@"),
        ("@[", ""),
        ("@[a.", ""),
    ],
)
def test_a_hostile_text_costs_no_more_than_its_length(piece: str, end: str) -> None:
    """Eight times the text takes about eight times as long, and not sixty-four."""
    took = {}
    for times in (4_000, 32_000):
        text = piece * times + end
        timer = timeit.Timer(lambda: private(text, "none"), timer=time.process_time)  # noqa: B023
        took[times] = min(timer.repeat(number=1))

    assert took[32_000] < 25 * max(took[4_000], 0.001)


def test_a_fault_is_told_without_control_characters() -> None:
    text = describe(ValueError("\x1b[2J\r550 <anna@d.example>"), "full")

    assert text.endswith("ValueError: \\x1b[2J\n550 <anna@d.example>")


@pytest.mark.parametrize(
    ("mode", "shows"),
    [
        ("none", "hidden"),
        ("hashed", hashlib.sha256(b"anna@d.example").hexdigest()[:16]),
    ],
)
def test_a_fault_is_told_without_the_addresses_in_it(
    mode: Addresses, shows: str
) -> None:
    """The whole chain of errors stands in the log, with whatever they quote."""
    error = ValueError("550 <anna@d.example>")
    error.__cause__ = KeyError('"bob k"@e.example')
    error.add_note("carol@f.example")
    text = describe(error, mode)

    assert f"550 <{shows}>" in text
    assert "anna" not in text
    assert "bob" not in text
    assert "carol" not in text


def test_the_null_sender_stays_what_it_is() -> None:
    assert shown("", "hashed") == ""


def test_plain_text_is_left_alone() -> None:
    assert printable("250 2.0.0 OK (id 5f3a.1)") == "250 2.0.0 OK (id 5f3a.1)"
