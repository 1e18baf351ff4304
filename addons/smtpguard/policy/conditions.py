"""Conditions of ``when:`` and ``unless:``: one table, three-valued.

A condition looks only at ``Facts``. Where a fact is missing it is neither true nor
false, and the rule's ``on_unknown`` decides. Which conditions a list knows is part of
the table: what can never be known at MAIL is an error there, not forever unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from smtpguard.policy.addresses import Address, Subject
from smtpguard.policy.hours import Hours, parse_hours
from smtpguard.policy.kinds import BOOL, Context, Kind, list_of, scalar, size
from smtpguard.policy.matching import (
    ADDRESSES,
    NETWORKS,
    AddressPatterns,
    TextPatterns,
    texts,
)
from smtpguard.policy.networks import NetworkSet, parse_host
from smtpguard.policy.patterns import fold
from smtpguard.policy.problems import listed, shown
from smtpguard.policy.shapes import Key, Shape, later
from smtpguard.policy.truth import Truth, any_of
from smtpguard.wire.path import parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.model.mailbox import Path
    from smtpguard.policy.facts import Facts
    from smtpguard.policy.yamlsource import Node


_MAX_SIZE = 1024**4


class Condition(Protocol):
    """One condition of a rule."""

    @property
    def name(self) -> str:
        """As in the rule file."""
        ...

    def test(self, facts: Facts, domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; ``domains`` are ours."""
        ...


