"""A Fireware configuration, as far as its SMTP proxy actions go.

Element names as in a file of Fireware 11.9.1; what newer versions add is told by its
path and is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from xml.etree import ElementTree as ET

from smtpguard.errors import SmtpGuardError


if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element


type Matcher = Literal["string", "pattern", "regexp"]

PREDEFINED: Final = "4"
"""``property`` of actions that nobody can change; one's own are their clones."""
ACTIONS: Final = {
    **{word: word for word in ("allow", "deny", "strip", "lock", "block", "drop")},
    **dict.fromkeys(("scan", "av-scan", "avscan", "virus-scan"), "scan"),
    "quarantine": "quarantine",
    "replace": "replace",
    "tag": "replace",
}
"""Elements that are actions, and what they are called here."""
_MATCHERS: Final[tuple[Matcher, ...]] = ("string", "pattern", "regexp")
_LISTS: Final = {
    "envelope/greeting": "greeting",
    "envelope/esmtp-options/auth": "auth",
    "envelope/addresses/from": "from",
    "envelope/addresses/to": "to",
    "message/headers": "headers",
    "message/content-checking/content-types": "content-types",
    "message/content-checking/file-patterns": "file-patterns",
    "message/spam/exceptions": "exceptions",
}
"""Lists of rules, by their path below ``smtp``."""
_GROUPS: Final = frozenset(
    {
        *("masquerading", "envelope", "envelope/pad", "envelope/esmtp-options"),
        *("envelope/addresses", "message", "message/content-checking"),
        *("message/content-checking/messages", "message/spam", "anti-virus"),
        *("sslfilter", "encryption"),
    }
)
"""Elements that hold others and say nothing themselves."""
_ACTION_SETTINGS: Final = frozenset(
    {
        *("envelope/pad/action", "envelope/esmtp-options/unknown-options"),
        *("message/limits", "message/format", "transaction"),
        *(f"message/spam/{one}" for one in ("confirmed", "bulk", "suspect")),
        *("message/spam/clean", "message/spam/not-scored"),
        *("anti-virus/virus-found", "anti-virus/error"),
    }
)
"""Elements that hold an action."""


class FirewareError(SmtpGuardError):
    """The file is no configuration that can be read; the text says why."""


@dataclass(frozen=True, slots=True)
class FireAction:
    """An action as it stands in the file."""

    word: str
    """As ``ACTIONS`` has it; "" for one that is not known."""
    text: str = ""
    """What ``replace`` puts there; of an unknown action its element."""


@dataclass(frozen=True, slots=True)
class FireRule:
    """One entry of a list."""

    name: str
    action: FireAction
    matcher: Matcher = "string"
    text: str = ""
    """What is to match; of an exception the sender."""
    recipient: str = ""
    """Of an exception."""
    enabled: bool = True
    alarm: bool = False
    unknown: tuple[str, ...] = ()
    """Elements in it that are not known."""


@dataclass(frozen=True, slots=True)
class FireList:
    """An ordered list; ``fallthrough`` decides where no rule matched."""

    rules: tuple[FireRule, ...]
    fallthrough: FireAction = field(default_factory=lambda: FireAction("allow"))


@dataclass(frozen=True, slots=True)
class SmtpAction:
    """One SMTP proxy action."""

    name: str
    description: str = ""
    predefined: bool = False
    outgoing: bool = False
    lists: dict[str, FireList] = field(default_factory=dict)
    """By ``greeting``, ``from``, ``to``, ``headers``, ``content-types`` ..."""
    actions: dict[str, FireAction] = field(default_factory=dict)
    """Of settings, by path below ``smtp``."""
    settings: dict[str, str] = field(default_factory=dict)
    """Texts of settings, likewise; without blanks around them."""


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """Refuse entities of one's own, and what they can become."""
        raise FirewareError("it has a DOCTYPE, which no Fireware configuration has")


def read_actions(octets: bytes) -> list[SmtpAction]:
    """Return all SMTP proxy actions of a configuration, in their order.

    Raises FirewareError.
    """
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - no DOCTYPE, so no entities
    try:
        parser.feed(octets)
        root = parser.close()
    except (ET.ParseError, LookupError, ValueError) as error:
        raise FirewareError(f"not XML: {error}") from None
    found = (
        _action(one, smtp)
        for one in root.iter("proxy-action")
        if (smtp := one.find("smtp")) is not None
    )
    return list(found)


def _action(element: Element, smtp: Element) -> SmtpAction:
    direction = _text(element, "proxy-type-attr").lower()
    made = SmtpAction(
        _text(element, "proxy-name") or "unnamed",
        _text(element, "proxy-description"),
        _text(element, "property") == PREDEFINED,
        direction == "outgoing",
    )
    for path, one in _settings(smtp, ""):
        if path in _LISTS:
            made.lists[_LISTS[path]] = _list(one)
        elif path in _ACTION_SETTINGS:
            made.actions[path] = _first_action(one)
        else:
            made.settings[path] = _plain(one)
    return made


def _settings(element: Element, path: str) -> Iterator[tuple[str, Element]]:
    """Yield what stands below, by path; groups are gone into."""
    for one in element:
        inner = f"{path}/{one.tag}".lstrip("/")
        if inner in _GROUPS:
            yield from _settings(one, inner)
        else:
            yield inner, one


def _list(element: Element) -> FireList:
    rules = tuple(_rule(one) for one in element.iter("rule"))
    last = element.find("fallthrough")
    return FireList(rules) if last is None else FireList(rules, _first_action(last))


def _rule(element: Element) -> FireRule:
    actions = [one for one in element if one.tag in ACTIONS]
    matchers = [one for one in element if one.tag in _MATCHERS]
    known = ("enabled", "name", "log", "alarm", "sender", "recipient", "action")
    unknown = [
        one.tag for one in element if one.tag not in (*ACTIONS, *_MATCHERS, *known)
    ]
    inner = element.find("action")
    action = _first_action(inner if inner is not None else element)
    if len(actions) > 1 or len(matchers) > 1:
        action = FireAction("", "two of them")
    matcher: Matcher = "pattern"
    text = _text(element, "sender")
    for one in matchers:
        matcher, text = _MATCHERS[_MATCHERS.index(one.tag)], _plain(one)
    if not matchers and element.find("sender") is None:
        unknown.append("no string, pattern or regexp")
    return FireRule(
        _text(element, "name"),
        action,
        matcher,
        text,
        _text(element, "recipient"),
        _text(element, "enabled").lower() != "false",
        _text(element, "alarm").lower() == "true",
        tuple(unknown) if action.word else (),
    )


def _first_action(element: Element) -> FireAction:
    for one in element:
        if one.tag in ACTIONS:
            return FireAction(ACTIONS[one.tag], _plain(one))
    others = [one.tag for one in element if one.tag not in ("log", "alarm", "name")]
    word = _plain(element).lower()
    if word in ACTIONS:
        return FireAction(ACTIONS[word])
    return FireAction("", others[-1] if others else word or "none")


def _text(element: Element, name: str) -> str:
    found = element.find(name)
    return "" if found is None else _plain(found)


def _plain(element: Element) -> str:
    return (element.text or "").strip()
