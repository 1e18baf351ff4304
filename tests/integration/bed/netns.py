"""Three networks: a client, a router that redirects, a mail server.

    client 10.91.1.2 -- 10.91.1.1 router 10.91.2.1 -- 10.91.2.2 mail
           fd91:1::2 -- fd91:1::1        fd91:2::1 -- fd91:2::2

Each lives in a network namespace that a sleeping process holds: no name is left in
``/run/netns``, and the namespace ends with its holder. mitmproxy's transparent mode
asks the kernel for the original destination, so the redirect must be a NAT rule in the
router's own namespace.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.integration.bed.process import BedError, Process, start, wait_until


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


REDIRECTED = (25, 465, 587)
PROXY_PORT = 22025
"""Where the router's transparent proxy listens; a namespace has all ports to itself."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network."""

    holder: Process
    ipv4: str
    ipv6: str

    @property
    def prefix(self) -> list[str]:
        """The words that run a command here; they exec, so the pid is the command's."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--"]

    def run(self, *command: str, text: str = "", seconds: float = 20.0) -> str:
        """Run a command here with ``text`` as its input; return what it printed.

        Raises ``BedError`` when it fails.
        """
        done = subprocess.run(
            [*self.prefix, *command],
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            raise BedError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def call[Value](self, function: Callable[[], Value]) -> Value:
        """Call ``function`` in a thread that lives here, so its sockets do.

        The thread is used once: a namespace stays with the thread that entered it.
        """

        def enter() -> None:
            with Path(f"/proc/{self.holder.pid}/ns/net").open("rb") as handle:
                os.setns(handle.fileno(), os.CLONE_NEWNET)

        with ThreadPoolExecutor(1, initializer=enter) as pool:
            return pool.submit(function).result()


@dataclass(frozen=True, slots=True)
class Network:
    """The three networks, joined."""

    client: Namespace
    router: Namespace
    mail: Namespace

    def servers(self) -> dict[str, str]:
        """Return the mail server's addresses by family."""
        return {"IPv4": self.mail.ipv4, "IPv6": self.mail.ipv6}

    @contextmanager
    def redirect(self, port: int = PROXY_PORT) -> Iterator[None]:
        """Redirect what the client sends to a mail port to ``port`` of the router."""
        ports = ", ".join(map(str, REDIRECTED))
        rules = (
            "table inet bed {\n"
            "  chain before {\n"
            "    type nat hook prerouting priority dstnat; policy accept;\n"
            f'    iifname "c1" tcp dport {{ {ports} }} redirect to :{port}\n'
            "  }\n"
            "}\n"
        )
        self.router.run("nft", "-f", "-", text=rules)
        try:
            yield
        finally:
            self.router.run("nft", "delete", "table", "inet", "bed")


@contextmanager
def network(folder: Path) -> Iterator[Network]:
    """Build the three networks; they end with the context. Needs root."""
    with ExitStack() as stack:
        holders = [
            stack.enter_context(_holder(folder, name)) for name in ("c", "r", "m")
        ]
        client = Namespace(holders[0], "10.91.1.2", "fd91:1::2")
        router = Namespace(holders[1], "10.91.1.1", "fd91:1::1")
        mail = Namespace(holders[2], "10.91.2.2", "fd91:2::2")
        for place in (client, router, mail):
            # Else an address cannot be used for the two seconds of its detection.
            place.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        router.run(
            *("ip", "-batch", "-"),
            text=f"link add c1 type veth peer name eth0 netns {client.holder.pid}\n"
            f"link add m1 type veth peer name eth0 netns {mail.holder.pid}\n"
            "link set lo up\n"
            + _addresses("c1", "10.91.1.1", "fd91:1::1")
            + _addresses("m1", "10.91.2.1", "fd91:2::1"),
        )
        forwarding = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        router.run("sysctl", "-qw", *forwarding)
        for place, gateway4, gateway6 in (
            (client, "10.91.1.1", "fd91:1::1"),
            (mail, "10.91.2.1", "fd91:2::1"),
        ):
            place.run(
                *("ip", "-batch", "-"),
                text="link set lo up\n"
                + _addresses("eth0", place.ipv4, place.ipv6)
                + f"route add default via {gateway4}\n"
                + f"route add ::/0 via {gateway6}\n",
            )
        yield Network(client, router, mail)


def _addresses(link: str, ipv4: str, ipv6: str) -> str:
    return (
        f"addr add {ipv4}/24 dev {link}\n"
        f"addr add {ipv6}/64 dev {link} nodad\n"
        f"link set {link} up\n"
    )


@contextmanager
def _holder(folder: Path, name: str) -> Iterator[Process]:
    log = folder / f"namespace-{name}.log"
    process = start(["sleep", "infinity"], log, prefix=_UNSHARE)
    own = Path("/proc/self/ns/net").readlink()
    handle = Path(f"/proc/{process.pid}/ns/net")
    try:
        wait_until(lambda: handle.readlink() != own, f"network namespace {name}", 5)
        yield process
    finally:
        process.stop()


_UNSHARE: Sequence[str] = ("unshare", "--net", "--")
