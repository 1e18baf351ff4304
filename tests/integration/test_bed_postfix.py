"""Each listener of the bed's Postfix, straight: what later stands behind smtpguard."""

from __future__ import annotations

import smtplib
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import make_mail


if TYPE_CHECKING:
    from tests.integration.bed.postfix import Kind
    from tests.integration.conftest import Loopback, StartPostfix


pytestmark = pytest.mark.real


def connect(loopback: Loopback, kind: Kind) -> smtplib.SMTP:
    endpoint = loopback.server.endpoint(kind)
    smtp = smtplib.SMTP(endpoint.host, endpoint.port, timeout=20)
    smtp.ehlo("client.example.test")
    return smtp


def test_the_starttls_listener_offers_what_smtpguard_must_relay(
    loopback: Loopback,
) -> None:
    with connect(loopback, "starttls") as smtp:
        offered = {name.upper() for name in smtp.esmtp_features}
    assert offered >= {
        *("PIPELINING", "SIZE", "STARTTLS", "XCLIENT", "ENHANCEDSTATUSCODES"),
        *("8BITMIME", "DSN", "SMTPUTF8", "CHUNKING", "VRFY", "ETRN"),
    }


def test_the_clear_listener_offers_no_starttls(loopback: Loopback) -> None:
    with connect(loopback, "clear") as smtp:
        assert not smtp.has_extn("starttls")


def test_the_submission_listener_demands_starttls(loopback: Loopback) -> None:
    with connect(loopback, "submission") as smtp:
        code, text = smtp.mail("a@client.example.test")
    assert (code, text[:5]) == (530, b"5.7.0")


def test_the_smtps_listener_speaks_tls_from_the_first_octet(loopback: Loopback) -> None:
    endpoint = loopback.server.endpoint("smtps")
    context = ssl.create_default_context(cafile=str(loopback.trust))
    with smtplib.SMTP_SSL(endpoint.host, endpoint.port, context=context) as smtp:
        assert smtp.ehlo()[0] == 250


PROXY_V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    + bytes([192, 0, 2, 67, 127, 0, 0, 1])
    + (4242).to_bytes(2, "big")
    + (25).to_bytes(2, "big")
)
"""The HAProxy header, version 2: PROXY, TCP over IPv4, 12 octets of addresses."""


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.66 127.0.0.1 4242 25\r\n", "192.0.2.66"),
        (PROXY_V2, "192.0.2.67"),
    ],
    ids=["version 1", "version 2"],
)
def test_the_proxy_listener_believes_the_header(
    header: bytes, client: str, loopback: Loopback
) -> None:
    endpoint = loopback.server.endpoint("proxy")
    mail = make_mail("a@own.example")
    smtp = smtplib.SMTP(timeout=20)
    smtp.sock = socket.create_connection((endpoint.host, endpoint.port), 20)
    smtp.sock.sendall(header)
    assert smtp.getreply()[0] == 220
    smtp.sendmail(mail.reverse_path, [*mail.forward_paths], mail.message)
    smtp.quit()
    (copy,) = loopback.server.maildir.wait_copies(mail.token, 1)
    assert client in copy.received


def test_the_proxy_listener_refuses_a_client_without_the_header(
    loopback: Loopback,
) -> None:
    endpoint = loopback.server.endpoint("proxy")
    with socket.create_connection((endpoint.host, endpoint.port), 20) as sock:
        sock.sendall(b"EHLO client.example.test\r\n")
        assert sock.recv(1000).startswith(b"421 ")


def test_xclient_is_believed(loopback: Loopback) -> None:
    mail = make_mail("a@own.example")
    with connect(loopback, "starttls") as smtp:
        code, _ = smtp.docmd("XCLIENT ADDR=192.0.2.55 NAME=far.example")
        assert code == 220
        smtp.ehlo_or_helo_if_needed()
        smtp.sendmail(mail.reverse_path, [*mail.forward_paths], mail.message)
    (copy,) = loopback.server.maildir.wait_copies(mail.token, 1)
    assert "far.example [192.0.2.55]" in copy.received
    loopback.server.instance.wait_log(r"client=far\.example\[192\.0\.2\.55\]")


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [("refused@own.example", (550, b"5.1.1")), ("later@own.example", (450, b"4.2.0"))],
    ids=["refused", "later"],
)
def test_a_recipient_is_refused_by_name(
    recipient: str, reply: tuple[int, bytes], loopback: Loopback
) -> None:
    with connect(loopback, "starttls") as smtp:
        smtp.mail("a@client.example.test")
        code, text = smtp.rcpt(recipient)
    assert (code, text[:5]) == reply


@pytest.mark.parametrize(
    ("sender", "stage", "reply"),
    [
        ("data554@client.example.test", "DATA", (554, b"5.7.0")),
        ("data451@client.example.test", "DATA", (451, b"4.3.0")),
        ("end552@client.example.test", "message", (552, b"5.3.4")),
        ("end451@client.example.test", "message", (451, b"4.3.0")),
    ],
)
def test_a_sender_is_refused_at_a_stage_by_name(
    sender: str, stage: str, reply: tuple[int, bytes], loopback: Loopback
) -> None:
    with connect(loopback, "starttls") as smtp:
        smtp.mail(sender)
        smtp.rcpt("a@own.example")
        code, text = smtp.docmd("DATA")
        if stage == "message":
            assert code == 354
            smtp.send("Subject: x\r\n\r\nbody\r\n.\r\n")
            code, text = smtp.getreply()
    assert (code, text[:5]) == reply


SMUGGLED = (
    b"Subject: outer\r\n\r\nbody\n.\r\n"
    b"MAIL FROM:<inner@client.example.test>\r\nRCPT TO:<inner@own.example>\r\n"
    b"DATA\r\nSubject: inner\r\n\r\nbody\r\n.\r\n"
)
"""One message to a strict server, two to one that takes LF.CRLF for the end."""


@pytest.mark.parametrize(
    ("forbid", "expected"), [("no", {"outer", "inner"}), ("reject", set())]
)
def test_a_postfix_reads_bare_newlines_as_it_is_told_to(
    forbid: str, expected: set[str], start_postfix: StartPostfix
) -> None:
    """The control for end-of-data tests: this server can be smuggled to."""
    server = start_postfix("starttls", smtpd_forbid_bare_newline=forbid)
    endpoint = server.endpoint("starttls")
    smtp = smtplib.SMTP(endpoint.host, endpoint.port, timeout=20)
    smtp.ehlo()
    smtp.mail("outer@client.example.test")
    smtp.rcpt("outer@own.example")
    assert smtp.docmd("DATA")[0] == 354
    smtp.send(SMUGGLED + b"QUIT\r\n")
    assert smtp.file is not None
    smtp.file.read()
    smtp.close()
    server.instance.settle()
    subjects = {name for name in ("outer", "inner") if server.maildir.copies(name)}
    assert subjects == expected
