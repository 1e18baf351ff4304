"""What stands behind ``match:`` and in conditions: patterns and references to lists.

Reads one pattern or several from the rule file into tests; knows which names are lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from smtpguard.policy.addresses import (
    OWN,
    AddressBuilder,
    AddressTest,
    Subject,
)
from smtpguard.policy.kinds import MAX_TEXT, Context, Kind, list_of, scalar, sequence
from smtpguard.policy.networks import NetworkSet, parse_network
from smtpguard.policy.patterns import PatternError, TextBuilder, TextTest
from smtpguard.policy.problems import shown
from smtpguard.policy.truth import Truth, any_of
from smtpguard.policy.yamlsource import Scalar, Sequence


if TYPE_CHECKING:
    from smtpguard.policy.lists import Lists
    from smtpguard.policy.networks import Network
    from smtpguard.policy.yamlsource import Node


type Texts = tuple[str, ...]
"""Readings of one name, folded; a pattern that matches one matches."""

type What = Literal["address", "helo", "type", "name", "text"]
"""What patterns are about."""

_MAX_WRITTEN = 5
"""Patterns of one rule that a trace repeats."""

PATTERN_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}


@dataclass(frozen=True, slots=True)
class AddressPatterns:
    """Patterns of one rule or condition on addresses."""

    written: tuple[str, ...]
    """As they stand in the file."""
    text: str
    """The same for traces, shortened."""
    tests: tuple[AddressTest, ...]
    """One for the patterns themselves, one for each list: those are shared."""

    def test(self, subject: Subject) -> Truth:
        """Say whether an address (None: ``<>``) matches one of the patterns."""
        if len(self.tests) == 1:
            return self.tests[0].test(subject)
        return any_of(test.test(subject) for test in self.tests)

    def told(self, _subject: Subject, shown_as: str) -> str:
        """Return what matched, for the trace."""
        return shown_as

    @property
    def is_everything(self) -> bool:
        """Whether ``*`` is among the patterns."""
        return any(test.everything for test in self.tests)

    @property
    def uses_own(self) -> bool:
        """Whether ``@own`` is among the patterns."""
        return any(test.own for test in self.tests)


@dataclass(frozen=True, slots=True)
class TextPatterns:
    """Patterns of one rule or condition on names and types."""

    text: str
    """As they stand in the file, shortened, for traces."""
    tests: tuple[TextTest, ...]

    def test(self, subject: Texts) -> Truth:
        """Say whether one of the folded readings matches one of the patterns."""
        for test in self.tests:
            for text in subject:
                if test.matches(text):
                    return Truth.YES
        return Truth.NO

    def told(self, _subject: Texts, shown_as: str) -> str:
        """Return what matched, for the trace."""
        return shown_as

    @property
    def is_everything(self) -> bool:
        """Whether ``*`` is among the patterns."""
        return any(test.everything for test in self.tests)


def shorten(written: tuple[str, ...]) -> str:
    """Return patterns as traces repeat them."""
    more = len(written) - _MAX_WRITTEN
    text = ", ".join(shown(one) for one in written[:_MAX_WRITTEN])
    return f"{text} and {more} more" if more > 0 else text


def read_scalars(node: Node, context: Context) -> list[Scalar] | None:
    """Return one text or several; None after a problem."""
    if isinstance(node, Sequence):
        items = sequence(node, context)
        if items is None:
            return None
        found = [scalar(item, context, "a pattern") for item in items.items]
    else:
        found = [scalar(node, context, "a pattern")]
    good = [one for one in found if one is not None and _is_printable(one, context)]
    return good if len(good) == len(found) else None


def _is_printable(found: Scalar, context: Context) -> bool:
    if found.text.isprintable():
        return True
    text = f"{shown(found.text)} holds characters that cannot be printed"
    context.error(found.mark, text, "bad-pattern")
    return False


def read_addresses(node: Node, context: Context) -> AddressPatterns | None:
    """Read one pattern or a list of them, on addresses."""
    found = read_scalars(node, context)
    if found is None:
        return None
    lists = context.lists
    builder = AddressBuilder(lists.domains)
    shared: list[AddressTest] = []
    before = context.sink.errors
    for one in found:
        try:
            if one.text.startswith("@") and one.text.lower() != f"@{OWN}":
                shared.append(lists.addresses(one.text[1:]))
            else:
                _refuse_list_as_domain(one.text, lists)
                lists.charge(builder.add(one.text))
        except PatternError as error:
            context.error(one.mark, f"{shown(one.text)}: {error}", error.slug)
    if context.sink.errors > before:
        return None
    written = tuple(one.text for one in found)
    tests = shared if len(shared) == len(found) else [builder.build(), *shared]
    return AddressPatterns(written, shorten(written), tuple(tests))


def _refuse_list_as_domain(text: str, lists: Lists) -> None:
    # "*@staff" would be a pattern on a domain "staff" that never matches anything.
    domain = text.rpartition("@")[2]
    if domain in lists.sources and not text.startswith(("regex:", "exact:")):
        message = f"{shown(domain)} is a list, not a domain, did you mean "
        raise PatternError(f'{message}"@{domain}"?')


ADDRESSES: Kind[AddressPatterns] = Kind(
    read_addresses,
    {
        "anyOf": [
            PATTERN_SCHEMA,
            {"type": "array", "items": PATTERN_SCHEMA, "minItems": 1},
        ]
    },
)


def texts(what: What) -> Kind[TextPatterns]:
    """Return the kind of patterns on HELO names, content types or file names."""

    def read(node: Node, context: Context) -> TextPatterns | None:
        found = read_scalars(node, context)
        if found is None:
            return None
        builder = TextBuilder()
        shared: list[TextTest] = []
        before = context.sink.errors
        for one in found:
            try:
                add_text(one.text, what, context.lists, builder, shared)
            except PatternError as error:
                context.error(one.mark, f"{shown(one.text)}: {error}", error.slug)
        if context.sink.errors > before:
            return None
        written = tuple(one.text for one in found)
        return TextPatterns(shorten(written), (builder.build(), *shared))

    return Kind(read, ADDRESSES.schema)


def add_text(
    text: str,
    what: What,
    lists: Lists,
    builder: TextBuilder,
    shared: list[TextTest],
) -> None:
    """Add one pattern to ``builder``, or a list to ``shared``; raises PatternError."""
    if not text.startswith("@"):
        if what == "type" and "/" not in text and text.strip("*"):
            raise PatternError('a pattern on types needs "/", as in "image/*"')
        lists.charge(builder.add(text))
    elif text.lower() == f"@{OWN}":
        if what != "helo":
            raise PatternError('"@own" is about domains, which are not asked for here')
        for domain in lists.domains:
            builder.add_literal(domain)
    else:
        shared.append(lists.texts(text[1:]))


def _read_network(node: Node, context: Context) -> Network | None:
    found = scalar(node, context, "a network")
    if found is None:
        return None
    try:
        return parse_network(found.text)
    except ValueError as error:
        context.error(found.mark, f"{shown(found.text)}: {error}", "bad-network")
        return None


_NETWORK: Kind[Network] = Kind(_read_network, {"type": "string", "minLength": 2})
_NETWORKS = list_of(_NETWORK, single=True)


def _read_networks(node: Node, context: Context) -> NetworkSet | None:
    found = _NETWORKS.read(node, context)
    return None if found is None else NetworkSet.of(found)


NETWORKS: Kind[NetworkSet] = Kind(_read_networks, _NETWORKS.schema)
