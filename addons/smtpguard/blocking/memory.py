"""Blocked clients as files: one a network, its time the moment it is forgotten.

Found by one look at the disk, by any process, also after a restart. What a file holds
is for people: the gateway goes by name and time.
"""

from __future__ import annotations

import ipaddress
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Final

from smtpguard.model.addresses import network_of
from smtpguard.wholefile import TEMPORARY, appear


if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


MAX_BLOCKED: Final = 100_000
"""Networks that stay after a sweep; of more those go that would be let in next."""
GRACE_SECONDS: Final = 60.0
"""How long a file stays after its time: it may be one that is just being written."""


@dataclass(frozen=True, slots=True)
class Block:
    """One network that is refused."""

    network: str
    """IPv4 address, or IPv6 /64."""
    until: float
    """Seconds since 1970."""
    since: float = 0.0
    rule: str = ""
    transaction: str = ""


class BlockMemory:
    """The memory in one folder. What it raises is OSError."""

    def __init__(self, folder: Path, most: int = MAX_BLOCKED) -> None:
        """Name the folder; nothing is made."""
        self._folder = folder
        self._most = most

    def prepare(self) -> None:
        """Make the folder."""
        self._folder.mkdir(mode=0o700, exist_ok=True)

    def remember(self, block: Block) -> None:
        """Refuse a network until then; not flushed, as it may be lost."""

        def publish(beside: Path, path: Path) -> None:
            os.utime(beside, (block.until, block.until))
            beside.replace(path)

        self.prepare()
        octets = json.dumps(asdict(block)).encode()
        appear(self._path(block.network), octets, publish)

    def until(self, address: str, now: float) -> float | None:
        """Return until when a client is refused; None where it is not."""
        try:
            until = self._path(network_of(address)).stat().st_mtime
        except FileNotFoundError:
            return None
        return until if until > now else None

    def forget(self, network: str) -> bool:
        """Let a network in again; return whether it was remembered."""
        try:
            self._path(network).unlink()
        except FileNotFoundError:
            return False
        return True

    def blocks(self, now: float) -> list[Block]:
        """Return all that is in force, the newest last."""
        found = []
        for name, until in self._files():
            network = _network(name)
            if network and until > now:
                found.append(replace(self._told(network), until=until))
        return sorted(found, key=lambda block: (block.until, block.network))

    def sweep(self, now: float) -> None:
        """Remove what is over, and the oldest of too many."""
        files = sorted(self._files(), key=lambda file: file[1])
        excess = len(files) - self._most
        for number, (name, until) in enumerate(files):
            if number < excess or until <= now - GRACE_SECONDS:
                path = self._folder / name
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime == until:  # not blocked again meanwhile
                        path.unlink()

    def _files(self) -> Iterator[tuple[str, float]]:
        """Yield name and time of our files, those that are being written as well."""
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _network(entry.name) or entry.name.startswith(TEMPORARY):
                    with suppress(FileNotFoundError):
                        yield entry.name, entry.stat().st_mtime

    def _told(self, network: str) -> Block:
        """Return what a file holds, as far as it is what was written."""
        block = Block(network, 0.0)
        try:
            told = json.loads(self._path(network).read_bytes())
            return replace(
                block,
                since=float(told["since"]),
                rule=str(told["rule"]),
                transaction=str(told["transaction"]),
            )
        except (OSError, ValueError, TypeError, KeyError):
            return block

    def _path(self, network: str) -> Path:
        return self._folder / network.replace("/", "_")


def _network(name: str) -> str:
    """Return the network of a file's name, "" where it is none of ours."""
    text = name.replace("_", "/")
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return ""
    return text if network_of(str(network.network_address)) == text else ""
