from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.policy.networks import NetworkSet, parse_host, parse_network


def holds(networks: list[str], host: str) -> bool:
    found = parse_host(host)
    assert found is not None
    return found in NetworkSet.of(parse_network(one) for one in networks)


@pytest.mark.parametrize(
    ("networks", "host", "wanted"),
    [
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.1.2.3", False),
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["fd00::/8"], "fd12::1", True),
        (["fd00::/8"], "fe80::1%eth0", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "10.0.0.1", True),
        (["::ffff:10.0.0.0/104"], "11.0.0.1", False),
        (["::/0"], "10.0.0.1", False),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"], "192.0.2.77", True),
        ([], "192.0.2.1", False),
    ],
)
def test_a_host_is_in_a_network(networks: list[str], host: str, wanted: bool) -> None:
    assert holds(networks, host) == wanted


@given(
    st.lists(st.ip_addresses(v=4), max_size=4),
    st.integers(0, 32),
    st.ip_addresses(v=4),
)
def test_the_set_is_the_networks_in_it(
    bases: list[ipaddress.IPv4Address], bits: int, host: ipaddress.IPv4Address
) -> None:
    networks = [ipaddress.ip_network((base, bits), strict=False) for base in bases]
    assert (host in NetworkSet.of(networks)) == any(host in one for one in networks)


def test_many_networks_are_one_lookup_for_each_prefix_length() -> None:
    found = NetworkSet.of(parse_network(f"10.{n}.0.0/16") for n in range(256))
    assert len(found.by_prefix) == 1


@pytest.mark.parametrize("text", ["", "unknown", "192.0.2", "[::1]", "mx.example"])
def test_what_is_no_address_is_none(text: str) -> None:
    assert parse_host(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("10.0.0.1/8", 'did you mean "10.0.0.0/8"'),
        ("2001:db8::1/32", 'did you mean "2001:db8::/32"'),
        ("10.0.0.0/33", "not a network"),
        ("everywhere", "not a network"),
        ("", "not a network"),
    ],
)
def test_a_bad_network_is_refused_with_a_hint(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_network(text)


@pytest.mark.parametrize(
    ("networks", "wanted"),
    [
        (["0.0.0.0/0"], True),
        (["10.0.0.0/8", "::/0"], True),
        (["10.0.0.0/8"], False),
        (["0.0.0.0/1", "::/1"], False),
    ],
)
def test_a_set_knows_whether_it_is_everything(
    networks: list[str], wanted: bool
) -> None:
    found = NetworkSet.of(parse_network(one) for one in networks)
    assert found.is_everything == wanted
