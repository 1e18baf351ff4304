"""One policy: how it answers each question of a session.

Pure: asking changes nothing but what ``MessageFacts`` keeps of it. An empty list has
nothing to say, which is allow; ``rcpt_to`` is never empty (closed by default).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain, compress
from typing import TYPE_CHECKING, Any

from smtpguard.model.contents import IN_DOUBT, Fact
from smtpguard.model.decision import (
    Action,
    Decision,
    SideActions,
    TraceStep,
    all_sides,
    most_severe,
)
from smtpguard.policy.actions import EDITING, REPLYING
from smtpguard.policy.conditions import helo_name, subject_of
from smtpguard.policy.endings import Ending
from smtpguard.policy.engine import evaluate
from smtpguard.policy.facts import Facts, declared_size
from smtpguard.policy.fieldpatterns import Line
from smtpguard.policy.handling import Handling
from smtpguard.policy.parts import FilePatterns, by_name, by_type
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
from smtpguard.policy.truth import Truth


if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from smtpguard.model.contents import Doubt
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Path
    from smtpguard.model.reply import Reply
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Settings
    from smtpguard.policy.antivirus import Antivirus
    from smtpguard.policy.conditions import Condition
    from smtpguard.policy.engine import Ruling
    from smtpguard.policy.facts import FieldFacts, MessageFacts, PartFacts
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.rules import (
        AddressRule,
        FieldRule,
        FileRule,
        Rule,
        TextRule,
    )
    from smtpguard.policy.selector import Selector
    from smtpguard.policy.spam import Spam


type RecipientClass = tuple[Truth, ...]
"""How each condition on recipients turns out."""

QUICK_QUESTIONS = 20_000
"""Header fields times rules times recipients that are asked in the event loop: 4 to 6
us each, 0.1 s if nearly all of them are asked."""
_FIELD_OCTETS = 10
"""Of header for one field, at least, as senders write them to make many."""
_SCORED = Decision(Action.SCAN, reason="no exceptions", scans=True)
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
    handling: Handling = field(default_factory=Handling)
    helo_rules: tuple[TextRule, ...] = ()
    mail_from: tuple[AddressRule, ...] = ()
    rcpt_to: tuple[AddressRule, ...] = ()
    headers: tuple[FieldRule, ...] = ()
    content_types: tuple[FileRule, ...] = ()
    filenames: tuple[FileRule, ...] = ()
    antivirus: Antivirus | None = None
    spam: Spam | None = None
    looks: bool = field(init=False)
    """Whether some rule asks for what a part holds, beyond what it claims."""
    recipient_tests: tuple[Condition, ...] = field(init=False)
    """The ``to`` conditions of rules on content."""
    actions: frozenset[Action] = field(init=False)
    """All that something can lead to."""
    sides: SideActions = field(init=False)
    """All that may be done beside it."""

    def __post_init__(self) -> None:
        """Gather what is asked for once a recipient or a part."""
        files = (*self.content_types, *self.filenames)
        matches = [rule.match for rule in files]
        looks = any(isinstance(m, FilePatterns) and m.looks for m in matches)
        object.__setattr__(self, "looks", looks)
        exceptions = self.spam.exceptions if self.spam else ()
        content: tuple[Rule[Any], ...] = (*self.headers, *files, *exceptions)
        tests = _recipient_tests(content)
        object.__setattr__(self, "recipient_tests", tests)
        addresses = (*self.mail_from, *self.rcpt_to)
        asked: tuple[Rule[Any], ...] = (*self.helo_rules, *addresses, *content)
        actions = {one for rule in asked for one in (rule.action, rule.on_unknown)}
        endings = [*self.handling.endings.values()]
        for table in (self.antivirus, self.spam):
            endings += table.all_endings if table else []
        actions |= {one.action for one in endings}
        object.__setattr__(self, "actions", frozenset(actions))
        sides = [one.side for one in endings] + [rule.side for rule in asked]
        object.__setattr__(self, "sides", all_sides((self.handling.side, *sides)))

    @property
    def asks_scanners(self) -> bool:
        """Whether messages may be scanned or scored."""
        return self.antivirus is not None or self.spam is not None

    def helo(self, session: SessionFacts, now: datetime | None = None) -> Decision:
        """Judge the name the client greets with: allow, deny, tempfail, drop, block."""
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
        """Judge a reverse-path: allow, deny, tempfail, rewrite, drop, block."""
        if not self.mail_from:
            return _SILENT
        facts = Facts(session, path, size=declared_size(path), now=now)
        return self._address(self.mail_from, path, facts, REVERSE_PATH_DENIED)

    def rcpt(
        self,
        session: SessionFacts,
        envelope: Envelope,
        path: Path,
        now: datetime | None = None,
    ) -> Decision:
        """Judge a forward-path: allow, deny, tempfail, rewrite, drop, block."""
        size = declared_size(envelope.asked)
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
        rewrite = ruling.rule.rewrite
        return replace(
            decision,
            rewrite_to=rewrite.apply(path.mailbox),
            rewrite_headers=rewrite.headers,
        )

    def field(self, field: FieldFacts, message: MessageFacts) -> Decision:
        """Judge one header field: never lock, tag or rewrite."""
        if not self.headers:
            return _SILENT
        label = shown(f"{field.name}: {field.values[0]}")
        return self._ask(self.headers, Line.of(field), label, message)[0]

    def is_quick(self, header: int, recipients: int) -> bool:
        """Whether the rules on header fields are asked in a few milliseconds: of so
        many octets of header, for so many recipients, which may be a class each."""
        classes = recipients if _recipient_tests(self.headers) else 1
        questions = header // _FIELD_OCTETS * len(self.headers) * max(classes, 1)
        return questions <= QUICK_QUESTIONS

    def part(self, part: PartFacts, message: MessageFacts) -> Decision:
        """Judge one part by its type, its name and what is in it; the most severe wins.

        The action is never tag or rewrite. What is not sure of a part does not matter
        where the part goes anyway and no setting speaks.
        """
        decisions: list[Decision] = []
        spoken: set[Fact] = set()
        for rules, seen in ((self.content_types, by_type), (self.filenames, by_name)):
            if rules:
                subject = seen(part)
                label = subject.part.label
                decision, facts = self._ask(
                    rules, subject, label, message, part=part.path
                )
                decisions.append(decision)
                spoken |= facts
        # ``lock`` leaves a container where it is, whose doubts then matter.
        going = {Action.STRIP} if part.is_locked else EDITING
        goes = any(decision.action in going for decision in decisions)
        if part.is_only_encrypted and Fact.ENCRYPTED in spoken:
            spoken.add(Fact.LIMIT)
        # A rule that asks for one of these and decides has spoken about the finding
        # too, and one on what is encrypted about a limit that nothing else made.
        for kind, fact in IN_DOUBT.items():
            is_settled = goes and kind not in self.handling.endings
            if kind in part.why and not is_settled and fact not in spoken:
                found = self.finding(kind, part.why[kind], part.path)
                decisions += [found] if found else []
        if not decisions:
            return _SILENT
        trace = tuple(step for decision in decisions for step in decision.trace)
        scans = any(decision.scans for decision in decisions)
        side = all_sides(one.side for one in decisions)
        return replace(most_severe(decisions), trace=trace, scans=scans, side=side)

    def unscored(self, message: MessageFacts) -> Decision:
        """Judge by the exceptions of ``spam``; ``scans`` says whether the message is
        scored, for one of its recipients or all."""
        if self.spam is None or not self.spam.exceptions:
            return _SCORED
        path = message.envelope.asked if message.envelope else None
        subject = None if path is None else subject_of(path, self.domains)
        label = str(path) if path else "a file"
        return self._ask(self.spam.exceptions, subject, label, message)[0]

    def finding(self, kind: Doubt, why: str, part: str) -> Decision | None:
        """Judge that something about a message or part could not be told for sure.

        Without a setting it is denied, unless all rules would let everything pass.
        """
        ending = self.handling.endings.get(kind)
        if ending is None:
            lists: tuple[tuple[Rule[Any], ...], ...] = (
                self.headers,
                self.content_types,
                self.filenames,
            )
            rules = chain.from_iterable(lists)
            if all(rule.action is Action.ALLOW for rule in rules):
                return None
            ending = Ending(Action.DENY)
        step = TraceStep(kind, matched=True, reason=why, part=part)
        reply, own = ending.reply, ending.reply is not None
        if reply is None and ending.action in REPLYING:
            is_deny = ending.action is Action.DENY
            reply = MESSAGE_DENIED if is_deny else TRY_LATER
        return Decision(
            ending.action,
            kind,
            reply,
            reason=why,
            trace=(step,),
            own_reply=own,
            side=ending.side,
        )

    def recipient_class(self, session: SessionFacts, path: Path) -> RecipientClass:
        """Return which rules on content could hold for a recipient and not for others.

        Recipients of one class get the same message, whatever it is.
        """
        facts = Facts(session, forward_path=path)
        return tuple(one.test(facts, self.domains) for one in self.recipient_tests)

    def _ask[S](
        self,
        rules: tuple[Rule[S], ...],
        subject: S,
        label: str,
        message: MessageFacts,
        *,
        part: str = "",
    ) -> tuple[Decision, frozenset[Fact]]:
        """Ask one list, once for each class of recipients; the most severe wins.

        One message goes to all its recipients or to none (contract 5, strictest); what
        is not to be discarded for all is tried again later. Returns also which facts
        the rule that decided asked for.
        """
        envelope = message.envelope
        rulings: list[tuple[Decision, frozenset[Fact]]] = []
        for path in self._classes(rules, subject, message):
            facts = Facts(
                message.session,
                envelope.asked if envelope else None,
                path,
                message.header_from,
                message.size,
                message.now,
            )
            ruling = evaluate(rules, subject, label, facts, self.domains, part=part)
            is_deny = ruling.action is Action.DENY
            decision = ruling.decision(MESSAGE_DENIED if is_deny else TRY_LATER)
            rulings.append((decision, _asked_for(ruling)))
        worst, spoken = min(rulings, key=lambda one: one[0].action.severity)
        scans = any(one.action is Action.SCAN for one, _ in rulings)
        side = all_sides(one.side for one, _ in rulings)
        worst = replace(worst, scans=scans, side=side) if scans or side else worst
        is_loss = worst.action is Action.DISCARD and any(
            one.action is not Action.DISCARD for one, _ in rulings
        )
        return _kept(worst, part) if is_loss else worst, spoken

    def _classes[S](
        self, rules: tuple[Rule[S], ...], subject: S, message: MessageFacts
    ) -> list[Path | None]:
        """Return one recipient for each way that rules can turn out on a subject.

        Each is asked once whether it is about the subject, and hardly one is.
        """
        # A thousand parts for thousands of recipients: each pair only once.
        if id(rules) not in message.classes:
            message.classes[id(rules)] = self._recipients(rules, message)
        known = message.classes[id(rules)]
        if len(known) == 1:
            return [*known.values()]
        matters: list[bool] = []
        for rule in rules:
            if tests := _recipient_tests((rule,)):
                matches = rule.match.test(subject) is not Truth.NO
                matters += [matches] * len(tests)
        classes: dict[RecipientClass, Path | None] = {}
        for key, path in known.items() if any(matters) else [*known.items()][:1]:
            classes.setdefault(tuple(compress(key, matters)), path)
        return [*classes.values()]

    def _recipients(
        self, rules: tuple[Rule[Any], ...], message: MessageFacts
    ) -> dict[RecipientClass, Path | None]:
        """Return one recipient for each way the ``to`` conditions can turn out."""
        tests = _recipient_tests(rules)
        if not tests or message.envelope is None:
            return {(): None}
        recipients = message.envelope.standing or message.envelope.recipients
        classes: dict[RecipientClass, Path | None] = {}
        for recipient in recipients:
            facts = Facts(message.session, forward_path=recipient.asked)
            key = tuple(one.test(facts, self.domains) for one in tests)
            classes.setdefault(key, recipient.asked)
        return classes or {(): None}


def _recipient_tests(rules: Iterable[Rule[Any]]) -> tuple[Condition, ...]:
    return tuple(
        condition
        for rule in rules
        for condition in (*rule.when, *rule.unless)
        if condition.name == "to"
    )


def _asked_for(ruling: Ruling[Any]) -> frozenset[Fact]:
    """Return the facts of the rule that decided, if it did as it says."""
    rule = ruling.rule
    if rule is None or not ruling.known:
        return frozenset()
    return rule.match.facts if isinstance(rule.match, FilePatterns) else frozenset()


def _kept(discards: Decision, part: str) -> Decision:
    """Return what becomes of a message that only some recipients are not to get."""
    reason = f"{discards.rule} would discard the mail of other recipients as well"
    step = TraceStep("differing", matched=True, reason=reason, part=part)
    action, trace = Action.TEMPFAIL, (*discards.trace, step)
    rule = "differing"
    return Decision(
        action, rule, TRY_LATER, reason=reason, trace=trace, side=discards.side
    )
