"""What an upstream can, and what of it a client is offered (RFC 5321 4.1.1.1).

Reads the reply to EHLO into keywords, and rebuilds the reply for our own client from a
table, because a keyword that is passed on unread promises what only we could break.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from smtpguard.model.reply import Reply


_KEYWORD_LINE: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*)((?: +[!-~]+)*) *\Z")
# Before RFC 2554 became a standard: "AUTH=LOGIN PLAIN", still sent beside the new form.
_OLD_AUTH_LINE: Final = re.compile(rb"(AUTH)=([!-~]+(?: +[!-~]+)*) *\Z", re.IGNORECASE)

_CANNOT_WORK: Final = frozenset({"EXTERNAL"})
"""Mechanisms that speak of the TLS session, which ends at us; ``*-PLUS`` likewise."""
_BY_RULE_ONLY: Final = frozenset({"GSSAPI", "GSS-SPNEGO", "DIGEST-MD5", "NTLM"})
"""Mechanisms that may protect what follows them, unreadable to us."""
_LIMITS: Final = ("MAILMAX", "RCPTMAX", "RCPTDOMAINMAX")
_SIZE: Final = re.compile("[0-9]{1,20}")
_LIMIT: Final = re.compile(r"([A-Z]+)=([1-9][0-9]{0,5})\Z")
_XCLIENT: Final = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The keywords of one reply to EHLO, in order."""

    domain: bytes = b""
    """Text of the first line."""
    keywords: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Upper-case keyword to its parameters, as written (AUTH: upper case)."""

    @classmethod
    def from_ehlo(cls, reply: Reply) -> Capabilities:
        """Read the reply to EHLO; never an error: a line that is no keyword, or one
        that repeats a keyword, is ignored."""
        keywords: dict[str, tuple[str, ...]] = {}
        for line in reply.lines[1:]:
            found = _OLD_AUTH_LINE.match(line) or _KEYWORD_LINE.match(line)
            keyword = found[1].decode("ascii").upper() if found else ""
            if found is None or (keyword in keywords and keyword != "AUTH"):
                continue
            words = found[2].decode("ascii").split()
            if keyword == "AUTH":
                words = [*keywords.get("AUTH", ()), *(word.upper() for word in words)]
            keywords[keyword] = tuple(dict.fromkeys(words))
        return cls(reply.lines[0], keywords)

    @classmethod
    def from_helo(cls, reply: Reply) -> Capabilities:
        """Read the reply to HELO, which has no keywords."""
        return cls(reply.lines[0])

    def __contains__(self, keyword: str) -> bool:
        """Say whether the (upper-case) keyword is there."""
        return keyword in self.keywords

    def parameters(self, keyword: str) -> tuple[str, ...]:
        """Return the parameters of the (upper-case) keyword, () without it."""
        return self.keywords.get(keyword, ())

    @property
    def size_limit(self) -> int | None:
        """Octets a message may have by SIZE; None without a limit (RFC 1870 4)."""
        return _size(self.parameters("SIZE")[:1])


@dataclass(frozen=True, slots=True)
class Offer:
    """What the policy and the moment let through to the client."""

    starttls: bool = False
    auth_mechanisms: frozenset[str] | None = None
    """Upper case; None: all but those that only a rule may allow; empty: no AUTH."""
    size: int = 0
    """Octets we take; 0: no limit of ours."""
    requiretls: bool = False
    """Both legs are in TLS, the upstream's verified."""
    extra: frozenset[str] = frozenset()
    """Upper-case keywords that are passed though we do not know them."""
    etrn: bool = False
    xclient: bool = False
    """The client is trusted to tell who it speaks for."""
    max_recipients: int | None = None
    hide: bool = False
    """Greet as ``own_domain`` instead of the upstream."""
    own_domain: bytes = b""


def offer(upstream: Capabilities, what: Offer) -> tuple[Reply, tuple[str, ...]]:
    """Return our reply to the client's EHLO, and what of the upstream's it lacks.

    The second value is for the log: keywords, or ``KEYWORD PARAMETER`` where only a
    parameter was left out.
    """
    lines = {
        keyword: line
        for keyword, build in _TABLE.items()
        if (line := build(upstream, what)) is not None
    }
    for keyword, parameters in upstream.keywords.items():
        if keyword in what.extra and keyword not in KNOWN_KEYWORDS:
            lines[keyword] = " ".join((keyword, *parameters))
    first = what.own_domain if what.hide else upstream.domain
    texts = (first, *(line.encode("ascii") for line in lines.values()))
    return Reply(250, texts), tuple(_stripped(upstream, lines))


