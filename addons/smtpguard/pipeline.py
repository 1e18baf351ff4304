"""Facts to decisions: the rules and the MIME tree joined, behind ``model.decider``.

Pure but for whoever enters archives: the rule set is given, time and random octets come
from functions that are given, and the message is a buffer. So the same message under
the same rules ends the same way, in the gateway, in ``smtpguard inspect`` and in a
replay, unless a rule asks for the time or nobody can look into an archive just now.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from smtpguard.authors import authors
from smtpguard.differing import keeps_apart, put_off
from smtpguard.dkim import forged_results, is_covered
from smtpguard.dkimresults import verified, with_results
from smtpguard.editing import (
    Editor,
    Locker,
    forged_fields,
    own_fields,
    rewritten_fields,
)
from smtpguard.examining import examined
from smtpguard.looking import Looker, TakesLong
from smtpguard.mime import (
    Edit,
    Limits,
    Message,
    apply,
    parse,
    prepend_field,
    remove_field,
)
from smtpguard.model.decision import CLOSING, Action, Decision
from smtpguard.model.disposition import Disposition, HeldContent, Outcome
from smtpguard.model.settings import Refusal
from smtpguard.policy.actions import EDITING
from smtpguard.policy.facts import MessageFacts
from smtpguard.receivedfield import received_value
from smtpguard.reporting import ending, report, trace
from smtpguard.scanning import answered, questions
from smtpguard.tagging import tagged, verdict_fields
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from smtpguard.dialogue import TransactionRecord
    from smtpguard.dkim import Ask
    from smtpguard.examining import Examined
    from smtpguard.looking import Inspector
    from smtpguard.mime import Octets
    from smtpguard.model.blocker import Blocker
    from smtpguard.model.content import Spool
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.keeper import Keeper
    from smtpguard.model.mailbox import Path
    from smtpguard.model.scan import Questions, Verdicts
    from smtpguard.model.session import SessionFacts
    from smtpguard.model.settings import Settings, TrustedClient
    from smtpguard.policy import Policy, Ruleset
    from smtpguard.policy.policies import RecipientClass
    from smtpguard.scanning import Scanners


PASSED = frozenset({Outcome.RELAYED, Outcome.MODIFIED})
"""The outcomes in which the message goes on to its recipients."""


class Notifier(Protocol):
    """Who tells people of what happens (contract 5, ``notify``; contract 7)."""

    def notify(self, record: TransactionRecord) -> None:
        """Tell those of a transaction that has ended whom its report names."""
        ...

    def alarm(self, text: str) -> None:
        """Tell of an alarm."""
        ...

    def retire(self) -> None:
        """Send what waits without waiting for more: another one is there now."""
        ...

    def stop(self) -> None:
        """Send what waits, for a few seconds at most."""
        ...


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The rules of the moment (``model.decider.Decider``)."""

    rules: Ruleset
    clock: Callable[[], datetime]
    """Local time with its zone, for ``time`` conditions and Received fields."""
    own_name: str = "smtpguard.invalid"
    """Our name in Received and Authentication-Results fields."""
    inspector: Inspector | None = None
    """Who enters archives; None: nobody, and rules that ask for their files get
    ``limit``."""
    random: Callable[[int], bytes] = secrets.token_bytes
    """Returns so many octets that nobody can know."""
    seconds: Callable[[], float] = float
    """Returns seconds that only grow, which bound looking; of itself none pass."""
    spool: Callable[[], BinaryIO] = BytesIO
    """Returns an empty file, for parts that are encrypted."""
    ask: Ask | None = None
    """Who asks the DNS; None: signatures are not verified before an edit."""
    keeper: Keeper | None = None
    """Who keeps what is put into quarantine; None: nobody, as where a file is looked
    at."""
    scanners: Scanners | None = None
    """Who asks scanners; None: nobody can, which the rules have an action for."""
    blocker: Blocker | None = None
    """Who remembers blocked clients; None: nobody, as in a replay."""
    notifier: Notifier | None = None
    """Who tells people of what happens; None: nobody, as in a replay."""

    def trusted(self, client: tuple[str, int]) -> TrustedClient | None:
        """Say whether this peer must tell us the real client's address."""
        return self.rules.trusted(client)

    def connect(self, session: SessionFacts) -> Settings | Refusal:
        """Choose the policy of a new session, unless its client is blocked."""
        if self.blocker is not None and not self.rules.is_exempt(session.client):
            reason = self.blocker.refusal(session.client[0])
            if reason:
                return Refusal(replies.CLIENT_BLOCKED, reason)
        return self.rules.choose(session).settings

    def block(self, session: SessionFacts, rule: str, identifier: str) -> str:
        """Refuse a client from now on, unless it is exempt."""
        address = session.client[0]
        if self.blocker is None or self.rules.is_exempt(session.client):
            return f"client {address} is dropped and not blocked"
        alone = self.rules.is_alone(address)
        return self.blocker.block(address, rule, identifier, firewall=alone)

    def anomaly(self, session: SessionFacts, identifier: str) -> str:
        """Count that a client broke SMTP, unless it is exempt."""
        address = session.client[0]
        if self.blocker is None or self.rules.is_exempt(session.client):
            return ""
        alone = self.rules.is_alone(address)
        return self.blocker.strike(address, identifier, firewall=alone)

    def helo(self, session: SessionFacts) -> Decision:
        """Judge the name the client greets with."""
        return self.rules.choose(session).helo(session, self.clock())

    def ask_scanners(self, asked: Questions) -> Verdicts:
        """Return the answers of scanners, waiting for them; of those that exist."""
        if not asked or self.scanners is None:
            return {}
        return self.scanners.ask(asked).result()

    def stop(self) -> None:
        """Look into nothing and ask nobody any more."""
        asked = (self.inspector, self.scanners, self.notifier)
        for one in (*asked, self.keeper, self.blocker):
            if one is not None:
                one.stop()

    def begin(self, session: SessionFacts) -> TransactionJudge:
        """Begin a transaction under the rules of the moment."""
        return TransactionJudge(self, self.rules.choose(session))


