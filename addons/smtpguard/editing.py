"""From decisions to edits: what is taken out of a message, and what stands for it.

Pure. Plans only; ``mime.apply`` carries the edits out, once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO

from smtpguard.locking.container import (
    KEY_SIZE,
    Head,
    lock,
    locked_name,
)
from smtpguard.mime import (
    Notice,
    Variables,
    deny_message,
    prepend_field,
    remove_field,
    strip,
)
from smtpguard.mime import lock as lock_part
from smtpguard.model.contents import Fact
from smtpguard.model.decision import Action, Decision, TraceStep
from smtpguard.model.disposition import HeldContent
from smtpguard.policy.actions import EDITING
from smtpguard.policy.replies import MESSAGE_DENIED
from smtpguard.rewriting import rewrite_addresses


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from smtpguard.looking import Look
    from smtpguard.mime import Edit, Field, Message, Part
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy import Handling, PartFacts


OWN_FIELDS = "x-smtpguard-"
"""Beginning of the names of fields that only we may add; folded."""
_STRUCTURE = ("content-", "mime-version")
"""Fields that say how a message is read: without them it would be another one."""
_SENDER_FIELDS = ("From", "Sender", "Reply-To")
_RECIPIENT_FIELDS = ("To", "Cc")


def settled(part: PartFacts, said: Decision) -> Decision:
    """Return a decision on a part; what is locked already is not locked again.

    Anybody can make such a container: other actions hold on it all the same.
    """
    if said.action is not Action.LOCK or not part.is_locked:
        return said
    reason = f"{said.reason}; it is locked already"
    return replace(said, action=Action.ALLOW, reason=reason)


def is_structural(field: Field) -> bool:
    """Whether a field says how the message is to be read; such ones stay."""
    return field.name.lower().startswith(_STRUCTURE)


@dataclass(frozen=True, slots=True)
class Locker:
    """What a locked part is made with."""

    now: datetime
    random: Callable[[int], bytes]
    """Returns so many octets that no sender can know."""
    spool: Callable[[], BinaryIO]
    """Returns an empty file."""


@dataclass(frozen=True, slots=True)
class Editor:
    """Plans the edits of one message."""

    message: Message
    handling: Handling
    identifier: str
    """Of the transaction, for notices."""
    locker: Locker

    def parts(self, decisions: Mapping[str, Decision]) -> tuple[Edit, ...]:
        """Plan what ``strip``, ``lock`` and ``quarantine`` ask for, once for each part
        that holds what they speak about."""
        edits: list[Edit] = []
        for part, subject in self._held(decisions):
            decision = decisions[subject.path]
            notice = self._notice(subject, decision)
            if decision.action is Action.LOCK:
                edits += self._lock(part, subject, decision, notice)
            else:
                edits += strip(self.message, part, notice)
        return tuple(edits)

    def kept(self, decisions: Mapping[str, Decision]) -> tuple[HeldContent, ...]:
        """Return the parts that ``quarantine`` asks to keep."""
        return tuple(
            HeldContent(
                part.path,
                part.names or subject.names,
                part.content_type,
                part.decoded,
            )
            for part, subject in self._held(decisions)
            if decisions[subject.path].action is Action.QUARANTINE
        )

    def refusal(
        self,
        decisions: Mapping[str, Decision],
        looks: Mapping[str, Look],
        *,
        edits_fields: bool,
    ) -> Decision | None:
        """Return why the message is refused rather than edited, None if it is not.

        ``edits_fields`` speaks of header fields that a DKIM signature covers.
        """
        edited = {holder.path for holder, _ in self._held(decisions)}
        signed = any(
            Fact.SIGNED in look.facts and not edited.isdisjoint(around(path))
            for path, look in looks.items()
        )
        if signed and self.handling.on_signed == "deny":
            return _refused("on_signed", "an edit would break a signature")
        dkim = any(f.is_named("dkim-signature") for f in self.message.fields)
        stops = {"deny": bool(edited or edits_fields), "header_only": bool(edited)}
        if dkim and stops.get(self.handling.on_dkim, False):
            return _refused("on_dkim", "an edit would break a DKIM signature")
        return None

    def _held(self, decisions: Mapping[str, Decision]) -> Iterator[tuple[Part, Part]]:
        """Yield parts to edit, each with the one whose decision counts for it."""
        found: dict[str, tuple[Part, Part]] = {}
        for part in self.message.candidates():
            decision = decisions[part.path]
            if decision.action not in EDITING:
                continue
            holder = self.message.holder(part)
            # What is within another one that is edited goes, or stays, with it.
            outer = next((one for one in around(holder.path) if one in found), None)
            known = None if outer is None else found[outer]
            if known is None:
                found[holder.path] = (holder, part)
            elif _is_worse(decision, decisions[known[1].path]):
                found[known[0].path] = (known[0], part)
        return iter(found.values())

    def _lock(
        self, part: Part, subject: Part, decision: Decision, notice: Notice
    ) -> tuple[Edit, ...]:
        size, digest = part.measure()
        name = (subject.names or part.names or ("message",))[0]
        head = Head(
            name=name,
            type=part.content_type,
            size=size,
            sha256=digest,
            reason=_reason(decision),
            time=f"{self.locker.now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            id=self.identifier,
            payload=size,
        )
        key, recipient = self.locker.random(KEY_SIZE), self.handling.lock_recipient
        shown_as = locked_name(name)
        if not recipient:
            container = lock(part.decoded(), head, key)
            return lock_part(self.message, part, notice, shown_as, container)
        # Here, since it loads a library that only this needs.
        from smtpguard.locking.encryption import (  # noqa: PLC0415
            lock_for,
            parse_recipient,
        )

        with self.locker.spool() as spool:
            to = parse_recipient(recipient)
            container = lock_for(to, part.decoded(), head, key, spool)
            return lock_part(self.message, part, notice, shown_as, container)

    def _notice(self, part: Part, decision: Decision) -> Notice:
        return deny_message(
            decision.message or self.handling.deny_message or None,
            Variables(
                reason=_reason(decision),
                type=part.content_type,
                filename=part.names[0] if part.names else "",
                virus=decision.virus,
                action=str(decision.action),
                recovery=decision.action in (Action.LOCK, Action.QUARANTINE),
                id=self.identifier,
            ),
            self.handling.languages,
        )


def rewritten_fields(
    message: Message, envelope: Envelope | None
) -> tuple[tuple[Edit, ...], Decision | None]:
    """Plan ``rewrite … headers: true``: the new addresses where the old ones stand.

    The decision is the first that asked for one of these edits, None without any.
    """
    if envelope is None:
        return (), None
    edits: list[Edit] = []
    asked: Decision | None = None
    sender = envelope.decision
    old, new = envelope.asked.mailbox, envelope.reverse_path.mailbox
    if sender is not None and sender.rewrite_headers and old and new:
        edits += rewrite_addresses(message, _SENDER_FIELDS, {old: new})
        asked = sender if edits else None
    changes: dict[Mailbox, Mailbox] = {}
    rewritten = [one for one in envelope.standing if one.decision.rewrite_headers]
    for recipient in rewritten:
        old, new = recipient.asked.mailbox, recipient.forward_path.mailbox
        if old and new:
            changes[old] = new
    if changes:
        edits += rewrite_addresses(message, _RECIPIENT_FIELDS, changes)
        asked = asked or (rewritten[0].decision if edits else None)
    return tuple(edits), asked


def own_fields(
    message: Message, identifier: str, told: Mapping[str, str]
) -> tuple[Edit, ...]:
    """Plan fields of ours on top, and the end of all that look like them."""
    forged = [remove_field(message, field) for field in forged_fields(message)]
    values = {"Id": identifier, **told}
    added = [
        prepend_field(message, f"X-SmtpGuard-{name}".encode(), value.encode())
        for name, value in values.items()
    ]
    return (*added, *forged)


def forged_fields(message: Message) -> list[Field]:
    """Return the fields of a message that look like ours."""
    return [
        field for field in message.fields if field.name.lower().startswith(OWN_FIELDS)
    ]


def around(path: str) -> Iterator[str]:
    """Yield the paths of all that holds a part, and its own last."""
    return accumulate(path.split("."), "{}.{}".format)


def _is_worse(one: Decision, other: Decision) -> bool:
    return one.action.severity < other.action.severity


def _reason(decision: Decision) -> str:
    """Return the reason for recipients: the rule's name, if it has one."""
    if decision.name:
        return f"{decision.name} ({decision.rule})"
    return f"{decision.reason} ({decision.rule})"


def _refused(rule: str, reason: str) -> Decision:
    step = TraceStep(rule, matched=True, reason=reason)
    return Decision(Action.DENY, rule, MESSAGE_DENIED, reason=reason, trace=(step,))
