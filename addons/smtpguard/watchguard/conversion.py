"""What SMTP proxy actions mean as rules, and what of them has no equivalent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from smtpguard.watchguard.fireware import FireAction, FireList, FirewareError
from smtpguard.watchguard.lists import NAMES, ListConverter, Remark
from smtpguard.watchguard.matching import NoEquivalentError, address_pattern
from smtpguard.watchguard.rulefile import Plain, comment, flow, line


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpguard.watchguard.fireware import FireRule, SmtpAction
    from smtpguard.watchguard.rulefile import Value


_PRIVATE: Final = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"]
_SCORES: Final = {"confirmed": 15, "bulk": 8, "suspect": 5}
"""From which score on a category begins: the appliance's service tells none."""
_SUBJECTS: Final = 40
"""Characters that ``tag`` puts in front of a subject."""
_NUMBER: Final = re.compile("[0-9]{1,15}")
_VARIABLE: Final = re.compile(r"%\((\w+)\)%")
_KIB: Final = 1024
_OCTETS_FROM: Final = 1_000_000
"""A maximum size from here on is taken as octets, below as kilobytes."""
_WHOLE: Final = frozenset(
    {"allow", "deny", "quarantine", "drop", "block", "tempfail", "discard"}
)
"""Actions on whole messages that both know, or that ours may come to be."""
_SILENT: Final = frozenset(
    {
        "message/content-checking/autodetect",
        "message/content-checking/messages/deny",
        *("masquerading/server-replies", "masquerading/helo-name"),
        *("masquerading/banner-name", "timeout", "anti-virus/enabled"),
        *("message/spam/enabled", "envelope/addresses/maximum-to"),
        *("message/maximum-size", "envelope/log-deny"),
    }
)
"""Settings that are converted, or say nothing about mail."""
_ALWAYS: Final = {
    **dict.fromkeys(
        (
            *("envelope/esmtp-options/enabled", "envelope/esmtp-options/chunking"),
            *("envelope/esmtp-options/binarymime", "message/content-checking/binhex"),
            "envelope/esmtp-options/eightbitmime",
            "message/content-checking/uuencode",
        ),
        "true",
    ),
    "envelope/esmtp-options/etrn": "false",
}
"""Settings that are so here, and cannot be otherwise; those of ESMTP where the upstream
has them."""


def converted(
    actions: Sequence[SmtpAction], names: Sequence[str] = ()
) -> tuple[str, list[Remark]]:
    """Return a rule file and what of the proxy actions is not in it as it was.

    ``names`` chooses proxy actions; without it those that somebody has made are taken.
    Raises FirewareError where that is not one for each direction at most.
    """
    chosen = _chosen(actions, names)
    policies = [
        _PolicyConverter(one, is_last=one is chosen[-1]).convert() for one in chosen
    ]
    lines = [
        "# From the SMTP proxy of a WatchGuard Firebox (smtpguard import watchguard).",
        "# Look at every remark, then run: smtpguard check",
        "version: 1",
        line(0, f"domains: {flow(_domains(chosen))}", "of recipients that are listed"),
    ]
    lists: dict[str, list[FireRule]] = {}
    for one in policies:
        lists |= one.lists.addresses
    lines += ["lists:"] if lists else []
    for name, rules in lists.items():
        lines.append(line(2, f"{name}:"))
        lines += [line(4, f"- {flow(rule.text)}", _named(rule)) for rule in rules]
    lines += _top(policies)
    lines.append("policies:")
    for one in policies:
        lines += one.made
    remarks = [remark for one in policies for remark in one.lists.remarks]
    return "\n".join(lines) + "\n", remarks


def _chosen(actions: Sequence[SmtpAction], names: Sequence[str]) -> list[SmtpAction]:
    """Return the proxy actions to convert, the outgoing one first."""
    known = ", ".join(repr(one.name) for one in actions) or "none"
    missing = [name for name in names if name not in [one.name for one in actions]]
    if missing:
        raise FirewareError(f"there is no SMTP proxy action {missing[0]!r}: {known}")
    wanted = [one for one in actions if one.name in names]
    if not names:
        wanted = [one for one in actions if not one.predefined]
    if not wanted:
        raise FirewareError(f"no SMTP proxy action of your own; name one: {known}")
    if len({one.outgoing for one in wanted}) < len(wanted):
        told = ", ".join(repr(one.name) for one in wanted)
        raise FirewareError(
            f"one for each direction is needed, there are {told}: name them"
        )
    return sorted(wanted, key=lambda one: not one.outgoing)


