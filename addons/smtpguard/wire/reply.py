"""Replies as they come from an upstream (RFC 5321 4.2, 4.2.1).

Collects the lines of one reply. Reads codes and texts liberally, line ends and
structure strictly: a reply that two readers could count differently would shift every
answer behind it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NoReturn

from smtpguard.errors import ProtocolError
from smtpguard.model.reply import Reply
from smtpguard.wire import replies
from smtpguard.wire.command import printable


if TYPE_CHECKING:
    from smtpguard.wire.receiver import Receiver


MAX_REPLY_LINE: Final = 2048
"""Octets with CRLF; RFC 5321 4.5.3.1.5 says 512, servers say more."""
MAX_REPLY_LINES: Final = 200
MAX_REPLY_OCTETS: Final = 128 * 1024
"""Of one reply: what an upstream can make us hold."""

_LINE: Final = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)


class ReplyReader:
    """Takes whole replies out of a receiver; remembers the lines of a partial one."""

    def __init__(self) -> None:
        self._code = 0
        self._lines: list[bytes] = []
        self._octets = 0

    def next_reply(self, receiver: Receiver) -> Reply | None:
        """Return the next reply; None: not all of it is there yet.

        Raises ``ProtocolError`` with ``closes`` for whatever is no reply: another code
        within it, a code outside 200 to 599, a line or a reply beyond the limits above,
        bare CR, LF or NUL. Its reply is what the client is told of a lost upstream.
        """
        while (line := self._next_line(receiver)) is not None:
            found = _LINE.match(line)
            if found is None:
                _fail(f"no reply: {printable(line[:64])}")
            self._collect(int(found[1]), found[3] or b"", len(line) + 2)
            if found[2] != b"-":
                return self._finish()
        return None

    def _next_line(self, receiver: Receiver) -> bytes | None:
        try:
            return receiver.next_line(MAX_REPLY_LINE)
        except ProtocolError as error:
            _fail(f"no reply: {error}")

    def _collect(self, code: int, text: bytes, octets: int) -> None:
        if self._lines and code != self._code:
            _fail(f"code {code} within a reply of {self._code}")
        self._code = code
        self._lines.append(text)
        self._octets += octets
        if len(self._lines) > MAX_REPLY_LINES or self._octets > MAX_REPLY_OCTETS:
            _fail(f"reply of {self._octets} octets in {len(self._lines)} lines")

    def _finish(self) -> Reply:
        reply = Reply(self._code, tuple(self._lines))
        self._lines = []
        self._octets = 0
        return reply


def _fail(text: str) -> NoReturn:
    raise ProtocolError(text, replies.UPSTREAM_LOST, closes=True) from None
