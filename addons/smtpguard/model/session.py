"""Facts about one client's connection, as rules, records and hooks see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Leg(Enum):
    """The two connections of a session."""

    CLIENT = "client"
    UPSTREAM = "upstream"

    # There is one of each. Enum's own is written in Python, and asked at every event.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """TLS of one leg after its handshake."""

    version: str
    """``TLSv1.2``, ``TLSv1.3`` ..."""
    cipher: str
    name: str = ""
    """SNI: as the client sent it, or as we sent it upstream."""
    verified: str = ""
    """``ok``, or why the peer's certificate does not verify; "" if it has none."""

    def to_json(self) -> dict[str, str]:
        """Return the facts as the session record holds them."""
        return {
            "version": self.version,
            "cipher": self.cipher,
            "name": self.name,
            "verified": self.verified,
        }


@dataclass(slots=True)
class LegFacts:
    """How one leg stands, and how it came there."""

    tls: TlsFacts | None = None
    """None while the leg is in clear."""
    history: list[str] = field(default_factory=list)
    """``clear: not offered``, ``starttls``, ``downgrade: handshake failed`` ..."""

    def to_json(self) -> dict[str, Any]:
        """Return the facts as the session record holds them."""
        return {
            "tls": self.tls.to_json() if self.tls else None,
            "history": list(self.history),
        }


@dataclass(slots=True)
class SessionFacts:
    """One client connection; addresses are those of the real client and target."""

    id: str
    """Short, unique in this process; transactions are ``ID.1``, ``ID.2`` ..."""
    client: tuple[str, int]
    """Address and port of the client, replaced by PROXY or XCLIENT of a trusted one."""
    destination: tuple[str, int]
    """Where the client meant to go (transparent), or the reverse target."""
    listener: str = ""
    """The proxy mode as configured, e.g. ``reverse:tcp://mx.example:25@2525``."""
    reverse_name: str = ""
    """Host of the reverse target, "" in transparent mode."""
    implicit_tls: bool = False
    """The client speaks TLS from its first octet: by the policy, else on port 465."""
    upstream_implicit_tls: bool = False
    """The upstream speaks TLS from its first octet (port 465, ``reverse:tls``)."""
    loop: bool = False
    """The destination is our own listener."""
    local: tuple[str, int] | None = None
    """The address that the client connected to; differs from ``destination`` in reverse
    mode, where that may be a name."""
    helo: str = ""
    """The client's last HELO/EHLO argument."""
    esmtp: bool = False
    authenticated: bool = False
    policy: str = ""
    """Name of the policy that was chosen last: at connect, after PROXY or XCLIENT."""
    client_leg: LegFacts = field(default_factory=LegFacts)
    upstream_leg: LegFacts = field(default_factory=LegFacts)

    def leg(self, leg: Leg) -> LegFacts:
        """Return the facts of that leg."""
        return self.client_leg if leg is Leg.CLIENT else self.upstream_leg
