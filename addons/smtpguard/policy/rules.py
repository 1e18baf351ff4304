"""Rules as values: what one entry of an ordered list says, once it has been read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from smtpguard.model.decision import NO_SIDE, Action, SideActions, TraceStep
from smtpguard.model.mailbox import Mailbox
from smtpguard.policy.addresses import Subject
from smtpguard.policy.fieldpatterns import Line
from smtpguard.policy.matching import Texts
from smtpguard.policy.parts import Attachment
from smtpguard.policy.problems import shown


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply
    from smtpguard.policy.conditions import Condition
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.truth import Truth


class Patterns[S](Protocol):
    """What ``match:`` was read into; ``S`` is what it is asked about."""

    def test(self, subject: S) -> Truth:
        """Say whether a subject matches."""
        ...

    def told(self, subject: S, shown_as: str) -> str:
        """Return what of the subject matched, which traces call ``shown_as``."""
        ...

    @property
    def text(self) -> str:
        """The patterns as they stand in the file, shortened."""
        ...

    @property
    def is_everything(self) -> bool:
        """Whether ``*`` is among the patterns."""
        ...


@dataclass(frozen=True, slots=True)
class Rewrite:
    """``to:`` of a rewrite."""

    mailbox: Mailbox | None
    """The new mailbox; None keeps the client's local part."""
    domain: str
    """The new domain, A-labels."""
    headers: bool = False
    """Whether the header fields that hold the old address are changed as well."""

    def apply(self, mailbox: Mailbox) -> Mailbox:
        """Return the new mailbox; a kept local part stays octet for octet."""
        if self.mailbox is not None:
            return self.mailbox
        local, at, _ = mailbox.octets.rpartition(b"@")
        # <Postmaster> has no domain, so its octets are the local part.
        written = local if at else mailbox.octets
        octets = b"%s@%s" % (written, self.domain.encode("ascii"))
        return Mailbox(octets, mailbox.local_part, self.domain)


@dataclass(frozen=True, slots=True)
class Rule[S]:
    """One rule; ``S`` is what its patterns are about."""

    id: str
    """``LIST:NUMBER``, counted from 1."""
    mark: Mark
    """Where it stands."""
    match: Patterns[S]
    action: Action
    name: str = ""
    when: tuple[Condition, ...] = ()
    """All must hold."""
    unless: tuple[Condition, ...] = ()
    """If all hold, the rule does not apply."""
    on_unknown: Action | None = Action.TEMPFAIL
    """None passes over the rule."""
    reply: Reply | None = None
    rewrite: Rewrite | None = None
    place: str = ""
    """``FILE:LINE``."""
    message: str = ""
    """Deny message of strip and lock; "" takes the policy's."""
    side: SideActions = NO_SIDE
    """What is done beside the action."""

    @property
    def is_unconditional(self) -> bool:
        """Whether only the patterns decide."""
        return not self.when and not self.unless

    @property
    def is_fallthrough(self) -> bool:
        """Whether it matches whatever it is asked."""
        return self.is_unconditional and self.match.is_everything

    def step(self, matched: Truth, reason: str, part: str = "") -> TraceStep:
        """Return the trace of having tried this rule, on a part of that path."""
        text = _prefix(self.name) + reason
        return TraceStep(self.id, matched.value, text, self.place, part)


@lru_cache(maxsize=1024)
def _prefix(name: str) -> str:
    """Return what stands before the reasons of a rule, which each part asks for."""
    return f"{shown(name)}: " if name else ""


type AddressRule = Rule[Subject]
type TextRule = Rule[Texts]
type FileRule = Rule[Attachment]
type FieldRule = Rule[Line]
