"""What holds for every path, and for those of a corpus; see ``test_path.py``."""

from __future__ import annotations

import functools
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.model.mailbox import Mailbox
from smtpguard.wire import replies
from smtpguard.wire.path import parse_mail, parse_mailbox, parse_rcpt
from tests.wire.addressing import rcpt, refusal
from tests.wire.feeding import of_words, outcome
from tests.wire.timing import LINEAR, slowdown


if TYPE_CHECKING:
    from pathlib import Path as FilePath


PIECES = (
    *(b"FROM:", b"TO:", b"<", b">", b"@", b'"', b"\\", b"a", b"b.c", b".", b" ", b":"),
    *(b",", b"[", b"]", b"IPv6:::1", b"1.2.3.4", b"SIZE=1", b"SMTPUTF8", b"\xc3\xb6"),
    *(b"\xff", b"\t", b"%", b"xn--", b"-"),
)


@given(st.binary(max_size=60) | of_words(*PIECES), st.booleans())
def test_any_argument_is_a_path_or_a_protocol_error(
    argument: bytes, smtputf8: bool
) -> None:
    for parse in (parse_mail, functools.partial(parse_rcpt, smtputf8=smtputf8)):
        path = outcome(functools.partial(parse, argument))
        if isinstance(path, ProtocolError):
            assert path.reply.is_permanent
            assert not path.closes
        elif path.mailbox is not None:
            # As it was written, but for a source route before it.
            head = argument[: argument.index(path.mailbox.octets + b">")]
            assert re.search(rb"<(?:@[^<>]+:)?\Z", head)


@given(of_words(b"a", b"b.c", b'"', b"@", b"x y", b"\\", b"%", b">", max_size=9))
def test_what_is_accepted_is_read_the_same_again(inside: bytes) -> None:
    try:
        mailbox = rcpt(b"<" + inside + b">")
    except ProtocolError:
        return
    assert rcpt(b"<" + mailbox.octets + b">") == mailbox
    if mailbox.domain:
        assert parse_mailbox(mailbox.octets.decode()) == mailbox


@pytest.mark.parametrize(
    ("before", "repeated", "after"),
    [
        (b'FROM:<"', b"a", b""),
        (b'FROM:<"', b'\\"', b""),
        (b"FROM:<", b"a.", b""),
        (b"FROM:<", b"a", b""),
        (b"FROM:<@", b"a.", b""),
        (b"FROM:<@", b"a,@", b"-"),
        (b"FROM:<@a", b"-", b""),
        (b"FROM:<@", b"a-a.", b"-"),
        (b"FROM:<a@", b"b-", b">"),
        (b"FROM:<a@[", b"x:", b""),
        (b"FROM:<a@b>", b" ", b"_"),
        (b"FROM:<a@b>", b" A=1", b"="),
    ],
    ids=repr,
)
def test_P2_no_argument_makes_the_grammar_try_twice(
    before: bytes, repeated: bytes, after: bytes
) -> None:
    def parse(times: int) -> None:
        refusal(before + repeated * times + after)

    assert slowdown(parse, 2000) < LINEAR


# What the corpus of isemail calls an error or RFC 5322 only, and we accept.
ACCEPTED_NONETHELESS = {
    "test@iana.org.": "ends in the dot that ends a full name; compared without it",
    "test@[IPv6:1111:2222:3333:4444:5555:6666::8888]": (
        ":: for one group: RFC 5321 wants two, but it has one reading only"
    ),
}


def test_addresses_of_isemail_are_judged_as_rfc_5321_does(shared: FilePath) -> None:
    tests = ET.parse(shared / "corpus/addresses/isemail/tests.xml").getroot()
    wrong = {}
    judged = 0
    for test in tests.iter("test"):
        # Controls are written as their symbols, 0x2400 and on.
        address = (test.findtext("address") or "").translate(
            {0x2400 + code: code for code in range(32)}
        )
        # DNSWARN: the grammar is fulfilled, but no such domain is in the DNS.
        expected = test.findtext("category") in {
            *("ISEMAIL_VALID_CATEGORY", "ISEMAIL_RFC5321", "ISEMAIL_DNSWARN"),
        }
        judged += 1
        if is_accepted(address) is not expected:
            wrong[address] = not expected
    assert judged > 160
    assert wrong == dict.fromkeys(ACCEPTED_NONETHELESS, True)


def is_accepted(address: str) -> bool:
    mailbox = outcome(lambda: rcpt(f"<{address}>"))
    if isinstance(mailbox, Mailbox):
        return True
    assert mailbox.reply is replies.BAD_RECIPIENT
    return False
