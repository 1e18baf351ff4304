"""Lists of rules of Fireware as lists of ours: order kept, a comment for each name."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Literal

from smtpguard.policy.actions import LISTS
from smtpguard.watchguard.matching import (
    NoEquivalentError,
    address_pattern,
    text_pattern,
)
from smtpguard.watchguard.rulefile import Plain, comment, flow, line


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.watchguard.fireware import FireAction, FireList, FireRule
    from smtpguard.watchguard.rulefile import Value


NAMES: Final = {
    "greeting": "helo",
    "from": "mail_from",
    "to": "rcpt_to",
    "headers": "headers",
    "content-types": "content_types",
    "file-patterns": "filenames",
}
"""Our lists, by those of Fireware."""
MANY: Final = 10
"""Addresses in a row with one action, from which on they are a list with a name."""
_NAMED: Final = {"mail_from": "senders", "rcpt_to": "recipients"}
"""Lists of addresses, and what they are called that get a name."""
_ALLOWED: Final = {spec.name: {str(one) for one in spec.actions} for spec in LISTS}
_INDENT: Final = 6


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that is not as it was."""

    kind: Literal["lost", "changed"]
    """Not there any more, or to be looked at."""
    where: str
    text: str

    def __str__(self) -> str:
        """Return it on one line."""
        return f"{self.kind}: {self.where}: {self.text}"


@dataclass(slots=True)
class ListConverter:
    """Converts the lists of one proxy action; gathers remarks and named lists."""

    name: str
    """Of the policy."""
    outgoing: bool
    scans: bool
    """Whether viruses are looked for at all."""
    autodetect: bool = True
    remarks: list[Remark] = field(default_factory=list)
    addresses: dict[str, list[FireRule]] = field(default_factory=dict)
    """Entries of lists with a name."""
    used: set[str] = field(default_factory=set)
    """Actions that some rule has."""

    def lines(self, kind: str, found: FireList) -> list[str]:
        """Return the lines of one list; ``kind`` is Fireware's word for it."""
        ours = NAMES[kind]
        made = [line(_INDENT - 2, f"{ours}:")]
        for is_many, group in _runs(ours, found.rules):
            if is_many:
                made.append(self._named(ours, group))
            else:
                made += [self._rule(ours, kind, rule) for rule in group]
        made.append(self._fallthrough(ours, kind, found.fallthrough))
        return made

    def lost(self, where: str, text: str) -> None:
        """Note what is not there any more."""
        self.remarks.append(Remark("lost", f"{self.name}: {where}", text))

    def changed(self, where: str, text: str) -> None:
        """Note what is to be looked at."""
        self.remarks.append(Remark("changed", f"{self.name}: {where}", text))

    def action(self, ours: str, where: str, action: FireAction) -> str | None:
        """Return our word for an action; None where the list has none."""
        word = action.word
        if word == "scan" and not self.scans:
            self.changed(where, "scan is allow, for anti-virus is off")
            word = "allow"
        if word == "replace" and ours in _NAMED:
            word = "rewrite"
        if not word:
            self.lost(where, f"the action {action.text!a} is not known")
            return None
        if word not in _ALLOWED[ours]:
            self.lost(where, f"the action {word} has no place in {ours}")
            return None
        self.used.add(word)
        return word

    def _rule(self, ours: str, kind: str, rule: FireRule) -> str:
        where = f"{kind} rule {rule.name!a}"
        if not rule.enabled:
            text = f"off: {rule.name}: {rule.matcher} {rule.text!a} {rule.action.word}"
            return " " * _INDENT + comment(text)
        before = len(self.remarks)
        made = self._matched(ours, where, rule)
        word = self.action(ours, where, rule.action)
        if made is None or word is None:
            reason = self.remarks[before].text
            text = f"not imported: {rule.name}: {rule.matcher} {rule.text!a}: {reason}"
            return " " * _INDENT + comment(text)
        made["action"] = Plain(word)
        if word == "rewrite":
            made["to"] = rule.action.text
        if rule.alarm:
            self.changed(where, "its alarm: write notify beside the action")
        return line(_INDENT, f"- {flow(made)}", rule.name)

    def _matched(self, ours: str, where: str, rule: FireRule) -> dict[str, Any] | None:
        if rule.unknown:
            self.lost(where, f"holds what is not known: {', '.join(rule.unknown)}")
            return None
        if ours == "content_types" and rule.matcher == "string" and not rule.text:
            return {"is": Plain("untyped")}
        read = address_pattern if ours in _NAMED else text_pattern
        try:
            made: dict[str, Value] = {"match": read(rule)}
        except NoEquivalentError as error:
            self.lost(where, f"{rule.matcher} {rule.text!a}: {error}")
            return None
        if ours == "content_types" and not self.autodetect:
            made["autodetect"] = False
        return made

    def _named(self, ours: str, rules: list[FireRule]) -> str:
        name = _NAMED[ours] if not self.outgoing else f"outgoing-{_NAMED[ours]}"
        others = sum(one.startswith(name) for one in self.addresses)
        name += f"-{others + 1}" if others else ""
        self.addresses[name] = rules
        word = rules[0].action.word
        self.used.add(word)
        made = {"match": f"@{name}", "action": Plain(word)}
        return line(_INDENT, f"- {flow(made)}", f"{len(rules)} addresses")

    def _fallthrough(self, ours: str, kind: str, action: FireAction) -> str:
        word = self.action(ours, f"{kind} fallthrough", action)
        if word in (None, "rewrite"):
            # Undecided is no reason to let everything pass.
            word = "tempfail"
        return line(_INDENT, f"- {flow({'match': '*', 'action': Plain(word or '')})}")


def _runs(
    ours: str, rules: tuple[FireRule, ...]
) -> Iterator[tuple[bool, list[FireRule]]]:
    """Yield rules in their order, many plain addresses with one action together."""
    for key, group in groupby(rules, key=lambda rule: _run_key(ours, rule)):
        found = list(group)
        yield bool(key) and len(found) >= MANY, found


def _run_key(ours: str, rule: FireRule) -> str:
    """Return what rules have in common that may become one; "" of one that may not."""
    is_plain = (
        ours in _NAMED
        and rule.matcher == "string"
        and rule.enabled
        and not rule.alarm
        and not rule.unknown
        and rule.action.word in ("allow", "deny", "drop", "block")
    )
    if not is_plain:
        return ""
    try:
        written = address_pattern(rule)
    except NoEquivalentError:
        return ""
    is_address = "@" in written[1:] and written == rule.text
    return rule.action.word if is_address else ""
