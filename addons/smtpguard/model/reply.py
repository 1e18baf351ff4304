"""SMTP replies as values (RFC 5321 4.2, RFC 2034/3463 enhanced status codes)."""

from __future__ import annotations

import re
from dataclasses import dataclass


_ENHANCED = re.compile(rb"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?: |$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply: one code, one or more lines of text."""

    code: int
    """Three digits, 200 to 599."""
    lines: tuple[bytes, ...] = (b"",)
    """Text of each line after code and separator, without CRLF, as it is sent.
    An enhanced status code is part of the text."""

    @classmethod
    def make(cls, code: int, enhanced: str, text: str) -> Reply:
        """Build a one-line reply of our own from ASCII text; no enhanced code if ""."""
        line = f"{enhanced} {text}" if enhanced else text
        return cls(code, (line.encode("ascii"),))

    @property
    def enhanced(self) -> str:
        """The enhanced status code of the first line, "" where there is none."""
        found = _ENHANCED.match(self.lines[0])
        return found.group(0).strip().decode("ascii") if found else ""

    @property
    def is_positive(self) -> bool:
        """2yz: the command was done."""
        return 200 <= self.code <= 299

    @property
    def is_transient(self) -> bool:
        """4yz: refused for now; the client keeps the message and retries."""
        return 400 <= self.code <= 499

    @property
    def is_permanent(self) -> bool:
        """5yz: refused for good; the client bounces the message."""
        return 500 <= self.code <= 599

    def to_octets(self) -> bytes:
        """Return the reply as sent, each line ended by CRLF."""
        if len(self.lines) == 1:
            return b"%d %s\r\n" % (self.code, self.lines[0])
        last = len(self.lines) - 1
        return b"".join(
            b"%d%c%s\r\n" % (self.code, b" -"[index != last], line)
            for index, line in enumerate(self.lines)
        )

    def __str__(self) -> str:
        """Return the reply on one line for logs; control characters are escaped."""
        text = b" / ".join(self.lines).decode("ascii", "backslashreplace")
        safe = text
        if not text.isprintable():
            safe = "".join(c if " " <= c <= "~" else repr(c)[1:-1] for c in text)
        return f"{self.code} {safe}".rstrip()
