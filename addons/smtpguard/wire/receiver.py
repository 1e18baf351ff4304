"""The receive buffer of one leg, and lines out of it (RFC 5321 2.3.8, 4.5.3.1).

Owns the octets that came and were not used yet. Remembers how far it has searched, so
that a line which comes one octet at a time still costs linear time. Knows no command
and no reply: what the next octets mean is its caller's business.

Only CRLF ends a line. A bare CR, a bare LF or a NUL is never skipped or repaired,
because two programs that repair it differently see two different dialogues.
"""

from __future__ import annotations

from smtpguard.errors import ProtocolError
from smtpguard.wire import replies


class Receiver:
    """Octets of one peer, in order, until somebody takes them."""

    def __init__(self) -> None:
        self._buffer: bytearray | bytes = bytearray()
        """``bytes`` while it is one segment that nothing was taken from: most segments
        of a message are taken whole, and then never copied."""
        self._searched = 0
        """No line ends before this offset."""

    def feed(self, data: bytes) -> None:
        """Append octets that came."""
        if not self._buffer:
            self._buffer = data
        elif isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
            self._buffer += data
        else:
            self._buffer += data

    def __len__(self) -> int:
        """Return how many octets are buffered."""
        return len(self._buffer)

    def clear(self) -> int:
        """Drop everything; return how many octets that were."""
        dropped = len(self._buffer)
        self._buffer = bytearray()
        self._searched = 0
        return dropped

    def take(self, n: int) -> bytes:
        """Remove and return the first ``n`` octets, or all if there are fewer."""
        if n >= len(self._buffer):
            taken = bytes(self._buffer)  # the object itself if it is bytes
            self.clear()
            return taken
        taken = self.peek(n)
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(self._buffer)
        del self._buffer[:n]
        self._searched = max(0, self._searched - n)
        return taken

    def peek(self, n: int) -> bytes:
        """Return the first ``n`` octets, or all if there are fewer, and keep them."""
        with memoryview(self._buffer) as view:
            return bytes(view[:n])

    def find(self, octets: bytes, start: int = 0) -> int:
        """Return the offset of the first ``octets`` from ``start`` on, -1 without."""
        return self._buffer.find(octets, start)

    def endswith(self, octets: bytes) -> bool:
        """Say whether the buffer ends with ``octets``."""
        return self._buffer.endswith(octets)

    def next_line(self, limit: int) -> bytes | None:
        """Remove the next line and return it without its CRLF; None: not there yet.

        ``limit`` is in octets and counts the CRLF. Raises ``ProtocolError``:

        - with ``LINE_TOO_LONG`` once a longer line has ended, which is then removed;
        - with ``LINE_TOO_LONG`` and ``closes`` at once when it goes on for more than
          ``limit`` again (so at most twice ``limit`` and one segment is held);
        - with ``BARE_NEWLINE_COMMAND`` and ``closes`` as soon as one is seen.

        After a ``closes`` nothing is left in the buffer.
        """
        stop = min(len(self._buffer), 2 * limit)
        end = self._buffer.find(b"\n", self._searched, stop)
        carriage = self._buffer.find(b"\r", self._searched, stop)
        last = end if end >= 0 else stop
        if self._is_bare(carriage, last, ended=end >= 0):
            self.clear()
            raise ProtocolError(
                "bare CR, bare LF or NUL", replies.BARE_NEWLINE_COMMAND, closes=True
            )
        if end >= 0:
            line = self.take(end + 1)
            self._searched = 0
            if len(line) > limit:
                raise ProtocolError("line too long", replies.LINE_TOO_LONG)
            return line[:-2]
        if len(self._buffer) > stop:
            self.clear()
            raise ProtocolError("line without end", replies.LINE_TOO_LONG, closes=True)
        # A CR at the very end may yet be half of a CRLF: look at it again.
        self._searched = stop if carriage < 0 else carriage
        return None

    def _is_bare(self, carriage: int, last: int, *, ended: bool) -> bool:
        """Say whether the octets up to ``last`` hold what only CRLF may hold.

        ``carriage`` is the first CR, ``last`` the LF (``ended``) or the end so far.
        """
        if self._buffer.find(b"\0", self._searched, last) >= 0:
            return True
        if carriage < 0:
            return ended
        return carriage != last - 1 if ended else carriage < last - 1
