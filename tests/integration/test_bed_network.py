"""The three networks: straight, and redirected to a plain transparent mitmdump.

Proves the bed, not smtpguard: what fails here is no fault of the addon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.mails import Target, Tls, make_mail
from tests.integration.bed.netns import PROXY_PORT
from tests.integration.conftest import CLIENTS


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.bed.certificates import Authority
    from tests.integration.bed.guard import Guard
    from tests.integration.bed.maildir import Copy
    from tests.integration.bed.netns import Network
    from tests.integration.bed.postfix import PostfixServer
    from tests.integration.conftest import Send, StartGuard


pytestmark = pytest.mark.real

ALL_CLIENTS = sorted(CLIENTS)
FAMILIES = ["IPv4", "IPv6"]
PORTS: dict[int, Tls] = {25: "starttls", 465: "implicit", 587: "starttls"}

ROUTER = {"IPv4": "10.91.2.1", "IPv6": "fd91:2::1"}
"""Who a transparent mitmproxy is for the server: it connects from its own address."""


@pytest.fixture(scope="module")
def transparent(start_unowned_guard: StartGuard, network: Network) -> Iterator[Guard]:
    """A plain mitmdump in the router; nothing is redirected to it yet."""
    guard = start_unowned_guard(
        "transparent", None, namespace=network.router, port=PROXY_PORT
    )
    yield guard
    guard.stop()


@dataclass(frozen=True, slots=True)
class Bed:
    """The client's side of the networks."""

    network: Network
    server: PostfixServer
    trust: Path
    send: Send

    def deliver(
        self, name: str, family: str, port: int, trust: Path | None = None
    ) -> Copy:
        """Send one mail from the client's network; its one copy."""
        host = self.network.servers()[family]
        target = Target(host, port, PORTS[port], trust or self.trust)
        mail = make_mail("a@own.example")
        (told,) = self.send(name, target, mail, namespace=self.network.client)
        assert told.accepted, told.transcript
        self.server.instance.settle()
        (copy,) = self.server.maildir.copies(mail.token)
        assert copy.message.endswith(mail.message)
        return copy


@pytest.fixture
def bed(
    network: Network, mail_server: PostfixServer, authority: Authority, send: Send
) -> Bed:
    return Bed(network, mail_server, authority.certificate, send)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", PORTS)
def test_without_a_redirect_the_server_sees_the_client(
    port: int, family: str, bed: Bed
) -> None:
    client = {"IPv4": bed.network.client.ipv4, "IPv6": bed.network.client.ipv6}
    assert client[family] in bed.deliver("smtplib", family, port).received


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("name", ALL_CLIENTS)
def test_with_a_redirect_the_server_sees_the_router(
    name: str, port: int, family: str, bed: Bed, transparent: Guard
) -> None:
    # A plain mitmdump reads implicit TLS, with a certificate of its own, and hands
    # STARTTLS through unread.
    trust = transparent.trust if port == 465 else bed.trust
    with bed.network.redirect(transparent.port):
        copy = bed.deliver(name, family, port, trust)
    assert ROUTER[family] in copy.received
    address = bed.network.servers()[family]
    host = f"[{address}]" if ":" in address else address
    assert f"server connect {host}:{port}" in transparent.log


def test_the_redirect_ends_with_its_context(bed: Bed, transparent: Guard) -> None:
    with bed.network.redirect(transparent.port):
        pass
    assert bed.network.client.ipv4 in bed.deliver("smtplib", "IPv4", 25).received


def test_each_namespace_has_a_network_of_its_own(network: Network) -> None:
    client = network.client.run("ip", "-brief", "address")
    mail = network.mail.run("ip", "-brief", "address")
    assert network.client.ipv4 in client
    assert network.mail.ipv4 not in client
    assert network.mail.ipv4 in mail
