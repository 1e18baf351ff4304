from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from smtpguard.mime import parse, prepend_field
from smtpguard.model.mailbox import Parameter, Path
from smtpguard.model.session import LegFacts, TlsFacts
from smtpguard.receivedfield import received_value
from smtpguard.wire import parse_mailbox
from tests.judging import make_envelope, make_session


NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SECURE = LegFacts(TlsFacts("TLSv1.3", "X"))


def value(*, utf8: bool = False, own_name: str = "mx.test", **facts: object) -> str:
    envelope = make_envelope()
    if utf8:
        path = Path(parse_mailbox("a@out.test"), (Parameter("SMTPUTF8", None),))
        envelope = replace(envelope, asked=path)
    return received_value(make_session(**facts), envelope, own_name, NOW).decode()


def test_value_is_as_the_rfc_says() -> None:
    """RFC 5321 4.4."""
    assert value() == (
        "from client.test ([192.0.2.7]) by mx.test with ESMTP id 5f3a.2; "
        "Mon, 02 Mar 2026 12:00:00 +0000"
    )


def test_ipv6_address_bears_its_tag() -> None:
    """RFC 5321 4.1.3."""
    assert "([IPv6:2001:db8::1])" in value(client=("2001:db8::1", 1))


@pytest.mark.parametrize(
    ("facts", "protocol"),
    [
        ({"esmtp": False}, "SMTP"),
        ({}, "ESMTP"),
        ({"client_leg": SECURE}, "ESMTPS"),
        ({"authenticated": True}, "ESMTPA"),
        ({"client_leg": SECURE, "authenticated": True}, "ESMTPSA"),
        ({"utf8": True}, "UTF8SMTP"),
        ({"utf8": True, "client_leg": SECURE, "authenticated": True}, "UTF8SMTPSA"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_protocol_has_its_registered_name(
    facts: dict[str, object], protocol: str
) -> None:
    """RFC 3848, RFC 6531 4.3."""
    assert f" with {protocol} id " in value(**facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "helo",
    [
        "x) by evil.test (",
        "x; Mon, 01 Jan 2001 00:00:00 +0000",
        "x\r\nBcc: victim@own.test",
        'x"<y>@z',
        "bücher\u202e.test",
        "a b",
        "x" * 5000,
        "",
    ],
    ids=["comment", "date", "field", "specials", "bidi", "blank", "long", "empty"],
)
def test_what_the_client_says_of_itself_stays_one_word(helo: str) -> None:
    said = value(helo=helo)
    words = said.split(" ")
    assert words[0] == "from"
    assert words[2] == "([192.0.2.7])"
    assert words[3:8] == ["by", "mx.test", "with", "ESMTP", "id"]
    assert said.count(";") == 1
    # It can stand in a header: no line is longer than RFC 5322 2.1.1 allows.
    prepend_field(parse(b"Subject: s\r\n\r\n"), b"Received", said.encode("ascii"))


def test_an_address_that_nobody_told_is_unknown() -> None:
    assert "([unknown])" in value(client=("", 0))
