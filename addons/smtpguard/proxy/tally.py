"""How many connections there are, in all and from each network, over all workers.

Workers count together in memory that they share. Each writes into a part of its own
and reads all parts: there is no lock that one could die with, and N workers that take
the last place in the same moment are up to N - 1 over the limit. Knows no limits.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:
    from collections.abc import Buffer


CAPACITY: Final = 65_535
"""Connections of one worker."""
PART_OCTETS: Final = 8 * (1 + CAPACITY)
"""What one worker needs: half a MiB, of zeros to begin with."""
UNCOUNTED: Final = 0
"""Stands for a connection that counts for no network."""


class Tally:
    """Counts connections; ``memory`` is ``PART_OCTETS`` for each worker.

    Without arguments it counts for one process alone. ``secret`` is the same in all
    workers and unknown to clients: networks are told apart by 64 bits of a keyed hash.
    """

    def __init__(
        self, memory: Buffer | None = None, worker: int = 0, secret: bytes = b""
    ) -> None:
        octets = memoryview(bytearray(PART_OCTETS) if memory is None else memory)
        numbers = octets.cast("B").cast("Q")
        size = 1 + CAPACITY
        self._parts = [
            numbers[start : start + size] for start in range(0, len(numbers), size)
        ]
        """The first number is how many of those behind it count."""
        self._own = self._parts[worker]
        self._secret = secret

    def total(self) -> int:
        """Return how many connections there are."""
        return sum(part[0] for part in self._parts)

    def of(self, network: str) -> int:
        """Return how many of them come from a network."""
        key = self._key(network)
        return sum(part[1 : 1 + part[0]].tolist().count(key) for part in self._parts)

    def add(self, network: str = "") -> None:
        """Count a connection of ours; "" counts for no network.

        Raises OverflowError beyond ``CAPACITY``.
        """
        own = self._own
        count = own[0]
        if count >= CAPACITY:
            raise OverflowError("more connections than can be counted")
        # The number last: others never read what is not written yet.
        own[1 + count] = self._key(network)
        own[0] = count + 1

    def remove(self, network: str = "") -> None:
        """Count a connection of ours out, which was counted in with this network."""
        own = self._own
        count = own[0]
        place = 1 + own[1 : 1 + count].tolist().index(self._key(network))
        own[place] = own[count]
        own[0] = count - 1

    def forget(self, worker: int) -> None:
        """Count all connections of a worker out: it has died with them."""
        self._parts[worker][0] = 0

    def _key(self, network: str) -> int:
        if not network:
            return UNCOUNTED
        digest = hashlib.blake2b(network.encode(), digest_size=8, key=self._secret)
        return int.from_bytes(digest.digest())
