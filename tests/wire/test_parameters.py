from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.model.mailbox import Path
from smtpguard.model.reply import Reply
from smtpguard.wire import replies
from smtpguard.wire.capabilities import Capabilities
from smtpguard.wire.parameters import (
    check_mail_parameters,
    check_rcpt_parameters,
    decode_xtext,
    encode_xtext,
)
from smtpguard.wire.path import parse_mail, parse_rcpt


KEYWORDS = (
    *(b"SIZE", b"8BITMIME", b"BINARYMIME", b"CHUNKING", b"SMTPUTF8", b"DSN", b"AUTH X"),
    *(b"DELIVERBY", b"FUTURERELEASE", b"MT-PRIORITY", b"REQUIRETLS", b"RRVS"),
)
EVERYTHING = Capabilities.from_ehlo(Reply(250, (b"mx", *KEYWORDS)))
NOTHING = Capabilities.from_helo(Reply(250, (b"mx",)))


def without(keyword: bytes) -> Capabilities:
    rest = [line for line in KEYWORDS if line.split()[0] != keyword]
    return Capabilities.from_ehlo(Reply(250, (b"mx", *rest)))


def mail(parameters: str) -> Path:
    return parse_mail(f"FROM:<a@b> {parameters}".encode())


def rcpt(parameters: str) -> Path:
    return parse_rcpt(f"TO:<a@b> {parameters}".encode(), smtputf8=True)


def refusal(path: Path, capabilities: Capabilities, *, of_rcpt: bool = False) -> Reply:
    check = check_rcpt_parameters if of_rcpt else check_mail_parameters
    with pytest.raises(ProtocolError) as caught:
        check(path, capabilities)
    assert not caught.value.closes
    return caught.value.reply


MAIL = [
    ("SIZE", "SIZE=0"),
    ("SIZE", "SIZE=12345678901234567890"),
    ("8BITMIME", "BODY=7BIT"),
    ("8BITMIME", "BODY=8bitmime"),
    ("BINARYMIME", "BODY=BINARYMIME"),
    ("SMTPUTF8", "SMTPUTF8"),
    ("DSN", "RET=FULL"),
    ("DSN", "RET=hdrs"),
    ("DSN", "ENVID=QQ314159"),
    ("DSN", "ENVID=a+2Bb+20c+09d"),
    ("DSN", "ENVID=" + "x" * 100),
    ("AUTH", "AUTH=<>"),
    ("AUTH", "AUTH=a+2Bb@c"),
    ("DELIVERBY", "BY=120;R"),
    ("DELIVERBY", "BY=-120;NT"),
    ("DELIVERBY", "BY=+1;rt"),
    ("FUTURERELEASE", "HOLDFOR=86400"),
    ("FUTURERELEASE", "HOLDUNTIL=2030-12-31T23:59:60Z"),
    ("FUTURERELEASE", "HOLDUNTIL=2030-01-01T00:00:00.5+01:00"),
    ("MT-PRIORITY", "MT-PRIORITY=0"),
    ("MT-PRIORITY", "MT-PRIORITY=-9"),
    ("MT-PRIORITY", "MT-PRIORITY=9"),
    ("RRVS", "RRVS=x"),
]


@pytest.mark.parametrize(("extension", "parameter"), MAIL)
def test_F8_a_parameter_of_mail_needs_its_extension(
    extension: str, parameter: str
) -> None:
    check_mail_parameters(mail(parameter), EVERYTHING)
    assert refusal(mail(parameter), without(extension.encode())) is (
        replies.UNSUPPORTED_PARAMETER
    )
    assert refusal(mail(parameter), NOTHING) is replies.UNSUPPORTED_PARAMETER


RCPT = [
    ("DSN", "NOTIFY=NEVER"),
    ("DSN", "NOTIFY=success,DELAY"),
    ("DSN", "NOTIFY=SUCCESS,FAILURE,DELAY"),
    ("DSN", "ORCPT=rfc822;a+2Bb@c.example"),
    ("DSN", "ORCPT=utf-8;jörg@c.example"),
    ("DSN", r"ORCPT=utf-8;j\x{F6}rg@c.example"),
    ("DSN", "ORCPT=x400;" + "x" * 495),
    ("RRVS", "RRVS=2014-04-03T23:01:00Z"),
]


@pytest.mark.parametrize(("extension", "parameter"), RCPT)
def test_F8_a_parameter_of_rcpt_needs_its_extension(
    extension: str, parameter: str
) -> None:
    check_rcpt_parameters(rcpt(parameter), EVERYTHING)
    assert refusal(rcpt(parameter), without(extension.encode()), of_rcpt=True) is (
        replies.UNSUPPORTED_PARAMETER
    )


def test_no_parameters_need_nothing() -> None:
    check_mail_parameters(mail(""), NOTHING)
    check_rcpt_parameters(rcpt(""), NOTHING)


