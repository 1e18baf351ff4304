"""The envelope of one transaction (RFC 5321 2.3.1, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from smtpguard.model.decision import Decision
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply


@dataclass(slots=True)
class Recipient:
    """One RCPT of the client, and what became of it."""

    asked: Path
    """As the client asked for it."""
    forward_path: Path
    """As it goes upstream; differs from ``asked`` after a rewrite."""
    decision: Decision
    reply: Reply | None = None
    """What the client was told; None while the upstream has not answered."""
    sharers: list[tuple[Recipient, Any]] = field(default_factory=list, repr=False)
    """Recipients that became equal to this one and wait for the same reply, each with
    its slot in the reply queue."""

    @property
    def stands(self) -> bool:
        """Whether this recipient was accepted by the rules and by the upstream."""
        return self.reply is not None and self.reply.is_positive

    @property
    def may_stand(self) -> bool:
        """Whether this recipient was accepted, or still can be."""
        if self.decision.reply is not None:
            return False
        return self.reply is None or self.reply.is_positive


@dataclass(slots=True)
class Envelope:
    """Reverse-path and forward-paths from MAIL to the end of the transaction."""

    asked: Path
    """The reverse-path as the client gave it."""
    reverse_path: Path
    """As it goes upstream; differs from ``asked`` after a rewrite."""
    recipients: list[Recipient] = field(default_factory=list)
    id: str = ""
    """The transaction's, as logs and replies name it."""
    decision: Decision | None = None
    """What the rules said to MAIL."""

    @property
    def standing(self) -> list[Recipient]:
        """Recipients that the upstream accepted, in the client's order."""
        return [recipient for recipient in self.recipients if recipient.stands]
