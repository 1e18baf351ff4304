"""Who remembers which clients are refused (action ``block``): the seam to the rules."""

from __future__ import annotations

from typing import Protocol


class Blocker(Protocol):
    """The memory of blocked clients. Nothing of it raises: blocking is no promise."""

    def refusal(self, address: str) -> str:
        """Return why a client is refused, "" where it is let in. Takes no time."""
        ...

    def block(self, address: str, rule: str, identifier: str, *, firewall: bool) -> str:
        """Refuse a client from now on; return what became of it, for the log.

        ``firewall``: whether the firewall may be told, which knows no exemptions.
        """
        ...

    def strike(self, address: str, identifier: str, *, firewall: bool) -> str:
        """Count that a client broke SMTP, and block it where it has done so too often.

        Returns what became of it, "" where nothing did.
        """
        ...

    def stop(self) -> None:
        """Do nothing more beside the sessions."""
        ...
