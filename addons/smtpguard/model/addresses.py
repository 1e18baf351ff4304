"""IP addresses in the one form in which they are compared, counted and passed on.

An IPv4 client that arrives on an IPv6 socket (``::ffff:192.0.2.1``, RFC 4291 2.5.5.2)
is the IPv4 client.
"""

from __future__ import annotations

import ipaddress


type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> Ip:
    """Return an address as text, unmapped; raises ValueError.

    A zone (``fe80::1%eth0``) is left out: it means nothing to another machine.
    """
    return unmapped(ipaddress.ip_address(text.partition("%")[0]))


def unmapped(ip: Ip) -> Ip:
    """Return the IPv4 address that an IPv6 one stands for, any other as it is."""
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def network_of(address: str) -> str:
    """Return the network that counts as one client: IPv4 address, IPv6 /64."""
    try:
        found = parse_ip(address)
    except ValueError:
        return address
    if found.version == 6:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
