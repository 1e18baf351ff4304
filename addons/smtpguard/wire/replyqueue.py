"""Replies in the order of their commands (RFC 2920 3.2).

A client that pipelines counts replies; one too many, too few or too early makes it take
the answer to one recipient for that to another. So every command opens a slot when it
is read, whoever answers it and whenever, and replies leave from the front only.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply


class Slot:
    """The place of one reply in the order; made by ``ReplyQueue.open``."""

    __slots__ = ("_queue", "reply")

    def __init__(self, queue: ReplyQueue) -> None:
        self._queue = queue
        self.reply: Reply | None = None
        """None while the command is unanswered."""

    def answer(self, reply: Reply) -> None:
        """Fill the slot; raises RuntimeError the second time."""
        if self.reply is not None:
            msg = f"answered twice: {self.reply}, then {reply}"
            raise RuntimeError(msg)
        self.reply = reply
        self._queue.unanswered -= 1
        self._queue.answered = True


class ReplyQueue:
    """The replies that a client still waits for, oldest first."""

    __slots__ = ("_slots", "answered", "unanswered")

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()
        self.unanswered = 0
        """How many commands have no answer yet."""
        self.answered = False
        """Whether an answer came since ``ready`` was asked last: else it has none."""

    def __len__(self) -> int:
        """Return how many replies have not left yet, answered or not."""
        return len(self._slots)

    def open(self) -> Slot:
        """Return the slot of a command that was just read."""
        slot = Slot(self)
        self._slots.append(slot)
        self.unanswered += 1
        return slot

    def answer(self, reply: Reply) -> None:
        """Answer a command that was just read."""
        self.open().answer(reply)

    def ready(self) -> list[Reply]:
        """Remove and return the replies that may leave now, in order."""
        self.answered = False
        leaving = []
        while self._slots and (reply := self._slots[0].reply) is not None:
            leaving.append(reply)
            self._slots.popleft()
        return leaving

    @property
    def settled(self) -> bool:
        """Whether every command that was read has its answer."""
        return self.unanswered == 0
