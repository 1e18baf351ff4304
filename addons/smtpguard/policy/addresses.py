"""Patterns on addresses, compared as parsed pairs of local part and domain.

``*@good.com`` is a pattern on the local part and one on the domain, so it can never
match ``u@evilgood.com`` or ``"a@evil.com x"@good.com`` by accident (attacks A1, A3).
Domains are compared in the normal form that ``wire`` gives them (lower case, A-labels),
local parts without case. The null path ``<>`` is matched by ``<>`` and ``*`` only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.policy.patterns import (
    LinearRegex,
    PatternError,
    TextBuilder,
    TextTest,
    expand_braces,
    has_wildcard,
)
from smtpguard.policy.truth import Truth
from smtpguard.wire.domain import normalise_domain
from smtpguard.wire.path import parse_mailbox


if TYPE_CHECKING:
    from smtpguard.model.mailbox import Mailbox


OWN = "own"
"""``@own`` is the domains of the file; no list can bear the name."""

_ATEXT = r"[a-z0-9!#$%&'+/=^_`|~-]+"
_NAME = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = rf"{_NAME}(?:\.{_NAME})*"
# The two forms that make up long lists, read without the whole grammar. Anything else,
# and anything longer, goes the long way and gets its errors there.
_PLAIN = re.compile(rf"({_ATEXT}(?:\.{_ATEXT})*)@({_DOMAIN})")
_WHOLE_DOMAIN = re.compile(rf"\*?@({_DOMAIN})")
_MAX_PLAIN_LOCAL = 64
_MAX_PLAIN_DOMAIN = 253


@dataclass(frozen=True, slots=True)
class Address:
    """An address as patterns compare it."""

    local_part: str
    """Unquoted, without case."""
    domain: str
    """``Mailbox.domain``."""
    written: str = ""
    """Local part with its case, for ``regex:(?-i)``; "" if it has none to tell."""

    @classmethod
    def of(cls, mailbox: Mailbox, domains: tuple[str, ...] = ()) -> Address:
        """Return the address; ``<Postmaster>`` is at the first of ``domains``."""
        domain = mailbox.domain or (domains[0] if domains else "")
        return cls(mailbox.local_part.lower(), domain, mailbox.local_part)

    def __str__(self) -> str:
        """Return what ``regex:`` is matched against."""
        return f"{self.written or self.local_part}@{self.domain}"


type Subject = Address | None
"""None is the null reverse-path."""


@dataclass(frozen=True, slots=True)
class _Pair:
    local_part: TextTest
    domain: TextTest

    def matches(self, address: Address) -> bool:
        return self.domain.matches(address.domain) and self.local_part.matches(
            address.local_part
        )


@dataclass(frozen=True, slots=True)
class AddressTest:
    """A test of one address; any of its members may hold.

    The first three are looked up by hash: their number costs nothing.
    """

    exact: frozenset[tuple[str, str]] = frozenset()
    domains: frozenset[str] = frozenset()
    """``*@domain``."""
    null: bool = False
    everything: bool = False
    pairs: tuple[_Pair, ...] = ()
    regexes: tuple[LinearRegex, ...] = ()
    own: tuple[TextTest, ...] = ()
    """Patterns on the local part of addresses at ``@own``."""
    own_domains: frozenset[str] = frozenset()

    def test(self, subject: Subject) -> Truth:
        """Say whether an address matches; ``@own`` without domains is not known."""
        if self.everything:
            return Truth.YES
        if subject is None:
            return Truth.of(self.null)
        found = (
            (subject.local_part, subject.domain) in self.exact
            or subject.domain in self.domains
            or any(pair.matches(subject) for pair in self.pairs)
            or (self.regexes and self._matches_regex(subject))
        )
        return Truth.YES if found else self._test_own(subject)

    def _matches_regex(self, address: Address) -> bool:
        text = str(address)
        return any(regex.matches(text) for regex in self.regexes)

    def _test_own(self, address: Address) -> Truth:
        if self.own_domains and address.domain not in self.own_domains:
            return Truth.NO
        if not any(test.matches(address.local_part) for test in self.own):
            return Truth.NO
        return Truth.YES if self.own_domains else Truth.UNKNOWN


class AddressBuilder:
    """Gathers patterns into one ``AddressTest``."""

    def __init__(self, own_domains: tuple[str, ...] = ()) -> None:
        self._own_domains = frozenset(own_domains)
        self._exact: set[tuple[str, str]] = set()
        self._domains: set[str] = set()
        self._pairs: list[_Pair] = []
        self._regexes: list[LinearRegex] = []
        self._own: list[TextTest] = []
        self._null = False
        self._everything = False

    def add(self, pattern: str) -> int:
        """Add a pattern; ``@x`` is the domain x. Raises ``PatternError``.

        Returns how many texts its braces stand for, 0 where none were looked for.
        """
        folded = pattern.lower()
        if (plain := _PLAIN.fullmatch(folded)) and _is_short(*plain.groups()):
            self._add_exact(plain[1], plain[2])
        elif (whole := _WHOLE_DOMAIN.fullmatch(folded)) and _is_short("", whole[1]):
            self._add_domain(whole[1])
        elif pattern.startswith("regex:"):
            self._regexes.append(LinearRegex(pattern.removeprefix("regex:")))
        elif pattern.startswith("exact:"):
            self._add_mailbox(pattern.removeprefix("exact:"))
        elif pattern == "<>":
            self._null = True
        else:
            texts = expand_braces(pattern)
            for text in texts:
                self._add_wildcard(text)
            return len(texts)
        return 0

    def _add_wildcard(self, pattern: str) -> None:
        if pattern and not pattern.strip("*"):
            self._everything = True
            return
        local_part, at, domain = pattern.rpartition("@")
        if not at:
            raise PatternError('an address pattern needs "@", as in "*@example.com"')
        if local_part and not has_wildcard(pattern):
            self._add_mailbox(pattern)
            return
        if '"' in local_part:
            raise PatternError("a quoted local part takes no wildcard; use regex:")
        normal = domain_pattern(domain)
        local_part = local_part or "*"
        if normal == OWN:
            self._own.append(_wildcard(local_part))
        elif local_part.strip("*") or has_wildcard(normal):
            self._pairs.append(_Pair(_wildcard(local_part), _wildcard(normal)))
        else:
            self._domains.add(normal)

    def _add_mailbox(self, text: str) -> None:
        try:
            mailbox = parse_mailbox(text)
        except ValueError as error:
            raise PatternError(f"not an address: {error}", "bad-address") from None
        self._add_exact(mailbox.local_part.lower(), mailbox.domain)

    def _add_exact(self, local_part: str, domain: str) -> None:
        if domain == OWN:
            self._own.append(TextTest(exact=frozenset([local_part])))
        else:
            self._exact.add((local_part, domain))

    def _add_domain(self, domain: str) -> None:
        if domain == OWN:
            self._own.append(TextTest(everything=True))
        else:
            self._domains.add(domain)

    def build(self) -> AddressTest:
        """Return the test."""
        return AddressTest(
            frozenset(self._exact),
            frozenset(self._domains),
            self._null,
            self._everything,
            tuple(self._pairs),
            tuple(self._regexes),
            tuple(self._own),
            self._own_domains,
        )


def _wildcard(pattern: str) -> TextTest:
    builder = TextBuilder()
    builder.add_wildcard(pattern.lower())
    return builder.build()


def _is_short(local_part: str, domain: str) -> bool:
    return len(local_part) <= _MAX_PLAIN_LOCAL and len(domain) <= _MAX_PLAIN_DOMAIN


def domain_pattern(text: str) -> str:
    """Return a pattern on domains in normal form; raises ``PatternError``.

    Labels without wildcards become A-labels; a label outside ASCII takes no wildcard,
    because what it would have to match is its A-label.
    """
    text = text.removesuffix(".")
    if not has_wildcard(text):
        return _normalise(text)
    if text.startswith("["):
        return text.lower()
    return ".".join(_label_pattern(label) for label in text.split("."))


def _label_pattern(label: str) -> str:
    if not has_wildcard(label):
        return _normalise(label)
    if not re.fullmatch(r"[A-Za-z0-9_*?-]+", label):
        raise PatternError(f"{label!a} is no part of a domain name")
    return label.lower()


def _normalise(text: str) -> str:
    try:
        return normalise_domain(text)
    except ValueError as error:
        raise PatternError(str(error), "bad-domain") from None
