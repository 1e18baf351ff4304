"""Who keeps messages and parts (contract 8): the seam to the quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from collections.abc import Sequence

    from smtpguard.model.content import Spool
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.session import SessionFacts


class Keeper(Protocol):
    """Who keeps messages and parts (contract 8)."""

    def was_released(self, sha256: str, mailbox: Mailbox) -> bool:
        """Whether a message of that digest was released to a recipient of late."""
        ...

    def keep(
        self,
        session: SessionFacts,
        envelope: Envelope,
        content: Spool,
        said: Disposition,
    ) -> Disposition:
        """Keep what ``said`` says; it is on the disk when this returns.

        Returns what is to become of the message then: put off where it cannot be kept.
        """
        ...

    def drop(self, kept: Sequence[str]) -> None:
        """Delete what was kept of a message that its client has still."""
        ...

    def tidy(self) -> None:
        """Delete what is too old, or too much."""
        ...

    def stop(self) -> None:
        """Keep nothing more."""
        ...
