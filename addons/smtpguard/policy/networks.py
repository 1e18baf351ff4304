"""Sets of IP networks, looked up by prefix length: their number costs nothing.

An IPv4 client that arrives on an IPv6 socket (``::ffff:192.0.2.1``) is the IPv4 client.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from smtpguard.model.addresses import Ip, parse_ip


if TYPE_CHECKING:
    from collections.abc import Iterable


_MAPPED_BITS = 96
"""Prefix of ``::ffff:0:0/96`` (RFC 4291 2.5.5.2)."""

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=4096)
def parse_host(text: str) -> Ip | None:
    """Return an address as networks compare it; None where the text is none."""
    try:
        return parse_ip(text)
    except ValueError:
        return None


def parse_network(text: str) -> Network:
    """Return the network of a rule file; raises ValueError with a hint."""
    try:
        return _unmapped(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            "not a network such as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    raise ValueError(f'bits are set behind the prefix, did you mean "{meant}"?')


def _unmapped(network: Network) -> Network:
    if not isinstance(network, ipaddress.IPv6Network):
        return network
    host = network.network_address.ipv4_mapped
    if host is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.ip_network((host, network.prefixlen - _MAPPED_BITS))


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """Networks by (version, bits to shift away); the third is what remains of each."""

    by_prefix: tuple[tuple[int, int, frozenset[int]], ...]

    @classmethod
    def of(cls, networks: Iterable[Network]) -> NetworkSet:
        """Return the set of some networks."""
        found: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            host_bits = network.max_prefixlen - network.prefixlen
            key = (network.version, host_bits)
            found.setdefault(key, set()).add(int(network.network_address) >> host_bits)
        return cls(
            tuple((*key, frozenset(values)) for key, values in sorted(found.items()))
        )

    def __contains__(self, host: Ip) -> bool:
        """Whether one of the networks holds the address."""
        number = int(host)
        return any(
            version == host.version and number >> host_bits in values
            for version, host_bits, values in self.by_prefix
        )

    def overlaps(self, network: Network) -> bool:
        """Whether one of the networks and this one have addresses in common."""
        bits = network.max_prefixlen - network.prefixlen
        number = int(network.network_address) >> bits
        for version, host_bits, values in self.by_prefix:
            if version != network.version:
                continue
            if host_bits >= bits:
                found = number >> (host_bits - bits) in values
            else:
                found = any(one >> (bits - host_bits) == number for one in values)
            if found:
                return True
        return False

    @property
    def is_everything(self) -> bool:
        """Whether every IPv4 or every IPv6 address is in it."""
        bits = {4: 32, 6: 128}
        return any(bits[version] == host for version, host, _ in self.by_prefix)
