"""One gateway in the router's network, and the ways that lead through it.

A single proxy with seven modes, as an administrator would run it: transparent for what
the router redirects, and reverse to the mail server with XCLIENT (on 25, and on 465
with TLS from the first octet) and with PROXY v2, over IPv4 and IPv6. Which policy holds
is chosen by the listener.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.integration.bed.mails import Target


if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.integration.bed.guard import Guard, Program
    from tests.integration.bed.mails import Tls
    from tests.integration.bed.netns import Network
    from tests.integration.bed.postfix import PostfixServer
    from tests.integration.conftest import StartGuard


type Family = Literal["IPv4", "IPv6"]
type Kind = Literal["transparent", "xclient", "xclient_tls", "proxy_v2"]

ALLOWED = "allowed@own.example"
DENIED = "nobody@own.example"
"""Ours, but in no list: refused by the gateway."""
REFUSED = "refused@own.example"
"""In the list, refused by the mail server."""
OLD = "old@own.example"
NEW = "new@own.example"
"""What OLD is rewritten to."""
FOREIGN = "somebody@elsewhere.example"
"""Not ours: no relaying."""

HEAD = """\
version: 1
domains: [own.example]
lists:
  known: [allowed@own.example, refused@own.example]
policies:
"""
POLICY = """\
  - name: {name}
    {when}
    identity: {identity}
    session: {{{session}}}
    tls:
      client: {{starttls: {client}}}
      server: {{{server}}}
    mail_from:
      - {{match: "*@own", action: deny, unless: {{authenticated: true}}}}
      - {{match: "*", action: allow}}
    rcpt_to:
      - {{match: "@known", action: allow}}
      - {{match: "old@own.example", action: rewrite, to: "new@own.example"}}
      - {{match: "*", action: deny}}
    filenames:
      - {{match: "*.exe", action: strip, name: no-programs}}
      - {{match: "*", action: allow}}
"""
VERIFIED = "starttls: required, verify: webpki"


def policy(
    name: str = "only",
    *,
    when: str = "",
    identity: str = "none",
    session: str = "max_recipients: 50",
    client: str = "required",
    server: str = VERIFIED,
) -> str:
    """Return one policy; ``session`` and ``server`` are keys with their values."""
    return POLICY.format(
        name=name,
        when=f"when: {when}" if when else "# everybody else",
        identity=identity,
        session=session,
        client=client,
        server=server,
    )


PROXY_PORT = 10025
"""The mail server's, where it demands a PROXY header."""

RULES = (
    HEAD
    + policy("proxied", when=f'{{listener: "*:{PROXY_PORT}@*"}}', identity="proxy_v2")
    + policy("named", identity="xclient")
)

LISTENERS: dict[Program, int] = {"mitmdump": 23000, "run": 24000}
"""Where each program's modes listen, transparent first. The router's network has all
ports to itself."""
FAMILIES: tuple[Family, ...] = ("IPv4", "IPv6")
REVERSE: dict[Kind, tuple[str, int]] = {
    "xclient": ("tcp", 25),
    "xclient_tls": ("tls", 465),
    "proxy_v2": ("tcp", PROXY_PORT),
}
"""Scheme of the reverse mode, and the mail server's port."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a client reaches the mail server."""

    kind: Kind
    tls: Tls
    family: Family

    @property
    def policy(self) -> str:
        """The policy that holds there."""
        return "proxied" if self.kind == "proxy_v2" else "named"


def _ways() -> dict[str, Way]:
    kinds: tuple[tuple[str, Kind, Tls], ...] = (
        ("transparent 25", "transparent", "starttls"),
        ("transparent 465", "transparent", "implicit"),
        ("reverse XCLIENT", "xclient", "starttls"),
        ("reverse XCLIENT 465", "xclient_tls", "implicit"),
        ("reverse PROXY v2", "proxy_v2", "starttls"),
    )
    return {
        f"{name} {family}": Way(kind, tls, family)
        for name, kind, tls in kinds
        for family in FAMILIES
    }


WAYS = _ways()


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running gateway, seen from the client's network."""

    guard: Guard
    network: Network
    server: PostfixServer

    def client(self, family: Family) -> str:
        """Return the real client's address."""
        client = self.network.client
        return client.ipv4 if family == "IPv4" else client.ipv6

    def router(self, family: Family) -> str:
        """Return the router's address on the client's side."""
        router = self.network.router
        return router.ipv4 if family == "IPv4" else router.ipv6

    def target(self, way: Way) -> Target:
        """Return where the client sends to."""
        if way.kind == "transparent":
            host = self.network.servers()[way.family]
            port = 465 if way.tls == "implicit" else 25
        else:
            host = self.router(way.family)
            port = self.guard.port + 1 + _modes().index((way.kind, way.family))
        return Target(host, port, way.tls, self.guard.trust)

    def redirect(self, way: Way) -> AbstractContextManager[None]:
        """Redirect the client's mail to the gateway, where the way needs it."""
        if way.kind == "transparent":
            return self.network.redirect(self.guard.port)
        return nullcontext()


def _modes() -> list[tuple[Kind, Family]]:
    return [(kind, family) for kind in REVERSE for family in FAMILIES]


def start_gateway(
    start: StartGuard, network: Network, server: PostfixServer, program: Program
) -> Gateway:
    """Start the gateway in the router's network; its end is the caller's."""
    port = LISTENERS[program]
    options: list[str] = []
    for number, (kind, family) in enumerate(_modes(), port + 1):
        host = network.servers()[family]
        upstream = f"[{host}]" if ":" in host else host
        scheme, upstream_port = REVERSE[kind]
        mode = f"reverse:{scheme}://{upstream}:{upstream_port}@{number}"
        options += ["--mode", mode]
    guard = start(
        "transparent",
        RULES,
        *options,
        namespace=network.router,
        port=port,
        program=program,
    )
    return Gateway(guard, network, server)
