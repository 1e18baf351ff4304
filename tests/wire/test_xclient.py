from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.errors import ProtocolError
from smtpguard.wire.xclient import build, parse
from tests.wire.feeding import of_words


ALL = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")


def test_all_attributes_that_are_offered_are_sent() -> None:
    assert build(
        ALL,
        addr="192.0.2.1",
        port=40000,
        helo="client.example",
        proto="ESMTP",
    ) == (
        b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=40000 PROTO=ESMTP "
        b"HELO=client.example LOGIN=[UNAVAILABLE] DESTADDR=[UNAVAILABLE] "
        b"DESTPORT=[UNAVAILABLE]\r\n"
    )


def test_a_name_outside_ascii_is_sent_as_xtext() -> None:
    line = build(("ADDR", "HELO"), addr="::1", port=1, helo="jörg x", proto="SMTP")
    assert line == b"XCLIENT ADDR=IPV6:::1 HELO=j+C3+B6rg+20x\r\n"


def test_a_mapped_address_is_the_ipv4_client() -> None:
    line = build(("ADDR",), addr="::ffff:192.0.2.1", port=1, helo="x", proto="SMTP")
    assert line == b"XCLIENT ADDR=192.0.2.1\r\n"


def test_only_attributes_that_are_offered_are_sent() -> None:
    line = build(
        ("helo", "addr", "FOO"), addr="2001:db8::1", port=1, helo="x", proto="SMTP"
    )
    assert line == b"XCLIENT ADDR=IPV6:2001:db8::1 HELO=x\r\n"


def test_a_scope_is_not_sent() -> None:
    line = build(("ADDR",), addr="fe80::1%eth0", port=1, helo="x", proto="SMTP")
    assert line == b"XCLIENT ADDR=IPV6:fe80::1\r\n"


def test_without_addr_the_identity_cannot_be_delivered() -> None:
    for offered in ((), ("NAME", "HELO")):
        assert build(offered, addr="192.0.2.1", port=1, helo="", proto="SMTP") is None


@pytest.mark.parametrize("helo", ["", "x" * 256, "ä" * 43], ids=["none", "256", "258"])
def test_what_is_not_known_or_too_long_is_unavailable(helo: str) -> None:
    line = build(ALL, addr="192.0.2.1", port=1, helo=helo, proto="SMTP")
    assert line == (
        b"XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=1 PROTO=SMTP "
        b"HELO=[UNAVAILABLE] LOGIN=[UNAVAILABLE] DESTADDR=[UNAVAILABLE] "
        b"DESTPORT=[UNAVAILABLE]\r\n"
    )


def test_a_name_cannot_smuggle_a_command() -> None:
    line = build(
        ALL, addr="192.0.2.1", port=1, helo="x\r\nMAIL FROM:<a@b>", proto="SMTP"
    )
    assert line is not None
    assert line.count(b"\n") == 1
    assert b"HELO=x+0D+0AMAIL+20FROM:<a@b> " in line


@pytest.mark.parametrize(
    ("argument", "attributes"),
    [
        (b"ADDR=192.0.2.1", {"ADDR": "192.0.2.1"}),
        (b"addr=IPV6:2001:DB8::1", {"ADDR": "2001:db8::1"}),
        (b"ADDR=ipv6:::ffff:192.0.2.1", {"ADDR": "192.0.2.1"}),
        (
            b"DESTADDR=192.0.2.2 DESTPORT=25",
            {"DESTADDR": "192.0.2.2", "DESTPORT": "25"},
        ),
        (b"NAME=[UNAVAILABLE] HELO=[tempunavail]", {"NAME": None, "HELO": None}),
        (b"ADDR=[UNAVAILABLE]", {"ADDR": None}),
        (b"PORT=65535  PROTO=esmtp", {"PORT": "65535", "PROTO": "ESMTP"}),
        (b"LOGIN=a+20b HELO=j+C3+B6rg", {"LOGIN": "a b", "HELO": "jörg"}),
    ],
)
def test_attributes_of_a_trusted_client_are_read(
    argument: bytes, attributes: dict[str, str | None]
) -> None:
    assert parse(argument) == attributes


@pytest.mark.parametrize(
    "argument",
    [
        *(b"", b"ADDR", b"ADDR=", b"=x", b"FOO=1", b"ADDR=x", b"ADDR=2001:db8::1"),
        *(b"ADDR=IPV6:192.0.2.1", b"ADDR=192.0.2.1 ADDR=192.0.2.2", b"ADDR=01.2.3.4"),
        *(b"PORT=x", b"PORT=65536", b"PORT=-1", b"PORT=\xd9\xa1", b"PROTO=LMTP"),
        *(b"HELO=a+0D+0Ab", b"LOGIN=+00", b"HELO=+2", b"HELO=\xff", b"HELO=a=b"),
        *(b"NAME=x ADDR", b"\xc4DDR=1", b"ADDR=IPV6:fe80::1%1"),
    ],
)
def test_F7_what_cannot_be_read_is_501(argument: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(argument)
    assert (caught.value.reply.code, caught.value.closes) == (501, False)
    assert str(caught.value).isascii()


def test_F7_a_login_that_was_sent_is_read_as_no_more_than_a_name() -> None:
    assert parse(b"ADDR=10.0.0.1 LOGIN=admin") == {"ADDR": "10.0.0.1", "LOGIN": "admin"}


@given(
    st.ip_addresses(),
    st.integers(0, 65535),
    st.text(min_size=1, max_size=20).filter(
        # "[UNAVAILABLE]" as a name is what it says: Postfix cannot tell either.
        lambda text: text.isprintable() and not text.startswith("[")
    ),
)
def test_what_is_built_is_read_back(address: object, port: int, helo: str) -> None:
    line = build(ALL, addr=str(address), port=port, helo=helo, proto="ESMTP")
    assert line is not None
    found = parse(line.removeprefix(b"XCLIENT ").removesuffix(b"\r\n"))
    assert (found["PORT"], found["PROTO"], found["HELO"]) == (str(port), "ESMTP", helo)
    assert found["ADDR"] == str(getattr(address, "ipv4_mapped", None) or address)


@given(
    st.binary(max_size=40)
    | of_words(b"ADDR", b"=", b" ", b"IPV6:", b"::1", b"1.2.3.4", b"HELO", b"+", b"41")
)
def test_any_argument_is_read_or_a_protocol_error(argument: bytes) -> None:
    try:
        attributes = parse(argument)
    except ProtocolError:
        return
    assert set(attributes) <= set(ALL)
    assert attributes
