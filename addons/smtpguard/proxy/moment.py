"""The rules that are in force when they are asked: a session outlasts a reload.

mitmproxy makes a new addon whenever the script changes, and the old one is never heard
of again. So a session holds on to nobody: it asks whoever is on duty now. A transaction
keeps the rules it is begun under, a session its settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.model.decider import Decider, Judge
    from smtpguard.model.decision import Decision
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Refusal, Settings, TrustedClient


class NobodyOnDutyError(RuntimeError):
    """There are no rules to ask: what was asked stays undecided (4yz)."""


class RulesOfTheMoment:
    """A ``Decider`` that asks another one, which ``current`` names anew each time.

    What ``current`` raises is raised.
    """

    def __init__(self, current: Callable[[], Decider]) -> None:
        self._current = current

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        """Say whether this peer must tell us the real client's address."""
        return self._current().trusted(client)

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        """Choose the policy of a new session."""
        return self._current().connect(session)

    def block(self, session: SessionFacts, rule: str, identifier: str) -> str:
        """Refuse a client from now on."""
        return self._current().block(session, rule, identifier)

    def anomaly(self, session: SessionFacts, identifier: str) -> str:
        """Count that a client broke SMTP."""
        return self._current().anomaly(session, identifier)

    def helo(self, session: SessionFacts) -> Decision:
        """Judge the name the client greets with."""
        return self._current().helo(session)

    def begin(self, session: SessionFacts) -> Judge:
        """Begin a transaction."""
        return self._current().begin(session)
