"""Who is connected: what must outlive a reload of the addon script.

Counts, ids and caches of the process. mitmproxy makes a new addon instance whenever the
script changes; sessions that are under way, and the limits they count against, must not
begin anew with it.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from smtpguard.model.addresses import network_of
from smtpguard.proxy.allowance import RECORDINGS_OCTETS
from smtpguard.proxy.certificates import ContextCache
from smtpguard.proxy.listeners import Listeners
from smtpguard.proxy.spool import Budget
from smtpguard.proxy.tally import CAPACITY, Tally


if TYPE_CHECKING:
    from mitmproxy.connection import Client

    from smtpguard.options import GuardOptions
    from smtpguard.proxy.entry import Entry


MAX_DOWNGRADES = 4096
"""Upstreams remembered as dialled in clear; in transparent mode clients choose them."""
MAX_WAITING = 64
"""Clients over a limit that may wait for another one to go."""
WAIT_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 0.05
"""Nobody tells when a client of another worker goes."""
_ID_BITS = 20


class Downgrades(dict[tuple[str, int], float]):
    """Upstreams whose handshake failed, and until when; the oldest are forgotten."""

    def __setitem__(self, upstream: tuple[str, int], until: float) -> None:
        """Remember an upstream, as the newest one."""
        self.pop(upstream, None)
        super().__setitem__(upstream, until)
        while len(self) > MAX_DOWNGRADES:
            del self[next(iter(self))]


class Registry:
    """The process's live SMTP connections and what they share."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        """By client id; from the connection to its end."""
        self.downgrades = Downgrades()
        self.contexts = ContextCache()
        self.listeners = Listeners()
        self.memory = Budget()
        self.recordings = Budget(RECORDINGS_OCTETS)
        self.tally = Tally()
        self.stopping = False
        self.worker = 0
        """Its place among several, from 0."""
        self._counted: dict[str, str] = {}
        self._connected: set[str] = set()
        self._next_id = secrets.randbits(_ID_BITS)
        self._mark = ""
        self._changed: asyncio.Event | None = None
        self._room: asyncio.Event | None = None
        self._waiting = 0

    def share(self, tally: Tally, worker: int) -> None:
        """Count with other workers; to be called before the first client comes."""
        self.tally, self.worker = tally, worker
        self._mark = chr(ord("g") + worker)

    def new_id(self) -> str:
        """Return a session id: short, hexadecimal, no two alike in one process.

        Each process begins anywhere among a million: after a restart, or from a worker
        that replaces another, an id of before may come again. Those of several workers
        begin with a letter for each, from g.
        """
        self._next_id += 1
        return f"{self._mark}{self._next_id:05x}"

    def admit(self, client: Client, options: GuardOptions, *, trusted: bool) -> str:
        """Count a new client in; return why it must go, "" if it may stay."""
        if self.tally.total() >= min(options.max_connections, CAPACITY):
            return f"more than {options.max_connections} connections"
        network = "" if trusted else network_of(client.peername[0])
        limit = options.max_connections_per_network
        if network and self.tally.of(network) >= limit:
            return f"more than {limit} connections from {network}"
        self._counted[client.id] = network
        self._connected.add(client.id)
        self.tally.add(network)
        return ""

    async def admit_in_time(
        self, client: Client, options: GuardOptions, *, trusted: bool
    ) -> str:
        """Count a client in, once another one has gone if it cannot be now.

        A client that ends a session and begins the next at once is here twice for a
        moment. A few may wait for a moment; a crowd is refused.
        """
        refused = self.admit(client, options, trusted=trusted)
        if not refused or self._waiting >= MAX_WAITING:
            return refused
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while refused:
                    self._room = self._room or asyncio.Event()
                    self._room.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._room.wait(), LOOK_AGAIN_SECONDS)
                    refused = self.admit(client, options, trusted=trusted)
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        return refused

    def session_ended(self, client: Client) -> None:
        """Count a client out: it may be back before its connection is closed.

        May be called for any client, and twice.
        """
        self.entries.pop(client.id, None)
        network = self._counted.pop(client.id, None)
        if network is not None:
            self.tally.remove(network)
        self._notify()

    def disconnected(self, client: Client) -> None:
        """Forget a client altogether; what it was sent last has left."""
        self._connected.discard(client.id)
        self.session_ended(client)

    def _notify(self) -> None:
        for event in (self._changed, self._room):
            if event is not None:
                event.set()

    async def idle(self, seconds: float) -> bool:
        """Wait until the last connection is closed and its flow is saved."""
        self._changed = asyncio.Event()
        try:
            async with asyncio.timeout(seconds):
                while self.entries or self._connected:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True
