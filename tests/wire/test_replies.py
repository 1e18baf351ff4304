from __future__ import annotations

import pytest

from smtpguard.model.reply import Reply
from smtpguard.wire import replies


OURS = {
    name: value for name, value in vars(replies).items() if isinstance(value, Reply)
}
MADE = {
    "chunk_ok": replies.chunk_ok(86),
    "greeting": replies.greeting("mx.example"),
    "policy_refused": replies.policy_refused("5f3a.2"),
}
ALL = [pytest.param(reply, id=name) for name, reply in (OURS | MADE).items()]


@pytest.mark.parametrize(
    ("name", "octets"),
    [
        ("NO_VALID_RECIPIENTS", b"554 5.5.1 No valid recipients\r\n"),
        ("MUST_STARTTLS", b"530 5.7.0 Must issue a STARTTLS command first\r\n"),
        ("START_MAIL_INPUT", b"354 End data with <CR><LF>.<CR><LF>\r\n"),
    ],
)
def test_texts_that_the_contract_gives_are_those(name: str, octets: bytes) -> None:
    assert OURS[name].to_octets() == octets


@pytest.mark.parametrize(
    ("name", "code", "enhanced"),
    [
        ("UPSTREAM_UNREACHABLE", 421, "4.3.2"),
        ("SHUTTING_DOWN", 421, "4.3.2"),
        ("IDENTITY_UNDELIVERED", 421, "4.3.2"),
        ("LIMIT_CLOSE", 421, "4.7.0"),
        ("TLS_NOT_AVAILABLE", 454, "4.7.0"),
        ("TLS_REQUIRED_UPSTREAM", 451, "4.7.0"),
        ("UNDECIDED", 451, "4.3.0"),
        ("UPSTREAM_CHANGED", 451, "4.4.1"),
        ("TOO_MANY_RECIPIENTS", 452, "4.5.3"),
        ("TOO_MANY_REJECTED", 452, "4.5.3"),
        ("NOT_IMPLEMENTED", 502, "5.5.1"),
        ("REQUIRETLS_NEEDED", 550, "5.7.30"),
        ("BARE_NEWLINE", 550, "5.6.0"),
        ("VRFY_252", 252, "2.5.2"),
        ("LOOP", 554, "5.4.6"),
    ],
)
def test_codes_that_the_contract_gives_are_those(
    name: str, code: int, enhanced: str
) -> None:
    assert (OURS[name].code, OURS[name].enhanced) == (code, enhanced)


def test_makers_fill_in_what_differs() -> None:
    assert [str(reply) for reply in MADE.values()] == [
        "250 2.0.0 86 octets received",
        "220 mx.example ESMTP",
        "550 5.7.1 Message refused by policy (id 5f3a.2)",
    ]


@pytest.mark.parametrize(
    ("code", "enhanced", "line"),
    [
        (250, "2.1.5", "250 2.1.5 OK"),
        (354, "", "354 Go on"),
        (452, "4.2.2", "452 4.2.2 Try again later"),
        (550, "", "550 Refused"),
    ],
)
def test_a_generic_reply_says_no_more_than_its_codes(
    code: int, enhanced: str, line: str
) -> None:
    assert str(replies.generic(code, enhanced)) == line


@pytest.mark.parametrize("reply", ALL)
def test_a_reply_of_ours_is_one_short_line_of_ascii(reply: Reply) -> None:
    octets = reply.to_octets()
    assert octets.count(b"\r\n") == 1
    assert len(octets) <= 512
    assert octets[:-2].decode("ascii").isprintable()


@pytest.mark.parametrize("reply", ALL)
def test_the_enhanced_code_is_of_the_same_class(reply: Reply) -> None:
    """RFC 2034 4: every 2yz, 4yz and 5yz but the greeting has one, of its own class."""
    if reply.code == 354 or reply is MADE["greeting"]:
        assert reply.enhanced == ""
        return
    assert reply.enhanced[0] == str(reply.code)[0]
