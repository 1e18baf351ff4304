"""Message text in pieces, without any framing (RFC 5321 2.3.7, 2.3.8, RFC 3030).

Owns the octets of a message between framing and spool: limit, stray CR, LF and NUL,
long lines. Works on whole pieces with ``find``, ``count`` and ``replace``, never line
by line, so a message costs a few passes in C over its octets whatever it holds.
Any split into pieces gives the same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final


MAX_LINE: Final = 998
"""Octets of a text line without its CRLF (RFC 5321 4.5.3.1.6)."""

type Write = Callable[[bytes], None]

# Together with a search for NUL these tell that a piece is ordinary text, at twice the
# speed of counting. Possessive, so nothing is tried twice.
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_SHORT_LINES: Final = re.compile(rb"(?:[^\n]{0,%d}+(?<=\r)\n)*+" % (MAX_LINE + 1))

# Once NUL is gone from the text, it can stand for CRLF.
_STRAY: Final = bytes.maketrans(b"\r\n", b" \0")


class TextReader:
    """Counts, limits and, where asked, normalises what passes through it.

    ``limit`` is in octets. ``normalise``: bare LF and CR CR LF become CRLF, any other
    bare CR a space, NUL is dropped. ``binary`` (BINARYMIME): only the limit counts.
    """

    def __init__(
        self, *, limit: int, normalise: bool = False, binary: bool = False
    ) -> None:
        self.size = 0
        """Octets written, or that would have been but for the limit."""
        self.too_large = False
        """Over the limit: its first octets are written, no more."""
        self.overrun = False
        """More than twice the limit came in: no use in consuming on."""
        self.bare_cr = 0
        self.bare_lf = 0
        self.nul = 0
        self.long_lines = 0
        """Lines over ``MAX_LINE``."""
        self._limit = limit
        self._normalise = normalise
        self._binary = binary
        self._received = 0
        self._carry = b""
        """CR, or CR CR, whose meaning the next octet tells."""
        self._line = 0
        """Octets of the line that has not ended yet."""

    @property
    def stray(self) -> int:
        """How many bare CR, bare LF and NUL came, repaired or not."""
        return self.bare_cr + self.bare_lf + self.nul

    def write_chunk(self, data: bytes, write: Write) -> None:
        """Take the next octets; what is known of them goes to ``write``."""
        self._received += len(data)
        if self._received > 2 * self._limit:
            self.overrun = self.too_large = True
        if self._binary:
            self._write(data, write)
            return
        if self._carry:
            data = self._carry + data
        self._carry = b""
        if data[-1:] == b"\r":
            self._carry = b"\r\r" if data[-2:-1] == b"\r" else b"\r"
            data = data[: -len(self._carry)]
        self._pass(data, write)

    def finish(self, write: Write) -> None:
        """Tell that the message has ended; the last octets go to ``write``."""
        rest, self._carry = self._carry, b""
        self._pass(rest, write)
        if self._line > MAX_LINE:
            self.long_lines += 1
        self._line = 0

    def _pass(self, text: bytes, write: Write) -> None:
        """Take octets that end neither in the middle of a CRLF nor of a CR CR LF."""
        if not self._is_ordinary(text):
            text = self._examine(text)
        self._write(text, write)

    def _is_ordinary(self, text: bytes) -> bool:
        """Say whether there is nothing to count; if so keep track of the line."""
        first = text.find(b"\n")
        if first < 0:
            first = len(text)
        if self._line + first > MAX_LINE or b"\0" in text or _BARE_CR.search(text):
            return False
        lines = _SHORT_LINES.match(text)
        end = lines.end() if lines else 0
        if text.find(b"\n", end) >= 0:
            return False
        self._line = len(text) - end + (0 if end else self._line)
        return True

    def _examine(self, text: bytes) -> bytes:
        """Count what is wrong with the text, and return it, normalised if asked."""
        ends = text.count(b"\r\n")
        bare_cr = text.count(b"\r") - ends
        bare_lf = text.count(b"\n") - ends
        nul = text.count(b"\0")
        self.bare_cr += bare_cr
        self.bare_lf += bare_lf
        self.nul += nul
        if self._normalise and (bare_cr or bare_lf or nul):
            text = _normalised(text)
        self._measure(text)
        return text

    def _measure(self, text: bytes) -> None:
        """Count long lines, by looking for the last CRLF that may end a short one."""
        at = 0
        while True:
            room = max(0, MAX_LINE + 2 - self._line)
            end = text.rfind(b"\r\n", at, at + room)
            if end < 0:
                end = text.find(b"\r\n", at)
                if end < 0:
                    break
                self.long_lines += 1
            at = end + 2
            self._line = 0
        self._line += len(text) - at

    def _write(self, text: bytes, write: Write) -> None:
        room = self._limit - self.size
        self.size += len(text)
        if self.size > self._limit:
            self.too_large = True
            text = text[: max(0, room)]
        if text:
            write(text)


def _normalised(text: bytes) -> bytes:
    """Return text whose only line end is CRLF.

    A NUL separates before it goes: CR NUL LF is a bare CR and a bare LF.
    """
    text = text.replace(b"\r\0", b" ").replace(b"\0", b"")
    text = text.replace(b"\r\r\n", b"\r\n").replace(b"\r\n", b"\0")
    return text.translate(_STRAY).replace(b"\0", b"\r\n")