def _domains(chosen: Sequence[SmtpAction]) -> list[str]:
    """Return the domains of addresses that are accepted from outside."""
    found: dict[str, None] = {}
    for one in chosen:
        recipients = one.lists.get("to") if not one.outgoing else None
        for rule in recipients.rules if recipients else ():
            if rule.matcher != "regexp" and rule.action.word in ("allow", "replace"):
                domain = rule.text.rpartition("@")[2].lower()
                if re.fullmatch(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", domain):
                    found[domain] = None
    return list(found)


def _named(rule: FireRule) -> str:
    return "" if rule.name == rule.text else rule.name


def _top(policies: Sequence[_PolicyConverter]) -> Iterator[str]:
    """Yield the keys at the top that policies need."""
    scanners = {name: value for one in policies for name, value in one.scanners.items()}
    if scanners:
        yield "scanners:"
        for name, value in scanners.items():
            yield line(2, f"{name}: {flow(value)}", "where is it?")
    used = {word for one in policies for word in one.lists.used}
    if "quarantine" in used:
        yield "quarantine: {folder: quarantine}"
    if "block" in used:
        yield "block: {folder: blocked}"


class _PolicyConverter:
    """One proxy action as a policy."""

    def __init__(self, action: SmtpAction, *, is_last: bool) -> None:
        self._action = action
        self._is_last = is_last
        slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", action.name).strip("-._")[:64]
        self._name = slug or ("outbound" if action.outgoing else "inbound")
        self._scans = self._is_on("anti-virus/enabled")
        autodetect = self._text("message/content-checking/autodetect") != "false"
        self.lists = ListConverter(self._name, action.outgoing, self._scans, autodetect)
        self.scanners: dict[str, Value] = {}
        self.made: list[str] = []

    def convert(self) -> _PolicyConverter:
        """Make the lines of the policy; return this."""
        action = self._action
        if action.description:
            self.made.append(line(2, comment(action.description)))
        self.made.append(line(2, f"- name: {self._name}", action.name))
        if not self._is_last:
            self._key("when", {"source": _PRIVATE}, "your own networks")
            self.lists.changed("networks", "private ones are taken for yours")
        self._key("identity", Plain("none"), "how does the upstream learn who it is?")
        self._session()
        if "to" not in action.lists:
            self.lists.changed("to", "has no list: every recipient is allowed")
        lists = {"to": FireList(()), **action.lists}
        for kind in NAMES:
            if (found := lists.get(kind)) is not None:
                self.made += self.lists.lines(kind, found)
        self._content()
        self._virus()
        self._spam()
        self._rest()
        return self

    # -- settings ----------------------------------------------------------------------

    def _text(self, path: str) -> str:
        return self._action.settings.get(path, "")

    def _is_on(self, path: str) -> bool:
        return self._text(path).lower() == "true"

    def _number(self, path: str) -> int:
        text = self._text(path)
        return int(text) if _NUMBER.fullmatch(text) else 0

    def _key(self, name: str, value: Value, behind: str = "") -> None:
        self.made.append(line(4, f"{name}: {flow(value)}", behind))

    def _session(self) -> None:
        made: dict[str, Value] = {}
        recipients = self._number("envelope/addresses/maximum-to")
        if recipients:
            made["max_recipients"] = recipients
        if size := self._number("message/maximum-size"):
            octets = size if size >= _OCTETS_FROM else size * _KIB
            made["max_message"] = Plain(str(max(octets, _KIB)))
            taken = "octets" if octets == size else "kilobytes"
            self.lists.changed("maximum-size", f"{size} is taken as {taken}")
        if self._is_on("masquerading/server-replies"):
            made["hide_server"] = True
        if name := self._text("masquerading/helo-name"):
            made["helo"] = name
        if name := self._text("masquerading/banner-name"):
            made["banner"] = name
        if seconds := self._number("timeout"):
            made["deadlines"] = {"command": Plain(f"{min(max(seconds, 30), 3600)}s")}
        if made:
            self._key("session", made)

    def _content(self) -> None:
        kept = self._whole("message/format")
        if kept and kept != "allow":
            self._key("malformed", Plain(kept), "format")
        if text := self._text("message/content-checking/messages/deny"):
            ours = _VARIABLE.sub(r"%(\1)s", text.replace("%CRLF%", "\n"))
            self._key("deny_message", {"text": ours})

    def _whole(self, path: str) -> str | None:
        """Return an action on whole messages; None where there is none."""
        found = self._action.actions.get(path)
        if found is None:
            return None
        if found.word in _WHOLE:
            self.lists.used.add(found.word)
            return found.word
        self.lists.lost(path, f"the action {found.word or found.text!a}")
        return None

    def _virus(self) -> None:
        if not self._scans:
            return
        self.scanners["clamav"] = {
            "type": Plain("clamd"),
            "address": "unix:/run/clamav/clamd.ctl",
        }
        made: dict[str, Value] = {"scanner": [Plain("clamav")]}
        for key, path in (("infected", "virus-found"), ("error", "error")):
            found = self._action.actions.get(f"anti-virus/{path}")
            if found is not None:
                word = self.lists.action("filenames", f"anti-virus/{path}", found)
                if word and word != "scan":
                    made[key] = Plain(word)
        self._key("antivirus", made)

    def _spam(self) -> None:
        if not self._is_on("message/spam/enabled"):
            return
        made: dict[str, Value] = {"scanner": [Plain("spam")]}
        for name, score in _SCORES.items():
            found = self._action.actions.get(f"message/spam/{name}")
            if found is not None and (said := self._category(name, found)):
                made[name] = {"at": score, **said}
        if len(made) == 1:
            self.lists.lost("spam", "no category has an action")
            return
        self.lists.changed("spam", "scores are ours: look at yours for a while")
        self.scanners["spam"] = {
            "type": Plain("rspamd"),
            "url": "http://127.0.0.1:11333",
        }
        unscored = self._whole("message/spam/not-scored")
        if unscored:
            made["error"] = Plain(unscored)
        if exceptions := self._exceptions():
            made["exceptions"] = exceptions
        self._key("spam", made)

    def _category(self, name: str, found: FireAction) -> dict[str, Value] | None:
        if found.word == "replace":
            tag = "".join(c for c in found.text if " " <= c <= "~")[:_SUBJECTS]
            subject: dict[str, Value] = {"subject": tag} if tag else {}
            return {"action": Plain("tag"), **subject}
        if found.word in _WHOLE:
            self.lists.used.add(found.word)
            return {"action": Plain(found.word)}
        self.lists.lost(f"spam/{name}", f"the action {found.word or found.text!a}")
        return None

    def _exceptions(self) -> list[Value]:
        found = self._action.lists.get("exceptions")
        made: list[Value] = []
        for rule in found.rules if found else ():
            where = f"spam exception {rule.name or rule.text!a}"
            try:
                match = address_pattern(rule) if rule.text else "*"
            except NoEquivalentError as error:
                self.lists.lost(where, str(error))
                continue
            if not rule.enabled or rule.action.word not in _WHOLE:
                self.lists.lost(where, "is off, or has another action")
                continue
            entry: dict[str, Value] = {"match": match}
            if rule.recipient not in ("", "*"):
                entry["when"] = {"to": rule.recipient}
            made.append({**entry, "action": Plain(rule.action.word)})
        if made:
            made.append({"match": "*", "action": Plain("scan")})
        return made

    def _rest(self) -> None:
        """Note what is left: settings that nothing here stands for."""
        handled = ("message/format", "message/spam/", "anti-virus/")
        for path, found in self._action.actions.items():
            if not path.startswith(handled):
                word = found.word or found.text
                self.lists.changed(path, f"{word}: not a setting here")
        auth = self._action.lists.get("auth")
        if auth is not None and (auth.rules or auth.fallthrough.word != "allow"):
            self.lists.lost("auth", "mechanisms are not filtered yet")
        for path, text in self._action.settings.items():
            if path in _SILENT or text.lower() in ("", "0", _ALWAYS.get(path)):
                continue
            words = "not a setting here"
            if path in _ALWAYS:
                words = f"it is always {_ALWAYS[path]} here"
            self.lists.changed(path, f"{text}: {words}")
