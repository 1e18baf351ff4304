"""One transaction, from MAIL to the end of data or to its reset (RFC 5321 3.3)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.dialogue.record import TransactionRecord
from smtpguard.errors import os_text
from smtpguard.model.decision import CLOSING


if TYPE_CHECKING:
    from smtpguard.model.content import Spool
    from smtpguard.model.decider import Judge
    from smtpguard.model.decision import Decision
    from smtpguard.model.disposition import Disposition, Outcome
    from smtpguard.model.envelope import Envelope, Recipient
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import LegFacts, SessionFacts
    from smtpguard.model.settings import Settings
    from smtpguard.wire import TextReader


@dataclass(slots=True, eq=False)
class Transaction:
    """Where the current transaction stands."""

    id: str
    envelope: Envelope
    judge: Judge
    settings: Settings
    decision: Decision
    """What the rules said to MAIL."""
    began: float
    smtputf8: bool = False
    binary: bool = False
    """BODY=BINARYMIME: no line structure, BDAT only."""
    mail_reply: Reply | None = None
    """The upstream's answer to MAIL; None while it is awaited."""
    sent: dict[tuple[str, str], Recipient] = field(default_factory=dict)
    """By mailbox, the recipient whose RCPT went upstream for all that are equal."""
    content: Spool | None = None
    """Made when the first octets of the message come in."""
    chunks: TextReader | None = None
    """Reads BDAT chunks; None while DATA is still possible."""
    chunk_failure: Reply | None = None
    """Why this message can no longer be accepted; chunks are still consumed."""
    storage_failure: str = ""
    """Why the message could not be stored, and where; "" as long as it could."""
    redialled: bool = False
    disposition: Disposition | None = None
    verdict_came: bool = False
    dotted: bool = True
    """A line of the message may begin with a dot."""
    in_doubt: str = ""
    handed_over: bool = False
    """The answer to the whole message is awaited, or was positive, or is lost: the
    upstream may have the message, or come to have it."""
    dotted_at: float | None = None
    """When the client's end of data came; verdict and reply are counted from it."""
    noops: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    size: int = 0
    ended: bool = False

    @property
    def begun(self) -> bool:
        """Whether the client has begun to send a message."""
        return self.content is not None or self.chunks is not None

    def write(self, data: bytes) -> None:
        """Append octets of the message; a full disk is remembered, never raised."""
        self.size += len(data)
        if self.storage_failure or self.content is None:
            return
        self.digest.update(data)
        try:
            self.content.write(data)
        except OSError as error:
            self.storage_failure = os_text(error)

    def close(self, *, judging: bool) -> None:
        """Give the message's storage back, unless it is still being judged."""
        if self.content is not None and not judging:
            self.content.close()

    @property
    def decided(self) -> Disposition | Decision | None:
        """Who had the last word: the message's judge, or the rules on the envelope.

        Of several refused recipients it is the last; none where nobody was refused, and
        no rule closed the session.
        """
        if self.disposition is not None:
            return self.disposition
        if self.decision.reply is not None:
            return self.decision
        recipients = self.envelope.recipients
        last = recipients[-1].decision if recipients else self.decision
        if last.action in CLOSING:
            return last
        if not recipients or any(one.stands for one in recipients):
            return None
        refused = [one.decision for one in recipients if one.decision.reply is not None]
        return refused[-1] if refused else None

    def record(
        self,
        session: SessionFacts,
        outcome: Outcome,
        reply: Reply | None,
        now: float,
        reason: str = "",
    ) -> TransactionRecord:
        """Return the record of this transaction as it ends now."""
        judged = self.disposition
        decided = self.decided
        return TransactionRecord(
            id=self.id,
            session=session.id,
            policy=self.settings.policy,
            outcome=outcome,
            reply=str(reply) if reply else "",
            mail_from=str(self.envelope.reverse_path.mailbox or ""),
            rcpt_to=tuple(
                {
                    "asked": str(recipient.asked.mailbox),
                    "address": str(recipient.forward_path.mailbox),
                    "reply": str(recipient.reply) if recipient.reply else "",
                    "rule": recipient.decision.rule,
                    "action": str(recipient.decision.action),
                }
                for recipient in self.envelope.recipients
            ),
            size=self.size,
            sha256=self.digest.hexdigest() if self.size else "",
            rule=decided.rule if decided else "",
            action=str(decided.action) if decided and decided.action else "",
            reason=reason or (decided.reason if decided else ""),
            in_doubt=self.in_doubt,
            trace=tuple(step.to_json() for step in decided.trace) if decided else (),
            report=dict(judged.report) if judged else {},
            duration=now - self.began,
            client=session.client[0],
            tls=f"{_version(session.client_leg)}/{_version(session.upstream_leg)}",
        )


def _version(leg: LegFacts) -> str:
    """Return the TLS version of a leg, or that it is in clear."""
    return leg.tls.version if leg.tls is not None else "clear"
