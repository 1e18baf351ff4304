"""Turns at something that few can use at a time, taken by client networks in rotation.

For one event loop. Whoever has much to be done waits behind itself, not before others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Turns:
    """Gives ``count`` turns at a time."""

    def __init__(self, count: int) -> None:
        self._free = count
        self.waiting = 0
        """How many wait for one."""
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By network, the one whose turn is next first."""

    @asynccontextmanager
    async def turn(self, network: str) -> AsyncIterator[None]:
        """Wait for a turn of a network, and have it."""
        await self._take(network)
        try:
            yield
        finally:
            self._give()

    async def _take(self, network: str) -> None:
        if self._free:
            self._free -= 1
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(network, deque()).append(mine)
        self.waiting += 1
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._give()  # it came in the same moment
            raise
        finally:
            self.waiting -= 1

    def _give(self) -> None:
        while self._waiting:
            network, waiting = self._waiting.popitem(last=False)
            first = waiting.popleft()
            if waiting:
                self._waiting[network] = waiting
            if not first.done():
                first.set_result(None)
                return
        self._free += 1
