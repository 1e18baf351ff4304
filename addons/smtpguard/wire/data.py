"""Dot-stuffing and end of data (RFC 5321 4.1.1.4, 4.5.2).

Owns the octets between ``354`` and ``CRLF.CRLF``. Knows nothing of MIME or of who is
talking. Only CRLF ends a line here, and only CRLF.CRLF as the client sent it ends the
data, whatever is repaired afterwards: two servers that decide it differently can be
made to see two different messages (SMTP smuggling).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtpguard.wire.text import TextReader, Write


if TYPE_CHECKING:
    from smtpguard.wire.receiver import Receiver


_END: Final = b"\r\n.\r\n"
_HEADS: Final = tuple(_END[:length] for length in (4, 3, 2, 1))


class DataReader:
    """Reads one message after DATA; ``limit`` in octets, dot-stuffing undone.

    Between calls at most four octets stay in the receiver unread, and two here. Over
    the limit it goes on consuming to the real end, else the rest of the message would
    be read as commands.
    """

    def __init__(self, *, limit: int, normalise: bool = False) -> None:
        self.ended = False
        """The client's own end of data was seen."""
        self.dotted = False
        """Some line began with a dot: what was read must be stuffed to be sent."""
        self.text = TextReader(limit=limit, normalise=normalise)
        """What is known of the message: its size, what is wrong with it."""
        self._begun = False

    def read(self, receiver: Receiver, write: Write) -> bool:
        """Consume what is there; true once the message has ended.

        Un-stuffed octets go to ``write``, the CRLF before the final dot included. What
        follows the end stays in the receiver. If ``write`` raises, the octets it got
        are lost, but reading may go on with another one, also behind the end.
        """
        if self.ended:
            return True
        if not self._begun and not self._begin(receiver):
            return self.ended
        # Most segments have no dot at a line start: one search then tells it all.
        dot = receiver.find(b"\r\n.")
        end = receiver.find(_END, dot) if dot >= 0 else -1
        self.ended = end >= 0
        if self.ended:
            text = receiver.take(end + 2)
            receiver.take(3)
        else:
            text = receiver.take(len(receiver) - _held_back(receiver))
        if dot >= 0 and dot != end:
            self.dotted = True
            text = text.replace(b"\r\n.", b"\r\n")
        self.text.write_chunk(text, write)
        if self.ended:
            self.text.finish(write)
        return self.ended

    def _begin(self, receiver: Receiver) -> bool:
        """Treat the first octet, which stands at a line start without a CRLF before it.

        Returns whether text follows; false while that is not known, or at the end.
        """
        first = receiver.peek(3)
        if first == b".\r\n":
            self.ended = True
            receiver.take(3)
            return False
        if first in {b"", b".", b".\r"}:
            return False
        self._begun = True
        if first[:1] == b".":
            self.dotted = True
            receiver.take(1)
        return True


def _held_back(receiver: Receiver) -> int:
    """Return how many octets at the end may be the begin of the end of data."""
    return next((len(head) for head in _HEADS if receiver.endswith(head)), 0)


class DotStuffer:
    """Makes octets ready for DATA: dots at line starts doubled, the end added.

    ``dotted`` False: the caller knows that no line begins with a dot, so none is looked
    for, which saves a pass over the message.
    """

    def __init__(self, *, dotted: bool = True) -> None:
        self._dotted = dotted
        self.added_crlf = False
        """The message did not end in CRLF, so one was added."""
        self._tail = b""
        """The last two octets that were fed."""
        self._empty = True

    def feed(self, chunk: bytes) -> bytes:
        """Return the next octets of the message, stuffed."""
        if not chunk:
            return b""
        stuffed = chunk.replace(b"\r\n.", b"\r\n..") if self._dotted else chunk
        if chunk[:1] == b"." and (self._empty or self._tail == b"\r\n"):
            stuffed = b"." + stuffed
        elif chunk[:2] == b"\n." and self._tail[-1:] == b"\r":
            stuffed = b"\n." + stuffed[1:]
        self._empty = False
        self._tail = (self._tail + chunk[-2:])[-2:]
        return stuffed

    def finish(self) -> bytes:
        """Return the end of data, preceded by the CRLF it needs."""
        self.added_crlf = not self._empty and self._tail != b"\r\n"
        return b"\r\n.\r\n" if self.added_crlf else b".\r\n"
