"""``when`` of a policy: what is known when a client connects.

Chosen by source, destination, port and listener only: anything else would not be known
yet, and a policy that is chosen late is one under which a client has already spoken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.policy.conditions import CONDITIONS, LATER
from smtpguard.policy.kinds import Context, Kind, integer, list_of, scalar
from smtpguard.policy.matching import NETWORKS, texts
from smtpguard.policy.networks import Network, NetworkSet, parse_host, parse_network
from smtpguard.policy.patterns import PatternError, TextTest, fold, text_test
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Key, Shape
from smtpguard.policy.truth import Truth, all_of


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.model.session import SessionFacts
    from smtpguard.policy.matching import TextPatterns
    from smtpguard.policy.yamlsource import Node


_MAX_PORT = 65535

# What begins like this is no host name, and was meant as a network or a list.
_LIKE_NETWORK = re.compile(r"@|[0-9.]+(?:/|$)|[0-9A-Fa-f]*:")


@dataclass(frozen=True, slots=True)
class Destinations:
    """``destination``: networks and host names."""

    networks: NetworkSet
    names: TextTest

    def test(self, host: str) -> Truth:
        """Say whether the original destination is among them.

        A name is not resolved: whether it lies in a network is not known.
        """
        address = parse_host(host)
        if address is not None:
            return Truth.of(address in self.networks)
        if self.names.matches(fold(host).removesuffix(".")):
            return Truth.YES
        return Truth.UNKNOWN if self.networks.by_prefix else Truth.NO


@dataclass(frozen=True, slots=True)
class Selector:
    """What a session must be like; None where it does not matter."""

    source: NetworkSet | None = None
    destination: Destinations | None = None
    ports: frozenset[int] | None = None
    listener: TextPatterns | None = None

    def test(self, session: SessionFacts) -> Truth:
        """Say whether the policy is for this session."""
        return all_of(self._tests(session))

    def _tests(self, session: SessionFacts) -> Iterator[Truth]:
        host, port = session.destination
        if self.source is not None:
            client = parse_host(session.client[0])
            yield (Truth.UNKNOWN if client is None else Truth.of(client in self.source))
        if self.destination is not None:
            yield self.destination.test(host)
        if self.ports is not None:
            yield Truth.of(port in self.ports)
        if self.listener is not None:
            yield self.listener.test((fold(session.listener),))

    @property
    def is_open(self) -> bool:
        """Whether clients from anywhere can come under the policy."""
        return self.source is None or self.source.is_everything


def _read_host(node: Node, context: Context) -> Network | str | None:
    found = scalar(node, context, "a network or host name")
    if found is None:
        return None
    try:
        return parse_network(found.text)
    except ValueError as error:
        if _LIKE_NETWORK.match(found.text):
            text = f"{shown(found.text)}: {error}"
            context.error(found.mark, text, "bad-network")
            return None
    try:
        text_test([found.text])
    except PatternError as error:
        context.error(found.mark, f"{shown(found.text)}: {error}", error.slug)
        return None
    return found.text


_HOST: Kind[Network | str] = Kind(_read_host, {"type": "string", "minLength": 1})
_HOSTS = list_of(_HOST, single=True)


def _read_hosts(node: Node, context: Context) -> Destinations | None:
    found = _HOSTS.read(node, context)
    if found is None:
        return None
    names = [one for one in found if isinstance(one, str)]
    networks = [one for one in found if not isinstance(one, str)]
    return Destinations(NetworkSet.of(networks), text_test(names))


_SOURCE = Key("source", NETWORKS, "Networks of the real client's address.")
_DESTINATION = Key(
    "destination",
    Kind(_read_hosts, _HOSTS.schema),
    "Networks or host names the client meant to reach.",
)
_PORT = Key(
    "port",
    list_of(integer(1, _MAX_PORT), single=True),
    "Ports the client meant to reach.",
)
_LISTENER = Key(
    "listener",
    texts("text"),
    "Patterns on the proxy mode as configured, as reverse:*@2525.",
)
_KEYS = (_SOURCE, _DESTINATION, _PORT, _LISTENER)
_ELSEWHERE = (
    "is not known at connect, use source, destination, port or listener",
    "condition-not-allowed-here",
)
_SHAPE = Shape(
    _KEYS,
    dict.fromkeys(
        (*CONDITIONS.keys() - {key.name for key in _KEYS}, *LATER), _ELSEWHERE
    ),
    "unknown-condition",
    "condition",
)


def _read(node: Node, context: Context) -> Selector | None:
    before = context.sink.errors
    fields = _SHAPE.read(node, context)
    if fields is None:
        return None
    if not fields.marks and context.sink.errors == before:
        context.error(fields.mark, "a condition is needed here", "missing-value")
        return None
    ports = fields.get(_PORT)
    return Selector(
        fields.get(_SOURCE),
        fields.get(_DESTINATION),
        None if ports is None else frozenset(ports),
        fields.get(_LISTENER),
    )


SELECTOR: Kind[Selector] = Kind(_read, {**_SHAPE.schema(), "minProperties": 1})
