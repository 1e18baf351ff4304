"""What is known of an item: how it came, why it is kept, what became of it.

Values only; how they stand in a file is told by ``recordfile``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from smtpguard.quarantine.ids import new_id


if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from smtpguard.model.disposition import Disposition
    from smtpguard.model.envelope import Envelope
    from smtpguard.model.mailbox import Mailbox, Path
    from smtpguard.model.session import SessionFacts, TlsFacts
    from smtpguard.policy.deliveryreader import DeliveryTls


def address(mailbox: Mailbox) -> str:
    """Return what recipients are compared by: local parts without case, as in rules."""
    return f"{mailbox.local_part.casefold()}@{mailbox.domain}"


class Kind(StrEnum):
    """What the octets of an item are."""

    MESSAGE = "message"
    PART = "part"
    COPY = "copy"
    """Of a message that goes on, as it goes on, for others (``bcc``)."""


class State(StrEnum):
    """How far an item has come: a message to each recipient, a part as a whole."""

    HELD = "held"
    RELEASING = "releasing"
    """The final dot was about to be sent. Where nobody is at it any more, or nobody
    could tell what became of it, it is in doubt."""
    RELEASED = "released"

    PENDING = "pending"
    """Kept before the upstream was asked to take the rest of the message."""
    KEPT = "kept"
    IN_DOUBT = "in_doubt"
    """The process is gone that would have told whether the upstream took it."""


@dataclass(frozen=True, slots=True)
class HeldRecipient:
    """One whom the upstream had accepted."""

    asked: Path
    """As the client asked for it, with its parameters."""
    forward_path: Path
    """As it would have gone upstream."""
    state: State = State.HELD
    error: str = ""
    """What the last attempt to release it met."""
    changed: datetime | None = None
    """When the state changed last; None where it never has."""
    added: bool = False
    """Named at a release, not by the client."""

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox that is sent to."""
        assert self.forward_path.mailbox is not None
        return self.forward_path.mailbox


@dataclass(frozen=True, slots=True)
class HeldPart:
    """What only a part has, and a copy: the rest of the message goes on, or all."""

    path: str
    """Where it stood in its message: ``1.2``; "" of a copy."""
    names: tuple[str, ...]
    type: str
    message_sha256: str
    """Of the whole message as it came."""
    state: State = State.PENDING
    owner: str = ""
    """The process that keeps it, while it is pending."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who sent it."""

    address: str
    port: int
    helo: str
    authenticated: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where it would have gone."""

    host: str
    port: int
    tls: DeliveryTls
    """What a release to it asks for: no less than the session had."""


@dataclass(frozen=True, slots=True)
class Record:
    """All that is told of an item beside its octets."""

    id: str
    kept_at: datetime
    transaction: str
    """As logs and replies name it."""
    asked: Path
    """The reverse-path as the client gave it, with its parameters."""
    reverse_path: Path
    """As it would have gone upstream."""
    recipients: tuple[HeldRecipient, ...]
    client: Client
    client_tls: TlsFacts | None
    upstream: Upstream
    upstream_tls: TlsFacts | None
    policy: str
    rule: str = ""
    action: str = ""
    reason: str = ""
    findings: tuple[str, ...] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    """``parts``, ``defects`` ... as ``smtpguard inspect`` prints them."""
    subject: str = ""
    header_from: str = ""
    part: HeldPart | None = None
    """None for a message that is held."""
    size: int = 0
    sha256: str = ""

    @property
    def kind(self) -> Kind:
        """What the octets are."""
        if self.part is None:
            return Kind.MESSAGE
        return Kind.PART if self.part.path else Kind.COPY

    @property
    def state(self) -> State:
        """A part's state; of a message that of the recipient who is least done."""
        part, settled = self.part, self.kind is Kind.COPY
        if part is not None and not (settled and part.state is State.KEPT):
            return part.state
        states = {one.state for one in self.recipients}
        order = (State.RELEASING, State.HELD, State.RELEASED)
        return next((state for state in order if state in states), State.HELD)

    @property
    def key(self) -> tuple[str, ...]:
        """What a part has in common with the same part of the same message, sent again:
        its digest, the message's and the recipients; () for a message."""
        if self.part is None:
            return ()
        addresses = sorted(address(one.mailbox) for one in self.recipients)
        # What goes on may hold fields of ours, others each time.
        digest = "" if self.kind is Kind.COPY else self.sha256
        return (digest, self.part.message_sha256, *addresses)

    def with_recipients(self, changed: Mapping[int, HeldRecipient]) -> Record:
        """Return the record with these recipients, by number, in place of others."""
        found = list(self.recipients)
        for number, recipient in changed.items():
            found[number : number + 1] = [recipient]
        return replace(self, recipients=tuple(found))


def record_of(
    session: SessionFacts,
    envelope: Envelope,
    said: Disposition,
    now: datetime,
    *,
    subject: str = "",
    header_from: str = "",
    part: HeldPart | None = None,
) -> Record:
    """Return the record of a new item from what is known of its transaction."""
    host, port = session.destination
    return Record(
        new_id(now),
        now,
        envelope.id,
        envelope.asked,
        envelope.reverse_path,
        tuple(_held(envelope)),
        Client(*session.client, session.helo, session.authenticated),
        session.client_leg.tls,
        Upstream(session.reverse_name or host, port, _tls_of(session)),
        session.upstream_leg.tls,
        session.policy,
        said.rule,
        str(said.action or ""),
        said.reason,
        tuple(map(str, said.report.get("findings", ()))),
        said.report,
        subject,
        header_from,
        part,
    )


def _held(envelope: Envelope) -> Iterable[HeldRecipient]:
    """Yield whom the upstream accepted, each forward-path once."""
    seen = set()
    for one in envelope.standing:
        if one.forward_path.mailbox not in seen:
            seen.add(one.forward_path.mailbox)
            yield HeldRecipient(one.asked, one.forward_path)


def _tls_of(session: SessionFacts) -> DeliveryTls:
    if session.upstream_implicit_tls:
        return "tls"
    return "starttls" if session.upstream_leg.tls is None else "starttls_required"