@dataclass(frozen=True, slots=True)
class SourceCondition:
    """The real client's address is in one of the networks."""

    networks: NetworkSet
    name: str = "source"

    def test(self, facts: Facts, _domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; an address that is none is not known."""
        host = parse_host(facts.session.client[0])
        return Truth.UNKNOWN if host is None else Truth.of(host in self.networks)


@dataclass(frozen=True, slots=True)
class PathCondition:
    """``from`` or ``to``: the address of the envelope, as the client gave it."""

    name: str
    patterns: AddressPatterns

    def test(self, facts: Facts, domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; not known before MAIL or RCPT."""
        is_from = self.name == "from"
        path = facts.reverse_path if is_from else facts.forward_path
        if path is None:
            return Truth.UNKNOWN
        return self.patterns.test(subject_of(path, domains))


@dataclass(frozen=True, slots=True)
class HeaderFromCondition:
    """One of the authors in the From field matches."""

    patterns: AddressPatterns
    name: str = "header_from"

    def test(self, facts: Facts, domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; an author that cannot be parsed is not known."""
        if facts.header_from is None:
            return Truth.UNKNOWN
        return any_of(self._test(text, domains) for text in facts.header_from)

    def _test(self, text: str, domains: tuple[str, ...]) -> Truth:
        try:
            mailbox = parse_mailbox(text)
        except ValueError:
            return Truth.UNKNOWN
        return self.patterns.test(Address.of(mailbox, domains))


@dataclass(frozen=True, slots=True)
class HeloCondition:
    """The name the client greeted with matches."""

    patterns: TextPatterns
    name: str = "helo"

    def test(self, facts: Facts, _domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; not known before HELO."""
        helo = facts.session.helo
        return self.patterns.test((helo_name(helo),)) if helo else Truth.UNKNOWN


@dataclass(frozen=True, slots=True)
class AuthenticatedCondition:
    """The client has authenticated, or has not."""

    wanted: bool
    name: str = "authenticated"

    def test(self, facts: Facts, _domains: tuple[str, ...]) -> Truth:
        """Say whether it holds."""
        return Truth.of(facts.session.authenticated is self.wanted)


@dataclass(frozen=True, slots=True)
class TlsCondition:
    """The client's leg is encrypted, or is not."""

    wanted: bool
    name: str = "tls"

    def test(self, facts: Facts, _domains: tuple[str, ...]) -> Truth:
        """Say whether it holds."""
        is_encrypted = facts.session.client_leg.tls is not None
        return Truth.of(is_encrypted is self.wanted)


@dataclass(frozen=True, slots=True)
class SizeCondition:
    """The message is larger than ``over`` and smaller than ``under`` octets."""

    over: int | None
    under: int | None
    name: str = "size"

    def test(self, facts: Facts, _domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; not known where MAIL declared no SIZE."""
        if facts.size is None:
            return Truth.UNKNOWN
        return Truth.of(
            (self.over is None or facts.size > self.over)
            and (self.under is None or facts.size < self.under)
        )


@dataclass(frozen=True, slots=True)
class TimeCondition:
    """It is one of the times of the week."""

    times: tuple[Hours, ...]
    name: str = "time"

    def test(self, facts: Facts, _domains: tuple[str, ...]) -> Truth:
        """Say whether it holds; not known where nobody told the time."""
        now = facts.now
        if now is None:
            return Truth.UNKNOWN
        return Truth.of(any(one.holds(now) for one in self.times))


def helo_name(helo: str) -> str:
    """Return a HELO argument as patterns compare it."""
    return fold(helo).removesuffix(".")


def subject_of(path: Path, domains: tuple[str, ...]) -> Subject:
    """Return a path as patterns compare it."""
    return None if path.mailbox is None else Address.of(path.mailbox, domains)


def _kind[V](kind: Kind[V], make: Callable[[V], Condition]) -> Kind[Condition]:
    def read(node: Node, context: Context) -> Condition | None:
        value = kind.read(node, context)
        return None if value is None else make(value)

    return Kind(read, kind.schema)


_OVER = Key("over", size(0, _MAX_SIZE), "Larger than this.")
_UNDER = Key("under", size(0, _MAX_SIZE), "Smaller than this.")
_SIZES = Shape((_OVER, _UNDER))


def _read_size(node: Node, context: Context) -> Condition | None:
    fields = _SIZES.read(node, context)
    if fields is None:
        return None
    if _OVER not in fields and _UNDER not in fields:
        context.error(fields.mark, 'key "over" or "under" is missing', "missing-key")
        return None
    over, under = fields.get(_OVER), fields.get(_UNDER)
    if over is not None and under is not None and over >= under:
        text = "no size is over the one and under the other"
        context.error(fields.mark, text, "bad-value")
        return None
    return SizeCondition(over, under)


def _read_time(node: Node, context: Context) -> Hours | None:
    found = scalar(node, context, "a time")
    if found is None:
        return None
    try:
        return parse_hours(found.text)
    except ValueError as error:
        context.error(found.mark, f"{shown(found.text)}: {error}", "bad-time")
        return None


_TIME = Kind(_read_time, {"type": "string", "minLength": 3})

CONDITIONS: dict[str, Key[Condition]] = {
    key.name: key
    for key in (
        Key(
            "source",
            _kind(NETWORKS, SourceCondition),
            "Networks of the real client's address.",
        ),
        Key(
            "from",
            _kind(ADDRESSES, lambda patterns: PathCondition("from", patterns)),
            "The reverse-path of the envelope, as the client gave it.",
        ),
        Key(
            "to",
            _kind(ADDRESSES, lambda patterns: PathCondition("to", patterns)),
            "A forward-path of the envelope, as the client gave it.",
        ),
        Key(
            "header_from",
            _kind(ADDRESSES, HeaderFromCondition),
            "An author in the From field of the message.",
        ),
        Key(
            "helo",
            _kind(texts("helo"), HeloCondition),
            "The name the client greeted with.",
        ),
        Key(
            "authenticated",
            _kind(BOOL, AuthenticatedCondition),
            "Whether the client has authenticated.",
        ),
        Key("tls", _kind(BOOL, TlsCondition), "Whether the client's leg has TLS."),
        Key(
            "size",
            Kind(_read_size, _SIZES.schema()),
            "Size of the message: over, under or both.",
        ),
        Key(
            "time",
            _kind(list_of(_TIME, single=True), TimeCondition),
            'Weekdays and hours, as "mon-fri 08:00-18:00".',
        ),
    )
}
"""Every condition of this build."""

LATER = ("spf", "dkim", "dmarc", "policy")
"""Conditions that the design has and this build has not."""


def conditions(names: tuple[str, ...], place: str) -> Kind[tuple[Condition, ...]]:
    """Return the kind of ``when`` and ``unless`` in a list that knows ``names``."""
    allowed = f"{place} knows {listed(names)}"
    refused = {
        name: (f"cannot be known here; {allowed}", "condition-not-allowed-here")
        for name in CONDITIONS
        if name not in names
    }
    keys = tuple(CONDITIONS[name] for name in names)
    shape = Shape(
        keys, refused | later(*LATER), "unknown-condition", "condition", "same"
    )

    def read(node: Node, context: Context) -> tuple[Condition, ...] | None:
        before = context.sink.errors
        fields = shape.read(node, context)
        if fields is None or context.sink.errors > before:
            return None
        found = [fields.get(key) for key in keys if key in fields]
        if not found:
            context.error(fields.mark, "a condition is needed here", "missing-value")
            return None
        return tuple(one for one in found if one is not None)

    return Kind(read, {**shape.schema(), "minProperties": 1})