@dataclass(frozen=True, slots=True)
class Judged:
    """A message, what is to be changed in it, and what is to become of it."""

    said: Examined
    edits: tuple[Edit, ...]
    disposition: Disposition

    @property
    def message(self) -> Message:
        """The message as it came."""
        return self.said.message


@dataclass(frozen=True, slots=True)
class TransactionJudge:
    """One transaction's rules (``model.decider.Judge``)."""

    pipeline: Pipeline
    policy: Policy
    classes: set[RecipientClass] = field(default_factory=set, compare=False)
    """Of the recipients so far."""

    def mail(self, session: SessionFacts, reverse_path: Path) -> Decision:
        """Judge MAIL."""
        return self.policy.mail(session, reverse_path, self.pipeline.clock())

    def rcpt(
        self, session: SessionFacts, envelope: Envelope, forward_path: Path
    ) -> Decision:
        """Judge RCPT."""
        now = self.pipeline.clock()
        decision = self.policy.rcpt(session, envelope, forward_path, now)
        is_settled = decision.reply is not None or decision.action in CLOSING
        if is_settled or not keeps_apart(self.policy, session):
            return decision
        mine = self.policy.recipient_class(session, forward_path)
        self.classes.add(mine)
        first = next((one.asked for one in envelope.recipients if one.may_stand), None)
        if first is None or self.policy.recipient_class(session, first) == mine:
            return decision
        return put_off(decision, len(self.classes))

    def message(
        self,
        session: SessionFacts,
        envelope: Envelope,
        content: Spool,
        *,
        at_once: bool = False,
    ) -> Disposition:
        """Judge a whole message; the edits are planned, nothing is copied.

        Raises what ``examine`` raises, and ``TakesLong`` where that is asked for and
        the DNS or a scanner would have to be asked. Waits for scanners: whoever has
        others to serve calls ``examine`` and ``dispose``.
        """
        buffer = cast("Octets", content.view())
        said = self.examine(session, envelope, buffer, at_once=at_once)
        asked = questions(said)
        if asked and at_once:
            raise TakesLong
        verdicts = self.pipeline.ask_scanners(asked)
        return self.dispose(said, asked, verdicts, at_once=at_once)

    def judged(
        self, session: SessionFacts, envelope: Envelope | None, buffer: Octets
    ) -> Judged:
        """Judge a message; ``envelope`` None where only a file is inspected.

        No field of ours is added: that belongs to a relayed message. Raises what
        ``examine`` raises, and waits for scanners.
        """
        said = self.examine(session, envelope, buffer)
        asked = questions(said)
        return self._judged(said, asked, self.pipeline.ask_scanners(asked))

    def examine(
        self,
        session: SessionFacts,
        envelope: Envelope | None,
        buffer: Octets,
        *,
        at_once: bool = False,
    ) -> Examined:
        """Read a message, look into it and ask the rules; nobody scans it yet.

        Raises ``TakesLong`` where that is asked for and an archive would have to be
        entered, and ``InspectorError`` where nobody can look into one just now.
        """
        message = parse(buffer, self._limits())
        looker = Looker(
            self.pipeline.inspector,
            self.pipeline.seconds,
            enters=self.policy.looks,
            at_once=at_once,
        )
        looks = looker.looks(message)
        facts = MessageFacts(
            session, envelope, authors(message), len(buffer), self.pipeline.clock()
        )
        return self._let_go(examined(self.policy, message, looks, facts))

    def dispose(
        self,
        said: Examined,
        asked: Questions,
        verdicts: Verdicts,
        *,
        at_once: bool = False,
    ) -> Disposition:
        """Return what is to become of a message, after the answers to ``asked``."""
        judged = self._judged(said, asked, verdicts)
        if judged.disposition.outcome in PASSED:
            return self._with_own_fields(judged, at_once=at_once)
        return judged.disposition

    def _judged(self, said: Examined, asked: Questions, verdicts: Verdicts) -> Judged:
        said = self._let_go(answered(said, asked, verdicts))
        facts, message = said.facts, said.message
        identifier = (facts.envelope.id if facts.envelope else "") or facts.session.id
        edits, held, worst = self._edits(said, identifier)
        outcome, reply = ending(worst, edits, identifier)
        if outcome in PASSED and any(
            one.action is Action.SCAN for one in said.parts.values()
        ):
            # Whatever the reason: what was to be scanned and was not does not pass.
            outcome, reply = Outcome.DEFERRED, replies.UNDECIDED
        is_edited = outcome is Outcome.MODIFIED
        removed = (field.name for field in said.removed() if is_edited)
        side = said.side()
        if outcome not in PASSED:
            side = replace(side, add_header=(), bcc=())
        disposition = Disposition(
            outcome,
            reply,
            apply(message, edits) if is_edited else None,
            worst.rule,
            worst.action,
            worst.reason,
            tuple(trace(said.steps(worst), said.parts, worst)),
            report(said, side),
            tuple(dict.fromkeys(removed)),
            held if is_edited else (),
            side,
        )
        return Judged(said, edits, disposition)

    def _let_go(self, said: Examined) -> Examined:
        """Return what is said to a message; to one that was kept once, and released
        to all its recipients, without what would keep it again."""
        if said.worst().action is not Action.QUARANTINE:
            return said
        envelope, keeper = said.facts.envelope, self.pipeline.keeper
        recipients = envelope.standing if envelope else []
        mailboxes = [one.forward_path.mailbox for one in recipients]
        if keeper is None or not mailboxes:
            return said
        digest = hashlib.sha256(said.message.buffer).hexdigest()
        known = all(one and keeper.was_released(digest, one) for one in mailboxes)
        return said.released() if known else said

    def _limits(self) -> Limits:
        of = self.policy.settings.limits
        return Limits(of.mime_depth, of.mime_parts, header_section=of.header_section)

    def _edits(
        self, said: Examined, identifier: str
    ) -> tuple[tuple[Edit, ...], tuple[HeldContent, ...], Decision]:
        """Plan the edits, if it comes to that; return also which parts are kept, and
        what counts in the end."""
        worst, message = said.worst(), said.message
        if not said.goes_on():
            return (), (), worst
        fields = [remove_field(message, field) for field in said.removed()]
        rewritten, asked = rewritten_fields(message, said.facts.envelope)
        changed, fields_added = tagged(said)
        fields_added += said.side().add_header
        added = [
            prepend_field(message, name.encode("ascii"), value.encode("ascii"))
            for name, value in fields_added
        ]
        fields += [*rewritten, *changed]
        pipeline, handling = self.pipeline, self.policy.handling
        ours = forged_fields(message) if handling.own_fields else []
        if worst.action not in EDITING and not (fields or added or ours):
            return (), (), worst
        # These go with any edit, and a signature may cover them all the same.
        ours += forged_results(message, pipeline.own_name)
        locker = Locker(pipeline.clock(), pipeline.random, pipeline.spool)
        editor = Editor(message, handling, identifier, locker)
        spans = [*(edit.span for edit in fields), *(field.span for field in ours)]
        edits_signed = is_covered(message, spans, [name for name, _ in fields_added])
        refused = editor.refusal(said.parts, said.looks, edits_fields=edits_signed)
        if refused is not None:
            return (), (), refused
        counts = asked if asked and worst.action is Action.ALLOW else worst
        edits = (*added, *editor.parts(said.parts), *fields)
        return edits, editor.kept(said.parts), counts

    def _with_own_fields(self, judged: Judged, *, at_once: bool) -> Disposition:
        """Add our fields (RFC 5321 4.4); the outcome stays what it was.

        Raises ``TakesLong`` where ``at_once`` and the DNS would have to be asked.
        """
        edits: list[Edit] = []
        said, message, pipeline = judged.disposition, judged.message, self.pipeline
        session, envelope = judged.said.facts.session, judged.said.facts.envelope
        assert envelope is not None
        if self.policy.settings.received:
            own_name, now = pipeline.own_name, pipeline.clock()
            value = received_value(session, envelope, own_name, now)
            edits.append(prepend_field(message, b"Received", value))
        if self.policy.handling.own_fields:
            action = str(said.action or Action.ALLOW)
            action += f" ({said.rule})" if said.rule else ""
            told = {"Action": action, **verdict_fields(judged.said)}
            edits += own_fields(message, envelope.id, told)
        edits += judged.edits
        if not any(edit.span or edit.part for edit in edits):
            return replace(said, content=apply(message, edits)) if edits else said
        found = verified(message, pipeline.ask, pipeline.clock(), at_once=at_once)
        name, limits = pipeline.own_name, self._limits()
        return with_results(said, message, edits, found, own_name=name, limits=limits)
