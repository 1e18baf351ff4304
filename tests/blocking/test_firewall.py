"""nft as it is called; with the real one in a network of its own."""

from __future__ import annotations

import json
import re
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpguard.blocking import firewall
from smtpguard.blocking.folderblocker import FolderBlocker
from smtpguard.errors import BlockError
from smtpguard.policy.blockreader import BlockSettings, NftSets
from tests.integration.bed import netns
from tests.integration.bed.need import need, need_root
from tests.integration.bed.process import wait_until


if TYPE_CHECKING:
    from collections.abc import Iterator


SETS = NftSets("inet", "t", "four", "six")
DEPLOYMENT = Path(__file__).parents[2] / "docs" / "deployment.md"


def program(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a script stand where nft would."""
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program(tmp_path, f'printf "%s\\n" "$@" >> {tmp_path}/told', monkeypatch)
    return tmp_path / "told"


def test_an_address_goes_into_its_set_for_a_time(told: Path) -> None:
    firewall.add(SETS, "192.0.2.1", 1200.0)
    words = ["add", "element", "inet", "t", "four", "{ 192.0.2.1 timeout 1200s }"]
    assert told.read_text().splitlines() == words


def test_a_network_of_ipv6_has_a_set_of_its_own(told: Path) -> None:
    firewall.add(SETS, "2001:db8::/64", 0.5)
    assert told.read_text().splitlines()[4:] == ["six", "{ 2001:db8::/64 timeout 1s }"]


def test_it_is_taken_out_again(told: Path) -> None:
    firewall.delete(SETS, "192.0.2.1")
    words = ["delete", "element", "inet", "t", "four", "{ 192.0.2.1 }"]
    assert told.read_text().splitlines() == words


def test_what_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "echo 'no such\nset' >&2; exit 1", monkeypatch)
    wanted = r"nft delete element inet t four \{ 192.0.2.1 \}: no such set$"
    with pytest.raises(BlockError, match=wanted):
        firewall.delete(SETS, "192.0.2.1")


def test_what_is_not_there_need_not_be_taken_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "echo 'Error: Could not process rule: No such file or directory' >&2; exit 1"
    program(tmp_path, text, monkeypatch)
    firewall.delete(SETS, "192.0.2.1")
    with pytest.raises(BlockError):
        firewall.add(SETS, "192.0.2.1", 5)


def test_it_is_bounded_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exec sleep 60", monkeypatch)
    monkeypatch.setattr(firewall, "NFT_SECONDS", 0.1)
    with pytest.raises(BlockError, match=r"not done in 0\.1 s"):
        firewall.add(SETS, "192.0.2.1", 5)


def test_a_program_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BlockError, match="nft: No such file"):
        firewall.add(SETS, "192.0.2.1", 5)


# -- the real one --------------------------------------------------------------------


@pytest.fixture
def network(tmp_path: Path) -> Iterator[netns.Network]:
    need_root("a network namespace")
    for name, package in (("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "")):
        need(name, package)
    with netns.network(tmp_path) as joined:
        yield joined


def elements(network: netns.Network, name: str) -> list[str]:
    words = ("nft", "-j", "list", "set", "inet", "smtpblock", name)
    found = json.loads(network.router.run(*words))["nftables"][1]["set"]
    return [json.dumps(one["elem"]["val"]) for one in found.get("elem", [])]


def is_dropped(network: netns.Network, host: str) -> bool:
    """Whether the client's packets to a mail port come to nothing."""

    def knock() -> bool:
        try:
            socket.create_connection((host, 25), timeout=1).close()
        except TimeoutError:
            return True
        except ConnectionRefusedError:
            return False
        return False

    return network.client.call(knock)


@pytest.mark.real
def test_the_documented_sets_take_blocked_clients_and_the_kernel_drops_them(
    network: netns.Network, tmp_path: Path
) -> None:
    [text] = re.findall(
        r"^```nft\n(# /etc/nftables.d/smtpguard-block.nft\n.*?)^```$",
        DEPLOYMENT.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    settings = BlockSettings(str(tmp_path / "b"), 600, nftables=NftSets())
    blocker = FolderBlocker(settings)
    router, client = network.router, network.client
    router.run("nft", "-f", "-", text=text)
    assert not is_dropped(network, router.ipv4)
    assert not is_dropped(network, router.ipv6)

    for address in (client.ipv4, client.ipv6):
        router.call(partial(blocker.block, address, "r:1", "a.1", firewall=True))
    wait_until(lambda: elements(network, "blocked6") != [], "both are in their sets")
    assert elements(network, "blocked") == ['"10.91.1.2"']
    assert '"fd91:1::", "len": 64' in elements(network, "blocked6")[0]
    assert is_dropped(network, router.ipv4)
    assert is_dropped(network, router.ipv6)

    router.run("nft", "-f", "-", text=text)
    assert elements(network, "blocked") == ['"10.91.1.2"']
    for address in (client.ipv4, client.ipv6):
        assert router.call(partial(blocker.forget, address))
    assert elements(network, "blocked") == elements(network, "blocked6") == []
    assert not is_dropped(network, router.ipv4)
    router.call(partial(blocker.forget, client.ipv4))  # not there: no fault
    blocker.stop()