def test_F8_requiretls_has_a_refusal_of_its_own() -> None:
    check_mail_parameters(mail("REQUIRETLS"), EVERYTHING)
    assert refusal(mail("REQUIRETLS"), NOTHING) is replies.REQUIRETLS_NEEDED


@pytest.mark.parametrize(
    "parameter", ["FOO=1", "CHUNKING", "STARTTLS", "PIPELINING=1", "NOTIFY=NEVER"]
)
def test_F8_what_is_no_parameter_of_mail_is_555(parameter: str) -> None:
    assert refusal(mail(parameter), EVERYTHING) is replies.UNSUPPORTED_PARAMETER


@pytest.mark.parametrize(
    "parameter", ["SIZE=1", "BODY=8BITMIME", "RET=FULL", "AUTH=<>"]
)
def test_F8_what_is_no_parameter_of_rcpt_is_555(parameter: str) -> None:
    found = refusal(rcpt(parameter), EVERYTHING, of_rcpt=True)
    assert found is replies.UNSUPPORTED_PARAMETER


@pytest.mark.parametrize(
    "parameters",
    [
        *("SIZE", "SIZE=x", "SIZE=-1", "SIZE=123456789012345678901", "SIZE=\u0661"),
        *("BODY", "BODY=9BIT", "BODY=7BITX", "SMTPUTF8=1", "REQUIRETLS=1"),
        *("RET", "RET=ALL", "RET=HDR\u017f", "ENVID", "ENVID=a+2", "ENVID=a+2b"),
        *("ENVID=" + "x" * 101, "ENVID=a+0D+0Ab", "ENVID=+C3+B6", "ENVID=+FF"),
        *("AUTH", "AUTH=a+zz", "AUTH=+00", "AUTH=+FF"),
        *("BY", "BY=1", "BY=1;X", "BY=0;R", "BY=-1;R", "BY=1234567890;N", "BY=;N"),
        *("HOLDFOR=0", "HOLDFOR=1234567890", "HOLDFOR=x", "HOLDUNTIL=tomorrow"),
        *("HOLDUNTIL=2030-13-01T00:00:00Z", "HOLDUNTIL=2030-01-01T00:00:00"),
        *("HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z",),
        *("MT-PRIORITY=10", "MT-PRIORITY=+1", "MT-PRIORITY=-0", "MT-PRIORITY"),
        *("SIZE=1 SIZE=1", "SIZE=1 size=2", "SMTPUTF8 SMTPUTF8"),
    ],
)
def test_a_bad_value_in_mail_is_501(parameters: str) -> None:
    assert refusal(mail(f"{parameters} SMTPUTF8"), EVERYTHING) is replies.BAD_PARAMETER


@pytest.mark.parametrize(
    "parameters",
    [
        *("NOTIFY", "NOTIFY=NEVER,DELAY", "NOTIFY=ALWAYS", "NOTIFY=,DELAY"),
        *("NOTIFY=SUCCE\u017f\u017f", "NOTIFY=DELAY,DELAY,DELAY,DELAY"),
        *("ORCPT", "ORCPT=a@b", "ORCPT=;a@b", "ORCPT=rfc822;", "ORCPT=rfc822;a+2"),
        *("ORCPT=rfc822;a+0D+0Ab", "ORCPT=rfc822;j\u00f6rg@b", "ORCPT=rfc822;+C3+B6"),
        *("ORCPT=utf-8;a+2Bb", r"ORCPT=utf-8;\x{f6}", "ORCPT=rfc822;" + "x" * 494),
        *("NOTIFY=NEVER NOTIFY=NEVER",),
    ],
)
def test_a_bad_value_in_rcpt_is_501(parameters: str) -> None:
    found = refusal(rcpt(parameters), EVERYTHING, of_rcpt=True)
    assert found is replies.BAD_PARAMETER


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("", b""),
        ("a@b.example", b"a@b.example"),
        ("a+b=c d", b"a+2Bb+3Dc+20d"),
        ("\r\n\0\x7f", b"+0D+0A+00+7F"),
        ("ö", b"+C3+B6"),
        ("[UNAVAILABLE]", b"[UNAVAILABLE]"),
    ],
)
def test_xtext_hides_what_is_no_word(text: str, octets: bytes) -> None:
    assert encode_xtext(text) == octets
    assert decode_xtext(octets) == text


@given(st.text())
def test_xtext_is_read_back(text: str) -> None:
    octets = encode_xtext(text)
    assert decode_xtext(octets) == text
    assert not set(octets) - set(range(33, 127))
    assert b"=" not in octets


@pytest.mark.parametrize(
    "octets", [b"a b", b"a=b", b"+", b"+2", b"+2b", b"+GG", b"\xc3\xb6", b"+FF", b"a\n"]
)
def test_what_is_no_xtext_raises_value_error(octets: bytes) -> None:
    with pytest.raises(ValueError):
        decode_xtext(octets)
