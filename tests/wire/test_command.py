from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.wire.command import Command, parse_command, printable, redact
from smtpguard.wire.commandspec import spec
from tests.wire.feeding import of_words, outcome


COMMANDS = [
    pytest.param(b"NOOP", "NOOP", b"", id="verb-alone"),
    pytest.param(b"noop", "NOOP", b"", id="lower-case"),
    pytest.param(b"EHLO mx.example", "EHLO", b"mx.example", id="argument"),
    pytest.param(b"ehlo  mx.example  ", "EHLO", b"mx.example", id="more-spaces"),
    pytest.param(b"starttls ", "STARTTLS", b"", id="T2-trailing-space"),
    pytest.param(
        b"MAIL FROM:<a@b> SIZE=1", "MAIL", b"FROM:<a@b> SIZE=1", id="parameters"
    ),
    pytest.param(
        b"RCPT TO:<j\xc3\xb6rg@b>", "RCPT", b"TO:<j\xc3\xb6rg@b>", id="8-bit-argument"
    ),
    pytest.param(b"XEXCH50 2 2", "XEXCH50", b"2 2", id="digits"),
    pytest.param(b"X-LINK2STATE LAST", "X-LINK2STATE", b"LAST", id="hyphen"),
]


@pytest.mark.parametrize(("line", "verb", "argument"), COMMANDS)
def test_a_line_is_split_at_its_spaces(line: bytes, verb: str, argument: bytes) -> None:
    assert parse_command(line) == Command(verb, argument, line)


@pytest.mark.parametrize(
    ("line", "code", "closes"),
    [
        pytest.param(b"", 500, False, id="empty"),
        pytest.param(b" NOOP", 500, False, id="leading-space"),
        pytest.param(b"123", 500, False, id="digit-first"),
        pytest.param(b"<xml>", 500, False, id="xml"),
        pytest.param(b"STARTTLS\t", 501, False, id="T2-tab-behind"),
        pytest.param(b"\tSTARTTLS", 501, False, id="tab-before"),
        pytest.param(b"MAIL\tFROM:<a@b>", 501, False, id="tab-separates"),
        pytest.param(b"NOOP a\tb", 501, False, id="tab-in-the-argument"),
        pytest.param(b"NOOP \x1b[2J", 501, False, id="escape-in-the-argument"),
        pytest.param(b"EHLO x\x0bY", 501, False, id="F6-vertical-tab"),
        pytest.param(b"NOOP \x7f", 501, False, id="delete"),
        pytest.param(b"\x00STARTTLS", 500, True, id="T2-nul-before"),
        pytest.param(b"\x16\x03\x01\x02", 500, True, id="client-hello"),
        pytest.param(b"NO\xd6P", 500, True, id="8-bit-verb"),
        pytest.param(b"NO\x08OP", 500, True, id="backspace-in-the-verb"),
    ],
)
def test_what_is_no_command_is_refused(line: bytes, code: int, closes: bool) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_command(line)
    assert (caught.value.reply.code, caught.value.closes) == (code, closes)


@pytest.mark.parametrize(
    "line",
    [b"1XNlcjpwYXNz", b"+dXNlcjpwYXNz", b" dXNlcjpwYXNz", b"dXNlcjpwYXNz x\ty"],
    ids=["digit", "plus", "space", "tab"],
)
def test_T6_a_password_out_of_step_is_not_in_the_error(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_command(line)
    assert "XNlcjpwYXNz" not in str(caught.value)


@given(st.binary(max_size=40) | of_words(b"AUTH", b" ", b"x", b"\t", b"\xff", b"="))
def test_any_line_is_a_command_or_a_protocol_error(line: bytes) -> None:
    command = outcome(lambda: parse_command(line))
    if isinstance(command, ProtocolError):
        assert command.reply.is_permanent
        assert str(command).isascii()
        return
    assert command.line == line
    assert command.verb == command.verb.upper()
    assert line.upper().startswith(command.verb.encode())
    assert redact(command).decode("ascii").isprintable()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        pytest.param(b"AUTH PLAIN AGEAYg==", b"AUTH PLAIN *", id="T6-initial-response"),
        pytest.param(b"auth plain AGEAYg==", b"AUTH plain *", id="T6-lower-case"),
        pytest.param(b"AUTH LOGIN", b"AUTH LOGIN", id="no-response-yet"),
        pytest.param(b"AUTH PLAIN  AGEAYg==", b"AUTH PLAIN *", id="two-spaces"),
        pytest.param(b"AUTH AGEAYg== PLAIN", b"AUTH *", id="no-mechanism"),
        pytest.param(b"AUTH AGEAYgoK", b"AUTH *", id="a-response-as-mechanism"),
        pytest.param(b"AUTH " + b"A" * 21, b"AUTH *", id="too-long-a-mechanism"),
        pytest.param(b"AUTH", b"AUTH", id="nothing"),
        pytest.param(b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b>", id="mail"),
        pytest.param(
            b"RCPT TO:<\xc3\xb6@b>", rb"RCPT TO:<\xc3\xb6@b>", id="8-bit-escaped"
        ),
        pytest.param(b"EXPN staff", b"EXPN staff", id="known-but-refused"),
        pytest.param(b"AUHT PLAIN AGEAYg==", b"AUHT *", id="misspelt"),
        pytest.param(b"frob", b"frob", id="unknown"),
        pytest.param(b"dXNlcjpwYXNz", b"*", id="base64-out-of-step"),
        pytest.param(b"dXNlcg==", b"*", id="padded-base64-out-of-step"),
        pytest.param(b"GET / HTTP/1.1", b"GET / HTTP/1.1", id="browser"),
        pytest.param(b"SSH-2.0-OpenSSH_9.7", b"SSH-2.0-OpenSSH_9.7", id="ssh"),
    ],
)
def test_T6_secrets_do_not_reach_a_log(line: bytes, shown: bytes) -> None:
    assert redact(parse_command(line)) == shown


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"a b~", "a b~"),
        (b"\r\n\t", r"\r\n\t"),
        (b"\x1b[31m\x00\x7f", r"\x1b[31m\x00\x7f"),
        (b"\xc3\xb6", r"\xc3\xb6"),
        (b"<img onerror=x>", "<img onerror=x>"),
    ],
    ids=["plain", "line-ends", "terminal", "utf-8", "html"],
)
def test_P1_what_is_printed_is_printable_ascii(octets: bytes, text: str) -> None:
    assert printable(octets) == text


@given(st.binary())
def test_P1_any_octets_become_printable_ascii(octets: bytes) -> None:
    text = printable(octets)
    assert text.isascii()
    assert text.isprintable()


def test_the_split_knows_no_verbs() -> None:
    assert not spec(parse_command(b"frobnicate now").verb).handled
