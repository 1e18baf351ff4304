from __future__ import annotations

import ipaddress

import pytest

from smtpguard.model.addresses import network_of, parse_ip, unmapped


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:201", "192.0.2.1"),
        ("::ffff:0:192.0.2.1", "::ffff:0:c000:201"),  # translated (RFC 2765 2.1)
        ("::192.0.2.1", "::c000:201"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1%3", "192.0.2.1"),
        ("::ffff:0.0.0.0", "0.0.0.0"),
    ],
)
def test_only_a_mapped_address_is_another_one(text: str, meant: str) -> None:
    assert str(parse_ip(text)) == meant


@pytest.mark.parametrize("text", ["", "mx.example", "192.0.2", "192.0.2.01", "%eth0"])
def test_what_is_no_address_raises(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_ip(text)


def test_what_is_unmapped_stays_as_it_is() -> None:
    once = unmapped(ipaddress.ip_address("::ffff:192.0.2.1"))
    assert once == ipaddress.IPv4Address("192.0.2.1")
    assert unmapped(once) is once


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "not an address"),
    ],
)
def test_one_client_is_an_address_or_a_64(address: str, network: str) -> None:
    assert network_of(address) == network
