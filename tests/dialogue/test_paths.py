"""MAIL and RCPT as they go upstream."""

from __future__ import annotations

import pytest

from smtpguard.dialogue.paths import (
    mail_line,
    offered,
    original_recipient,
    rcpt_line,
    rewritten_recipient,
    rewritten_sender,
)
from smtpguard.model.decision import Action, Decision
from smtpguard.wire import (
    Capabilities,
    check_rcpt_parameters,
    parse_mail,
    parse_mailbox,
    parse_rcpt,
)


REWRITE = Decision(Action.REWRITE, rewrite_to=parse_mailbox("new@d.example"))
ALLOW = Decision(Action.ALLOW)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        (b"FROM:<>", b"MAIL FROM:<>\r\n"),
        (
            b"FROM:<a@B.example> SIZE=1  ret=full",
            b"MAIL FROM:<a@B.example> SIZE=1 RET=full\r\n",
        ),
        (b"FROM:<@x.example:a@b.example>", b"MAIL FROM:<a@b.example>\r\n"),
    ],
)
def test_mail_is_sent_in_one_form(said: bytes, sent: bytes) -> None:
    assert mail_line(parse_mail(said)) == sent


def test_rcpt_is_sent_in_one_form() -> None:
    path = parse_rcpt(b'TO: <"a b"@c.example> notify=never', smtputf8=False)
    assert rcpt_line(path) == b'RCPT TO:<"a b"@c.example> NOTIFY=never\r\n'


def test_a_rewritten_sender_loses_who_submitted_it() -> None:
    path = parse_mail(b"FROM:<a@b.example> AUTH=a SIZE=1")
    assert mail_line(rewritten_sender(path, REWRITE)) == (
        b"MAIL FROM:<new@d.example> AUTH=<> SIZE=1\r\n"
    )
    assert rewritten_sender(path, ALLOW) is path


def test_the_null_sender_is_never_rewritten() -> None:
    path = parse_mail(b"FROM:<>")
    assert rewritten_sender(path, REWRITE) is path


@pytest.mark.parametrize(
    ("said", "dsn", "parameters"),
    [
        (b"TO:<o@d.example>", True, b" ORCPT=rfc822;o@d.example"),
        (b"TO:<o@d.example>", False, b""),
        (b"TO:<o@d.example> ORCPT=rfc822;x@y", True, b" ORCPT=rfc822;x@y"),
        (b'TO:<"o+=x"@d.example>', True, b' ORCPT=rfc822;"o+2B+3Dx"@d.example'),
    ],
    ids=repr,
)
def test_a_rewritten_recipient_keeps_its_original(
    said: bytes, dsn: bool, parameters: bytes
) -> None:
    path = parse_rcpt(said, smtputf8=False)
    new = rewritten_recipient(path, REWRITE, dsn=dsn)
    assert rcpt_line(new) == b"RCPT TO:<new@d.example>" + parameters + b"\r\n"
    assert rewritten_recipient(path, ALLOW, dsn=dsn) is path


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        ("bücher@d.example", "utf-8;bücher@d.example"),
        ('"ü+=\\\\"@d.example', 'utf-8;"ü\\x{2B}\\x{3D}\\x{5C}\\x{5C}"@d.example'),
        ('"ü x"@d.example', 'utf-8;"ü\\x{20}x"@d.example'),
    ],
)
def test_an_original_outside_ascii_is_written_as_rfc_6533_says(
    octets: str, value: str
) -> None:
    parameter = original_recipient(octets.encode())
    assert parameter.value == value
    path = parse_rcpt(b"TO:<a@b.example> " + parameter.to_octets(), smtputf8=True)
    check_rcpt_parameters(path, Capabilities(b"", {"DSN": ()}))


def test_only_known_and_allowed_keywords_were_offered() -> None:
    upstream = Capabilities(b"mx", {"SIZE": ("1",), "XFOO": (), "XBAR": ()})
    assert dict(offered(upstream, frozenset({"XFOO"})).keywords) == {
        "SIZE": ("1",),
        "XFOO": (),
    }
