"""Fixtures of the bed: what is expensive is started once, what is stateful each time.

Every fixture skips its tests, by name and with the reason, where something is missing;
with ``SMTPGUARD_REQUIRE_REAL=1`` it fails them.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.integration.bed import certificates, clients, exim, mta, netns, postfix
from tests.integration.bed.guard import Guard, start_mitmdump
from tests.integration.bed.mails import Target
from tests.integration.bed.need import need, need_root
from tests.integration.bed.process import free_port


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.integration.bed.guard import Program
    from tests.integration.bed.mails import Mail, Tls
    from tests.integration.bed.netns import Namespace, Network
    from tests.integration.bed.told import Told

    type StartPostfix = Callable[..., postfix.PostfixServer]
    type Send = Callable[..., list[Told]]


CLIENTS: dict[str, Callable[[clients.Place, Target, Sequence[Mail]], list[Told]]] = {
    "swaks": clients.swaks,
    "swaks-pipelining": clients.swaks_pipelining,
    "curl": clients.curl,
    "msmtp": clients.msmtp,
    "smtplib": clients.python_smtplib,
    "postfix": mta.postfix,
    "exim-bdat": exim.exim_bdat,
    "exim-data": exim.exim_data,
    "exim-kept": exim.exim_kept,
}

NAMES = ("mail.example.test", "localhost", "127.0.0.1", "::1", "10.91.2.2", "fd91:2::2")


class StartGuard(Protocol):
    """Start a proxy; see ``bed.guard.start_mitmdump`` for the arguments.

    The upstreams' authority is trusted unless ``upstream_trust`` names another one.
    """

    def __call__(
        self,
        mode: str,
        rules_text: str | None,
        *options: str,
        namespace: Namespace | None = None,
        port: int = 0,
        wait: bool = True,
        program: Program = "mitmdump",
        upstream_trust: Path | None = None,
    ) -> Guard: ...


@pytest.fixture(scope="session")
def bed_folder() -> Iterator[Path]:
    """A folder that servers can reach after giving up root (pytest's own is 0700)."""
    folder = Path(tempfile.mkdtemp(prefix="smtpguard-bed-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def fresh_folder(bed_folder: Path) -> Callable[[], Path]:
    numbers = count(1)

    def make() -> Path:
        folder = bed_folder / f"{next(numbers):04d}"
        folder.mkdir(mode=0o755)
        return folder

    return make


@pytest.fixture(scope="session")
def authority(bed_folder: Path) -> certificates.Authority:
    """The authority of the servers' certificates."""
    need("openssl")
    return certificates.make_authority(bed_folder / "ca")


@pytest.fixture(scope="session")
def identity(authority: certificates.Authority) -> certificates.Identity:
    """The servers' certificate, good for all their names and addresses."""
    return authority.issue(*NAMES)


@pytest.fixture(scope="session")
def postfix_server(
    bed_folder: Path, identity: certificates.Identity
) -> Iterator[postfix.PostfixServer]:
    """A Postfix on loopback with one listener of each kind."""
    _need_postfix()
    endpoints = [
        postfix.Endpoint("127.0.0.1", free_port(), kind) for kind in postfix.KINDS
    ]
    folder = bed_folder / "postfix"
    with postfix.postfix_server(folder, identity, endpoints) as server:
        yield server


@pytest.fixture
def start_postfix(
    fresh_folder: Callable[[], Path], identity: certificates.Identity
) -> Iterator[StartPostfix]:
    """Start a Postfix with parameters of its own; it ends with the test."""
    _need_postfix()
    with ExitStack() as stack:

        def call(*kinds: postfix.Kind, **extra: str) -> postfix.PostfixServer:
            endpoints = [
                postfix.Endpoint("127.0.0.1", free_port(), kind) for kind in kinds
            ]
            folder = fresh_folder() / "postfix"
            return stack.enter_context(
                postfix.postfix_server(folder, identity, endpoints, extra=extra)
            )

        yield call


@dataclass(frozen=True, slots=True)
class Loopback:
    """The Postfix on loopback, as a target of clients and of a reverse proxy."""

    server: postfix.PostfixServer
    trust: Path

    def straight(self, kind: postfix.Kind, tls: Tls) -> Target:
        """Return the target without a proxy."""
        endpoint = self.server.endpoint(kind)
        return Target(endpoint.host, endpoint.port, tls, self.trust)

    def reverse(self, kind: postfix.Kind, scheme: str = "tcp") -> str:
        """Return the reverse mode that leads to the listener of this kind."""
        endpoint = self.server.endpoint(kind)
        return f"reverse:{scheme}://{endpoint.host}:{endpoint.port}"


@pytest.fixture(scope="session")
def loopback(
    postfix_server: postfix.PostfixServer, authority: certificates.Authority
) -> Loopback:
    return Loopback(postfix_server, authority.certificate)


@pytest.fixture(scope="session")
def network(bed_folder: Path) -> Iterator[Network]:
    """Namespaces client, router and mail; the redirect is ``network.redirect()``."""
    need_root("a network namespace")
    for program, package in (
        ("ip", "iproute2"),
        ("nft", "nftables"),
        ("nsenter", "util-linux"),
        ("sysctl", "procps"),
    ):
        need(program, package)
    with netns.network(bed_folder) as joined:
        yield joined


@pytest.fixture(scope="session")
def mail_server(
    bed_folder: Path, identity: certificates.Identity, network: Network
) -> Iterator[postfix.PostfixServer]:
    """A Postfix in the mail namespace, on IPv4 and IPv6.

    25, 465, 587 as everywhere; 10025 demands a PROXY header, 10026 has no TLS.
    """
    _need_postfix()
    kinds: dict[int, postfix.Kind] = {
        25: "starttls",
        465: "smtps",
        587: "submission",
        10025: "proxy",
        10026: "clear",
    }
    endpoints = [
        postfix.Endpoint(host, port, kind)
        for host in (network.mail.ipv4, network.mail.ipv6)
        for port, kind in kinds.items()
    ]
    folder = bed_folder / "postfix-mail"
    prefix = network.mail.prefix
    with postfix.postfix_server(folder, identity, endpoints, prefix=prefix) as server:
        yield server


@pytest.fixture(scope="session")
def confdir(bed_folder: Path) -> Path:
    """mitmproxy's own folder; its authority is made once, not at each start."""
    from mitmproxy.certs import CertStore

    folder = bed_folder / "mitmproxy"
    CertStore.from_store(folder, "mitmproxy", 2048)
    return folder


@pytest.fixture(scope="session")
def start_unowned_guard(
    fresh_folder: Callable[[], Path], confdir: Path, authority: certificates.Authority
) -> StartGuard:
    """Start a mitmdump whose end is the caller's; for fixtures of a wider scope."""

    def call(
        mode: str,
        rules_text: str | None,
        *options: str,
        namespace: Namespace | None = None,
        port: int = 0,
        wait: bool = True,
        program: Program = "mitmdump",
        upstream_trust: Path | None = None,
    ) -> Guard:
        return start_mitmdump(
            fresh_folder(),
            confdir,
            mode,
            rules_text,
            options,
            namespace=namespace,
            port=port,
            upstream_trust=upstream_trust or authority.certificate,
            wait=wait,
            program=program,
        )

    return call


@pytest.fixture
def start_guard(start_unowned_guard: StartGuard) -> Iterator[StartGuard]:
    """Start a mitmdump that ends with the test."""
    with ExitStack() as stack:

        def call(
            mode: str, rules_text: str | None, *options: str, **rest: Any
        ) -> Guard:
            guard = start_unowned_guard(mode, rules_text, *options, **rest)
            stack.callback(guard.stop)
            return guard

        yield call


@pytest.fixture
def send(fresh_folder: Callable[[], Path]) -> Send:
    """Send mails with the client of this name: ``send(name, target, *mails)``."""

    def call(
        name: str, target: Target, *mails: Mail, namespace: Namespace | None = None
    ) -> list[Told]:
        return CLIENTS[name](clients.Place(fresh_folder(), namespace), target, mails)

    return call


def _need_postfix() -> None:
    need_root("Postfix")
    need("master", "postfix")
