"""A client that acts out its part of a plan, and notes what it is told.

It pipelines as the script did, sends no message without a 354, and gives up after 421.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from smtpguard.model.reply import Reply
from smtpguard.wire import Receiver, ReplyReader
from tests.dialogue.plans import Item, Plan


EVENTS = frozenset({"tls", "tls-fails", "close", "reset"})
"""Items that are no octets."""


class SimClient:
    """The client of one session."""

    def __init__(self, plan: Plan, told: Callable[[int, Reply], None]) -> None:
        self.told: dict[int, int] = {}
        """The code it was told for each message."""
        self.sent: set[int] = set()
        """Messages whose end it has sent."""
        self.invited = False
        """It was told 354 and has not sent its message."""
        self.silent = False
        """It sends nothing more."""
        self.gone = False
        """Nor does it hear anything."""
        self._blocks = deque(deque(block) for block in plan.blocks)
        self._waiting = deque([Item("greeting")])
        self._told = told
        self._receiver = Receiver()
        self._reader = ReplyReader()

    def next_item(self) -> Item | None:
        """Return what it would do next, whether or not it may; None at the end."""
        while self._blocks and not self._blocks[0]:
            self._blocks.popleft()
        return self._blocks[0][0] if self._blocks else None

    @property
    def waits(self) -> bool:
        """Whether it waits for a reply."""
        return bool(self._waiting)

    def take_event(self) -> Item:
        """Take an item that is no octets."""
        return self._blocks[0].popleft()

    def take_octets(self) -> list[Item]:
        """Take what it says without waiting, up to an event of its own."""
        block = self._blocks[0]
        items: list[Item] = []
        invited = self.invited
        while block and block[0].kind not in EVENTS:
            item = block.popleft()
            if item.kind != "body" or invited:
                items.append(item)
            invited = False
        return items

    def say(self, items: Sequence[Item]) -> None:
        """Note what it says."""
        self.invited = False
        self._waiting.extend(items)
        self.sent.update(item.message for item in items if item.message)

    def hear(self, octets: bytes) -> None:
        """Read the replies that have come."""
        self._receiver.feed(octets)
        while (reply := self._reader.next_reply(self._receiver)) is not None:
            self._hear_reply(reply)

    def _hear_reply(self, reply: Reply) -> None:
        if not self._waiting:
            return
        item = self._waiting.popleft()
        if item.message:
            self.told[item.message] = reply.code
            self._told(item.message, reply)
        elif item.kind == "data":
            self.invited = reply.code == 354
        if reply.code == 421:
            self._waiting.clear()
