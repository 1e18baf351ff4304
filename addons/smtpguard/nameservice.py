"""Asks the DNS for text records, by dnspython, in a bounded time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.nameserver import Do53Nameserver


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpguard.dkim import Answers
    from smtpguard.policy.dnsreader import DnsSettings


MAX_RECORDS = 10
"""Records of one name that are handed on."""
MAX_OCTETS = 8192
"""Of one record; the rest is cut."""
_PAYLOAD = 1232
"""Octets of an answer by UDP; longer ones come by TCP."""


def ask_texts(settings: DnsSettings, names: Sequence[str]) -> Answers:
    """Return the TXT records of some names, in ``settings.timeout`` seconds in all.

    A name has at most half of the time that is left, so that one whose servers are
    silent leaves some to the others. Never raises.
    """
    until = time.monotonic() + settings.timeout
    resolver = _resolver(settings)
    answers: dict[str, tuple[bytes, ...] | None] = {}
    for name in names:
        left = until - time.monotonic()
        seconds = left if name == names[-1] else left / 2
        answers[name] = None
        if resolver is not None and left > 0:
            answers[name] = _texts(resolver, name, seconds)
    return answers


def _resolver(settings: DnsSettings) -> dns.resolver.Resolver | None:
    """Return a new one, since the system's settings may have changed; None where the
    system has none."""
    try:
        resolver = dns.resolver.Resolver(configure=not settings.servers)
    except (dns.exception.DNSException, OSError, ValueError):
        return None
    if settings.servers:
        resolver.nameservers = [
            Do53Nameserver(address, port) for address, port in settings.servers
        ]
    resolver.use_edns(0, 0, _PAYLOAD)
    return resolver


def _texts(
    resolver: dns.resolver.Resolver, name: str, seconds: float
) -> tuple[bytes, ...] | None:
    try:
        full = dns.name.from_text(f"{name}.")
    except (dns.exception.DNSException, ValueError):
        return ()  # too long to exist
    try:
        answer = resolver.resolve(full, "TXT", lifetime=seconds)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except (dns.exception.DNSException, OSError, ValueError):
        return None
    found = [
        b"".join(record.strings)[:MAX_OCTETS]
        for record in answer
        if record.rdtype == dns.rdatatype.TXT
    ]
    return tuple(found[:MAX_RECORDS])
