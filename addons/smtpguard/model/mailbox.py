"""Mailboxes and paths of the envelope (RFC 5321 4.1.2), already parsed.

``wire.path`` is the only maker of these from a peer's octets. Two forms are kept side
by side: ``octets`` is what is relayed, exactly as the peer wrote it; ``local_part`` and
``domain`` are what rules compare, quoting undone and the domain in one normal form.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``local-part@domain`` of an envelope, or ``<Postmaster>`` without a domain."""

    octets: bytes
    """As written, without angle brackets and without a source route."""
    local_part: str
    """Unquoted, case kept. May hold any character, ``@`` too, if it was quoted."""
    domain: str
    """Lower case, A-labels, no trailing dot; ``[...]`` for an address literal;
    "" only for ``<Postmaster>``."""

    def __str__(self) -> str:
        """Return ``local-part@domain`` for logs and rules; controls are escaped."""
        text = f"{self.local_part}@{self.domain}" if self.domain else self.local_part
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ESMTP parameter of MAIL or RCPT (RFC 5321 4.1.2, ``esmtp-param``)."""

    keyword: str
    """Upper case."""
    value: str | None
    """As written; None where there is no ``=``."""

    def to_octets(self) -> bytes:
        """Return ``KEYWORD=value`` as sent (UTF-8 where SMTPUTF8 allows it)."""
        if self.value is None:
            return self.keyword.encode("ascii")
        return f"{self.keyword}={self.value}".encode()


@dataclass(frozen=True, slots=True)
class Path:
    """A reverse-path or forward-path with its parameters."""

    mailbox: Mailbox | None
    """None is the null reverse-path ``<>``."""
    parameters: tuple[Parameter, ...] = ()

    def parameter(self, keyword: str) -> Parameter | None:
        """Return the parameter of that (upper case) keyword, or None."""
        return next((p for p in self.parameters if p.keyword == keyword), None)

    def __str__(self) -> str:
        """Return ``<local-part@domain>`` or ``<>`` for logs."""
        return f"<{self.mailbox}>" if self.mailbox else "<>"