def _stripped(upstream: Capabilities, lines: dict[str, str]) -> list[str]:
    stripped = [keyword for keyword in upstream.keywords if keyword not in lines]
    for keyword in ("AUTH", "LIMITS"):
        passed = {word.partition("=")[0] for word in lines.get(keyword, "").split()}
        stripped += [
            f"{keyword} {parameter}"
            for parameter in upstream.parameters(keyword)
            if keyword in lines and parameter.partition("=")[0] not in passed
        ]
    return stripped


type _Build = Callable[[Capabilities, Offer], str | None]


def _always(keyword: str) -> _Build:
    return lambda _upstream, _what: keyword


def _passed(keyword: str) -> _Build:
    return lambda upstream, _what: keyword if keyword in upstream else None


def _passed_whole(keyword: str) -> _Build:
    def build(upstream: Capabilities, _what: Offer) -> str | None:
        if keyword not in upstream:
            return None
        return " ".join((keyword, *upstream.parameters(keyword)))

    return build


def _offer_size(upstream: Capabilities, what: Offer) -> str | None:
    if "SIZE" not in upstream:
        return None
    limits = [limit for limit in (upstream.size_limit, what.size) if limit]
    return f"SIZE {min(limits)}" if limits else "SIZE"


def _offer_binarymime(upstream: Capabilities, _what: Offer) -> str | None:
    able = "BINARYMIME" in upstream and "CHUNKING" in upstream
    return "BINARYMIME" if able else None


def _offer_auth(upstream: Capabilities, what: Offer) -> str | None:
    mechanisms = [
        mechanism
        for mechanism in upstream.parameters("AUTH")
        if not mechanism.endswith("-PLUS")
        and mechanism not in _CANNOT_WORK
        and (
            mechanism not in _BY_RULE_ONLY
            if what.auth_mechanisms is None
            else mechanism in what.auth_mechanisms
        )
    ]
    return " ".join(("AUTH", *mechanisms)) if mechanisms else None


def offered_mechanisms(upstream: Capabilities, what: Offer) -> frozenset[str]:
    """Return the AUTH mechanisms (upper case) that a client is offered."""
    return frozenset((_offer_auth(upstream, what) or "").split()[1:])


def _offer_limits(upstream: Capabilities, what: Offer) -> str | None:
    if "LIMITS" not in upstream:
        return None
    limits = {}
    for parameter in upstream.parameters("LIMITS"):
        found = _LIMIT.match(parameter)
        if found and found[1] in _LIMITS:
            limits[found[1]] = int(found[2])
    if what.max_recipients is not None:
        theirs = limits.get("RCPTMAX", what.max_recipients)
        limits["RCPTMAX"] = min(theirs, what.max_recipients)
    if not limits:
        return None
    return " ".join(("LIMITS", *(f"{name}={limits[name]}" for name in limits)))


def _offer_requiretls(upstream: Capabilities, what: Offer) -> str | None:
    return "REQUIRETLS" if what.requiretls and "REQUIRETLS" in upstream else None


def _offer_starttls(_upstream: Capabilities, what: Offer) -> str | None:
    return "STARTTLS" if what.starttls else None


def _offer_etrn(upstream: Capabilities, what: Offer) -> str | None:
    return "ETRN" if what.etrn and "ETRN" in upstream else None


def _offer_xclient(_upstream: Capabilities, what: Offer) -> str | None:
    return _XCLIENT if what.xclient else None


def _size(parameters: tuple[str, ...]) -> int | None:
    if not parameters or not _SIZE.fullmatch(parameters[0]):
        return None
    return int(parameters[0]) or None


_TABLE: Final[dict[str, _Build]] = {
    "PIPELINING": _always("PIPELINING"),
    "SIZE": _offer_size,
    "STARTTLS": _offer_starttls,
    "AUTH": _offer_auth,
    # RFC 2034 3: where it is offered every reply has a code, also the upstream's.
    "ENHANCEDSTATUSCODES": _passed("ENHANCEDSTATUSCODES"),
    "8BITMIME": _passed("8BITMIME"),
    "DSN": _passed("DSN"),
    "SMTPUTF8": _passed("SMTPUTF8"),
    "CHUNKING": _always("CHUNKING"),
    "BINARYMIME": _offer_binarymime,
    "REQUIRETLS": _offer_requiretls,
    "LIMITS": _offer_limits,
    "DELIVERBY": _passed_whole("DELIVERBY"),
    "FUTURERELEASE": _passed_whole("FUTURERELEASE"),
    "MT-PRIORITY": _passed_whole("MT-PRIORITY"),
    "ETRN": _offer_etrn,
    "XCLIENT": _offer_xclient,
    "HELP": _passed("HELP"),
}

KNOWN_KEYWORDS: Final = frozenset(_TABLE) | {"XFORWARD", "BURL", "TURN", "ATRN", "VRFY"}
"""Keywords whose meaning we know; ``Offer.extra`` has no say about them."""
