"""One policy: how it answers each question of a session.

Pure: asking changes nothing. An empty list has nothing to say, which is allow;
``rcpt_to`` is never empty (closed by default).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from smtpguard.model.decision import Action, Decision, most_severe
from smtpguard.policy.conditions import helo_name, subject_of
from smtpguard.policy.engine import evaluate
from smtpguard.policy.facts import Facts
from smtpguard.policy.filenames import readings
from smtpguard.policy.patterns import fold
from smtpguard.policy.problems import shown
from smtpguard.policy.replies import (
    HELO_DENIED,
    HELO_LATER,
    MESSAGE_DENIED,
    RELAYING_DENIED,
    REVERSE_PATH_DENIED,
    TRY_LATER,
    UNKNOWN_RECIPIENT,
)


if TYPE_CHECKING:
    from datetime import datetime

    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Settings
    from smtpguard.policy.facts import MessageFacts, PartFacts
    from smtpguard.policy.matching import Texts
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.rules import AddressRule, TextRule
    from smtpguard.policy.selector import Selector


_SILENT = Decision(Action.ALLOW, reason="no rules")


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of a session and its ordered lists of rules."""

    name: str
    mark: Mark
    """Where it stands."""
    settings: Settings
    domains: tuple[str, ...]
    """Ours, in normal form."""
    when: Selector | None = None
    """None: for every session."""
    helo_rules: tuple[TextRule, ...] = ()
    mail_from: tuple[AddressRule, ...] = ()
    rcpt_to: tuple[AddressRule, ...] = ()
    content_types: tuple[TextRule, ...] = ()
    filenames: tuple[TextRule, ...] = ()

    def helo(self, session: SessionFacts, now: datetime | None = None) -> Decision:
        """Judge the name the client greets with: allow, deny, tempfail or drop."""
        if not self.helo_rules:
            return _SILENT
        name = (helo_name(session.helo),)
        facts = Facts(session, now=now)
        label = shown(session.helo)
        ruling = evaluate(self.helo_rules, name, label, facts, self.domains)
        decision = ruling.decision(HELO_DENIED)
        if decision.own_reply or decision.action is not Action.TEMPFAIL:
            return decision
        # Undecided or not, a tempfail is answered in the words for HELO.
        return replace(decision, reply=HELO_LATER)

    def mail(
        self, session: SessionFacts, path: Path, now: datetime | None = None
    ) -> Decision:
        """Judge a reverse-path: allow, deny, tempfail, rewrite or drop."""
        if not self.mail_from:
            return _SILENT
        facts = Facts(session, path, size=_declared(path), now=now)
        return self._address(self.mail_from, path, facts, REVERSE_PATH_DENIED)

    def rcpt(
        self,
        session: SessionFacts,
        envelope: Envelope,
        path: Path,
        now: datetime | None = None,
    ) -> Decision:
        """Judge a forward-path: allow, deny, tempfail, rewrite or drop."""
        size = _declared(envelope.asked)
        facts = Facts(session, envelope.asked, path, size=size, now=now)
        subject = subject_of(path, self.domains)
        is_ours = subject is not None and subject.domain in self.domains
        denied = UNKNOWN_RECIPIENT if is_ours else RELAYING_DENIED
        return self._address(self.rcpt_to, path, facts, denied)

    def _address(
        self, rules: tuple[AddressRule, ...], path: Path, facts: Facts, denied: Reply
    ) -> Decision:
        subject = subject_of(path, self.domains)
        ruling = evaluate(rules, subject, str(path), facts, self.domains)
        is_deny = ruling.action is Action.DENY
        decision = ruling.decision(denied if is_deny else TRY_LATER)
        if ruling.action is not Action.REWRITE:
            return decision
        if path.mailbox is None:
            reason = f"{decision.reason}; <> is never rewritten"
            return replace(decision, action=Action.ALLOW, reason=reason)
        assert ruling.rule is not None
        assert ruling.rule.rewrite is not None
        return replace(decision, rewrite_to=ruling.rule.rewrite.apply(path.mailbox))

    def part(self, part: PartFacts, message: MessageFacts) -> Decision:
        """Judge one part by its type and by its name; the most severe wins.

        The action is allow, deny, tempfail, strip, discard or drop.
        """
        decisions = []
        if self.content_types:
            types = (fold(part.content_type),)
            label = shown(part.content_type)
            decisions.append(self._text(self.content_types, types, label, message))
        if self.filenames:
            label = ", ".join(shown(one) for one in part.names[:3]) or "no name"
            names = readings(part.names)
            decisions.append(self._text(self.filenames, names, label, message))
        if not decisions:
            return _SILENT
        trace = tuple(step for decision in decisions for step in decision.trace)
        return replace(most_severe(decisions), trace=trace)

    def _text(
        self,
        rules: tuple[TextRule, ...],
        subject: Texts,
        label: str,
        message: MessageFacts,
    ) -> Decision:
        """Ask one list, once for each class of recipients; the most severe wins.

        One message goes to all its recipients or to none (contract 5, strictest).
        """
        envelope = message.envelope
        decisions = []
        for path in self._classes(rules, message):
            facts = Facts(
                message.session,
                envelope.asked if envelope else None,
                path,
                message.header_from,
                message.size,
                message.now,
            )
            ruling = evaluate(rules, subject, label, facts, self.domains)
            is_deny = ruling.action is Action.DENY
            decisions.append(ruling.decision(MESSAGE_DENIED if is_deny else TRY_LATER))
        return most_severe(decisions)

    def _classes(
        self, rules: tuple[TextRule, ...], message: MessageFacts
    ) -> list[Path | None]:
        # A thousand parts for thousands of recipients: each pair only once.
        if id(rules) not in message.classes:
            message.classes[id(rules)] = self._recipients(rules, message)
        return message.classes[id(rules)]

    def _recipients(
        self, rules: tuple[TextRule, ...], message: MessageFacts
    ) -> list[Path | None]:
        """Return one recipient for each way the ``to`` conditions can turn out."""
        tests = [
            condition
            for rule in rules
            for condition in (*rule.when, *rule.unless)
            if condition.name == "to"
        ]
        if not tests or message.envelope is None:
            return [None]
        recipients = message.envelope.standing or message.envelope.recipients
        classes: dict[tuple[object, ...], Path] = {}
        for recipient in recipients:
            facts = Facts(message.session, forward_path=recipient.asked)
            key = tuple(one.test(facts, self.domains) for one in tests)
            classes.setdefault(key, recipient.asked)
        return list(classes.values()) or [None]


def _declared(path: Path) -> int | None:
    """Return the size MAIL declared (RFC 1870), None without one."""
    parameter = path.parameter("SIZE")
    value = parameter.value if parameter else None
    return int(value) if value and value.isascii() and value.isdigit() else None
