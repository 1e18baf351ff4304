"""Who refuses clients for a time: the memory in a folder, and the firewall beside it.

A look and a new file are a few system calls, made where the session asks. Whatever may
take longer has one thread of its own, and no more of it waits than a bound.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from logging import getLogger
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Final

from smtpguard.blocking import firewall as nft
from smtpguard.blocking.memory import Block, BlockMemory
from smtpguard.blocking.strikes import Strikes
from smtpguard.errors import BlockError, os_text
from smtpguard.model.addresses import network_of, parse_ip


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.policy.blockreader import BlockSettings, NftSets


logger = getLogger(__name__)

SWEEP_SECONDS: Final = 60.0
SWEEP_BLOCKS: Final = 1000
"""Between two looks for what is over: whichever comes first."""
ANOMALIES: Final = "block.anomalies"
"""What stands in place of a rule."""
MAX_WAITING: Final = 100
"""Changes of the firewall that wait for the one before; more are left out."""


class FolderBlocker:
    """Blocks clients as one rule file says (``model.blocker``)."""

    def __init__(
        self, settings: BlockSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._memory = BlockMemory(Path(settings.folder))
        self._strikes = Strikes(settings.anomalies, settings.within)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="smtpguard-block")
        self._room = BoundedSemaphore(MAX_WAITING)
        self._swept = 0.0
        self._since = 0
        """Clients blocked since the last sweep."""
        self._fault = ""
        """Why nobody could be looked up, as it was logged."""

    def start(self) -> None:
        """Make the folder; log where that is not possible."""
        try:
            self._memory.prepare()
        except OSError as error:
            logger.warning("block: %s", os_text(error))

    def stop(self) -> None:
        """Do nothing more beside the sessions (``Blocker``)."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def refusal(self, address: str) -> str:
        """Return why a client is refused (``Blocker``)."""
        fault, until = "", None
        try:
            until = self._memory.until(address, self._clock())
        except OSError as error:
            fault = os_text(error)
        if fault and fault != self._fault:
            logger.error("block: clients are let in: %s", fault)
        self._fault = fault
        if until is None:
            return ""
        return f"client {address} is blocked until {_moment(until)}"

    def block(self, address: str, rule: str, identifier: str, *, firewall: bool) -> str:
        """Refuse a client from now on (``Blocker``)."""
        now, network = self._clock(), network_of(address)
        until = now + self.settings.time
        try:
            self._memory.remember(Block(network, until, now, rule, identifier))
        except OSError as error:
            return f"client {network} cannot be blocked: {os_text(error)}"
        if firewall and self.settings.nftables is not None:
            self._beside(partial(self._shut_out, self.settings.nftables, network))
        self._since += 1
        if self._since >= SWEEP_BLOCKS or now - self._swept >= SWEEP_SECONDS:
            self._since, self._swept = 0, now
            self._beside(partial(self._memory.sweep, now))
        return f"client {network} is blocked until {_moment(until)} by {rule}"

    def strike(self, address: str, identifier: str, *, firewall: bool) -> str:
        """Count that a client broke SMTP (``Blocker``)."""
        if not self.settings.anomalies:
            return ""
        if not self._strikes.add(network_of(address), self._clock()):
            return ""
        return self.block(address, ANOMALIES, identifier, firewall=firewall)

    def forget(self, address: str) -> bool:
        """Let a client in again; return whether it was blocked. Raises BlockError."""
        network = named(address)
        try:
            there = self._memory.forget(network)
        except OSError as error:
            raise BlockError(os_text(error)) from None
        if self.settings.nftables is not None:
            nft.delete(self.settings.nftables, network)
        return there

    def blocks(self) -> list[Block]:
        """Return who is blocked, the newest last. Raises BlockError."""
        try:
            return self._memory.blocks(self._clock())
        except OSError as error:
            raise BlockError(os_text(error)) from None

    def _shut_out(self, sets: NftSets, network: str) -> None:
        """Tell the firewall, unless somebody has let the client in meanwhile."""
        if self._is_blocked(network):
            nft.add(sets, network, self.settings.time)
            if not self._is_blocked(network):
                nft.delete(sets, network)

    def _is_blocked(self, network: str) -> bool:
        return self._memory.until(network, self._clock()) is not None

    def _beside(self, work: Callable[[], None]) -> None:
        """Have something done beside the sessions, whose failure is logged."""
        if not self._room.acquire(blocking=False):
            logger.error("block: more than %d changes wait: left out", MAX_WAITING)
            return
        try:
            self._executor.submit(self._do, work)
        except RuntimeError:  # at the end of the gateway
            self._room.release()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BlockError as error:
            logger.error("block: %s", error)  # noqa: TRY400 - the text says it
        except OSError as error:
            logger.error("block: %s", os_text(error))  # noqa: TRY400 - the text says it
        finally:
            self._room.release()


def named(text: str) -> str:
    """Return the network that somebody names: an address, or as it is listed.

    Raises BlockError.
    """
    address, _, prefix = text.partition("/")
    try:
        host = parse_ip(address)
    except ValueError:
        raise BlockError(f"not an address: {text!r}") from None
    if prefix and (host.version, prefix) != (6, "64"):
        raise BlockError(f"not an address: {text!r}")
    return network_of(address)


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"
