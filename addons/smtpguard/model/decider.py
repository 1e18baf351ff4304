"""Who decides: the seam between the dialogue and the rules.

The dialogue asks these directly (a mitmproxy hook per command would cost more than the
rest of the dialogue). ``pipeline`` implements them with rules; tests with a few lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol


if TYPE_CHECKING:
    from smtpguard.model.content import Spool
    from smtpguard.model.decision import Decision
    from smtpguard.model.disposition import Disposition
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Refusal, Settings, TrustedClient


class Judge(Protocol):
    """Judges one transaction by the rules that were active when it began."""

    def mail(self, session: SessionFacts, reverse_path: Path) -> Decision:
        """Judge MAIL; the action is allow, deny, tempfail, rewrite, drop or block."""
        ...

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: Path
    ) -> Decision:
        """Judge RCPT; the action is allow, deny, tempfail, rewrite, drop or block."""
        ...

    def message(
        self, session: SessionFacts, envelope: Envelope, content: Spool
    ) -> Disposition:
        """Judge the whole message. May take long: never called by the dialogue, but
        by whoever answers its ``AskVerdict``."""
        ...


class Decider(Protocol):
    """The rules of the moment."""

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        """Say whether this peer must tell us the real client's address."""
        ...

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        """Choose the policy of a new session (or after PROXY or XCLIENT)."""
        ...

    def block(self, session: SessionFacts, rule: str, identifier: str) -> str:
        """Refuse this client from now on, for a time, because of a rule.

        ``identifier`` is the transaction's. Returns what became of it, for the log.
        """
        ...

    def anomaly(self, session: SessionFacts, identifier: str) -> str:
        """Count that this client broke SMTP, which may block it as well.

        Returns what became of it, "" where nothing did.
        """
        ...

    def helo(self, session: SessionFacts) -> Decision:
        """Judge the name the client greets with."""
        ...

    def begin(self, session: SessionFacts) -> Judge:
        """Begin a transaction under the rules of the moment."""
        ...
