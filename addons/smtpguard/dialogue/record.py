"""The record of one transaction, as logs, flows and the command line show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.model.disposition import Outcome


@dataclass(frozen=True, slots=True)
class TransactionRecord:
    """Everything that is known of a transaction once it has ended (contract 10)."""

    id: str
    """``SESSION.NUMBER``."""
    session: str
    policy: str
    outcome: Outcome
    reply: str
    """What the client was told at the end, as one line; "" where nothing was."""
    mail_from: str
    rcpt_to: tuple[dict[str, Any], ...]
    """``{"asked", "address", "reply", "rule", "action"}`` for each RCPT."""
    size: int
    sha256: str
    rule: str = ""
    action: str = ""
    reason: str = ""
    in_doubt: str = ""
    """Which of the places of contract 2.1 it was, "" almost always."""
    trace: tuple[dict[str, Any], ...] = ()
    report: dict[str, Any] = field(default_factory=dict)
    """``parts``, ``defects``, ``findings`` as the judge reported them."""
    duration: float = 0.0
    client: str = ""
    """Address of the client, the real one behind PROXY or XCLIENT."""
    tls: str = ""
    """Both legs as ``TLSv1.3/clear``: the client's, then the upstream's."""

    @property
    def rows(self) -> int:
        """How much is told of it: steps, recipients, parts, entries of archives ..."""
        return len(self.rcpt_to) + len(self.trace) + rows_of(self.report)

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``smtpguard replay --json`` prints."""
        return {
            "transaction": self.id,
            "session": self.session,
            "policy": self.policy,
            "disposition": str(self.outcome),
            "reply": self.reply,
            "rule": self.rule,
            "action": self.action,
            "reason": self.reason,
            "in_doubt": self.in_doubt,
            "size": self.size,
            "sha256": self.sha256,
            "envelope": {"mail_from": self.mail_from, "rcpt_to": list(self.rcpt_to)},
            **self.report,
            "trace": list(self.trace),
            "duration": round(self.duration, 3),
            "client": self.client,
            "tls": self.tls,
        }


def rows_of(report: Mapping[str, Any]) -> int:
    """Count the values of a report's lists, and the entries of archives in its parts.

    Any addon may have made it.
    """
    lists = [value for value in report.values() if isinstance(value, list)]
    parts = [part for rows in lists for part in rows if isinstance(part, dict)]
    entries = (part.get("entries") for part in parts)
    return sum(map(len, lists)) + sum(len(e) for e in entries if isinstance(e, list))
