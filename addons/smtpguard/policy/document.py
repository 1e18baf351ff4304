"""A whole rule file: the top-level keys, includes and policies.

Order matters: domains and lists are read first, because patterns refer to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from smtpguard.model.decision import Action
from smtpguard.model.settings import TrustedClient
from smtpguard.policy.actions import LISTS
from smtpguard.policy.alarmreader import ALARM, read_alarm
from smtpguard.policy.antivirus import ANTIVIRUS, read_antivirus
from smtpguard.policy.blockreader import BLOCK, BlockSettings
from smtpguard.policy.deliveryreader import DELIVERY, DeliverySettings
from smtpguard.policy.dnsreader import DNS, DnsSettings, read_dns
from smtpguard.policy.handling import HANDLING, read_handling
from smtpguard.policy.kinds import (
    DOMAIN,
    TEXT,
    Context,
    Kind,
    choice,
    list_of,
    scalar,
    sequence,
)
from smtpguard.policy.listreader import SCHEMA as LISTS_SCHEMA
from smtpguard.policy.listreader import ListReader
from smtpguard.policy.matching import NETWORKS
from smtpguard.policy.policies import Policy
from smtpguard.policy.problems import Mark, shown
from smtpguard.policy.quarantinereader import QUARANTINE, QuarantineSettings
from smtpguard.policy.rulereader import RuleReader, named
from smtpguard.policy.ruleset import TrustedClients
from smtpguard.policy.scannersreader import SCHEMA as SCANNERS_SCHEMA
from smtpguard.policy.scannersreader import read_scanners
from smtpguard.policy.selector import SELECTOR
from smtpguard.policy.sessionreader import etrn_mark
from smtpguard.policy.settingsreader import SETTINGS, read_settings
from smtpguard.policy.shapes import Fields, Key, Shape, later, shaped
from smtpguard.policy.sideactions import NOTIFY
from smtpguard.policy.sources import Sources, beside
from smtpguard.policy.spam import SPAM, read_spam
from smtpguard.policy.yamlsource import Node, Sequence, compose


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.model.settings import TrustedProtocol


MAX_INCLUDES = 100
"""Files one rule file may include; they include no others."""

MAX_POLICIES = 1000

_POLICY_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def _read_name(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "a name")
    if found is None:
        return None
    if _POLICY_NAME.fullmatch(found.text):
        return found.text
    text = f"{shown(found.text)} is no name of letters, digits, dots, - and _"
    context.error(found.mark, text, "bad-value")
    return None


_NAME = Key(
    "name",
    Kind(_read_name, {"type": "string", "pattern": f"^{_POLICY_NAME.pattern}$"}),
    "The name in logs and records.",
    required=True,
)
_WHEN = Key(
    "when", SELECTOR, "Which sessions come under the policy; the last has none."
)
RULE_LISTS: dict[str, Key[Any]] = {
    spec.name: Key(spec.name, RuleReader.of(spec).kind(), spec.doc, spec.required)
    for spec in LISTS
}
NOT_HERE = "key-not-allowed-here"
_TOP_LEVEL = ("belongs to the top level", NOT_HERE)
_LIST_FIELDS = {"helo": "helo_rules"}
"""Of ``Policy``, where they are called otherwise."""
POLICY = Shape(
    (_NAME, _WHEN, *SETTINGS, *RULE_LISTS.values(), *HANDLING, ANTIVIRUS, SPAM),
    {
        **later("auth", "record", "scanners", "spf", "dkim", "dmarc"),
        **dict.fromkeys(("quarantine", "delivery", "alarm"), _TOP_LEVEL),
        NOTIFY.name: ("belongs to a rule, a finding or a verdict", NOT_HERE),
    },
    nested="fresh",
)


def _raw(schema: dict[str, Any]) -> Kind[Node]:
    return Kind(lambda node, _context: node, schema)


def _read_domains(node: Node, context: Context) -> tuple[str, ...] | None:
    if isinstance(node, Sequence) and not node.items:
        return ()
    found = _SOME_DOMAINS.read(node, context)
    return None if found is None else tuple(dict.fromkeys(found))


_SOME_DOMAINS = list_of(DOMAIN)
_NETWORKS = Key("networks", NETWORKS, "Networks of the clients.", required=True)
_PROTOCOL = Key(
    "protocol",
    choice("proxy", "xclient"),
    "How they must tell who the real client is.",
    required=True,
)
_VERSION = Key("version", choice("1"), "Version of the format.", required=True)
_INCLUDE = Key(
    "include",
    list_of(TEXT, single=True),
    "Files whose lists and policies are added behind those of this one.",
)
_DOMAINS = Key(
    "domains",
    Kind(_read_domains, {"type": "array", "items": DOMAIN.schema}),
    "Our own domains; @own in patterns.",
)
_LISTS = Key("lists", _raw(LISTS_SCHEMA), "Named lists; @name in patterns.")
_SCANNERS = Key("scanners", _raw(SCANNERS_SCHEMA), "Who scans, by names of yours.")
_TRUSTED = Key(
    "trusted_clients",
    list_of(shaped(Shape((_NETWORKS, _PROTOCOL)))),
    "Clients that must tell who the real client is.",
)
_POLICIES = Key(
    "policies",
    _raw(
        {
            "type": "array",
            "items": POLICY.schema(),
            "minItems": 1,
            "maxItems": MAX_POLICIES,
        }
    ),
    "In order; the first whose when holds is taken.",
    required=True,
)
_LATER = later(
    *("log", "record", "page"),
    *("spf", "dkim", "dmarc"),
)
ROOT = Shape(
    (
        *(_VERSION, _INCLUDE, _DOMAINS, _LISTS, _SCANNERS, _TRUSTED, DNS),
        *(QUARANTINE, DELIVERY, ALARM, BLOCK, _POLICIES),
    ),
    _LATER,
    nested="fresh",
)
_MAIN_ONLY = ("belongs into the main file", NOT_HERE)
_NOT_INCLUDED = (
    *("include", "domains", "trusted_clients", "dns"),
    *("quarantine", "delivery", "block", "alarm"),
)
_INCLUDED_POLICIES = Key("policies", _POLICIES.kind, _POLICIES.doc)
INCLUDED = Shape(
    (_VERSION, _LISTS, _SCANNERS, _INCLUDED_POLICIES),
    {
        **_LATER,
        **dict.fromkeys(_NOT_INCLUDED, _MAIN_ONLY),
    },
    nested="fresh",
)


@dataclass(frozen=True, slots=True)
class Document:
    """What a rule file and its includes hold, as far as it could be read."""

    domains: tuple[str, ...]
    trusted_clients: tuple[TrustedClients, ...]
    policies: tuple[Policy, ...]
    dns: DnsSettings
    quarantine: QuarantineSettings | None
    delivery: DeliverySettings | None
    block: BlockSettings | None
    alarm: tuple[Mailbox, ...]
    """Who is told of alarms."""


def read_document(name: str, context: Context, reader: ListReader) -> Document | None:
    """Read a rule file; None where there is nothing to go on with.

    Problems go to ``context.sink``, lists to ``context.lists``.
    """
    root = _read_file(name, Mark(name), ROOT, context, reader.sources)
    if root is None:
        return None
    files = [(name, root, _POLICIES)]
    files += _included(name, root, context, reader.sources)
    context.lists.domains = root.get(_DOMAINS, ())
    for file, fields, _ in files:
        if (node := fields.get(_LISTS)) is not None:
            reader.read(node, file, context)
        if (node := fields.get(_SCANNERS)) is not None:
            read_scanners(node, file, context)
    trusted = [_trusted(one) for one in root.get(_TRUSTED, ())]
    policies = _Policies(context, has_trusted=_TRUSTED in root)
    for _, fields, key in files:
        if (node := fields.get(key)) is not None:
            policies.read(node)
    policies.check(root)
    _check_alarm(root, context)
    return Document(
        context.lists.domains,
        tuple(one for one in trusted if one is not None),
        tuple(policies.found),
        read_dns(root.get(DNS)),
        root.get(QUARANTINE),
        root.get(DELIVERY),
        root.get(BLOCK),
        read_alarm(root.get(ALARM)),
    )


def _read_file(
    name: str, mark: Mark, shape: Shape, context: Context, sources: Sources
) -> Fields | None:
    text = sources.text(name, mark)
    node = None if text is None else compose(text, name, context.sink)
    return None if node is None else shape.read(node, context)


def _included(
    name: str, root: Fields, context: Context, sources: Sources
) -> list[tuple[str, Fields, Key[Node]]]:
    names = root.get(_INCLUDE, ())
    mark = root.mark_of(_INCLUDE)
    if len(names) > MAX_INCLUDES:
        context.error(mark, f"more than {MAX_INCLUDES} files included", "bad-value")
        return []
    found = []
    for written in dict.fromkeys(names):
        file = beside(name, written)
        fields = _read_file(file, mark, INCLUDED, context, sources)
        if fields is not None:
            found.append((file, fields, _INCLUDED_POLICIES))
    return found


def _trusted(fields: Fields) -> TrustedClients | None:
    networks, protocol = fields.get(_NETWORKS), fields.get(_PROTOCOL)
    if networks is None or protocol is None:
        return None
    return TrustedClients(networks, TrustedClient(cast("TrustedProtocol", protocol)))


class _Policies:
    """Gathers the policies of a file and its includes."""

    def __init__(self, context: Context, *, has_trusted: bool) -> None:
        self._context = context
        self._has_trusted = has_trusted
        self._names: dict[str, Mark] = {}
        self._last: tuple[Fields, str] | None = None
        self.found: list[Policy] = []

    def read(self, node: Node) -> None:
        found = sequence(node, self._context.at("policies"))
        items = found.items if found else ()
        if len(items) > MAX_POLICIES:
            mark = items[MAX_POLICIES].mark
            text = f"more than {MAX_POLICIES} policies"
            self._context.error(mark, text, "too-many-rules")
            return
        for item in items:
            self._read_policy(item)

    def _read_policy(self, node: Node) -> None:
        before = self._context.sink.errors
        where = named(node, "policy") or "policy"
        fields = POLICY.read(node, self._context.at(where))
        if fields is None:
            return
        name = fields.get(_NAME, "")
        if name in self._names:
            text = (
                f"policy {shown(name)} is defined twice, first at {self._names[name]}"
            )
            self._context.error(fields.mark_of(_NAME), text, "duplicate-name")
        elif name:
            self._names[name] = fields.mark
        self._last = (fields, name)
        settings = read_settings(fields, name, self._context)
        etrn = etrn_mark(fields)
        if etrn and not self._has_trusted:
            text = 'session.esmtp.etrn: allow needs "trusted_clients"'
            self._context.error(etrn, text, "missing-key")
        antivirus = read_antivirus(fields.get(ANTIVIRUS))
        spam = read_spam(fields.get(SPAM), self._context.at(where))
        if antivirus is None and ANTIVIRUS not in fields:
            self._refuse_scans(fields, self._context.at(where))
        if self._context.sink.errors > before:
            return
        lists = {
            _LIST_FIELDS.get(name, name): fields.get(key, ())
            for name, key in RULE_LISTS.items()
        }
        policy = Policy(
            name,
            fields.mark,
            settings,
            self._context.lists.domains,
            fields.get(_WHEN),
            read_handling(fields),
            antivirus=antivirus,
            spam=spam,
            **lists,
        )
        self.found.append(policy)

    @staticmethod
    def _refuse_scans(fields: Fields, context: Context) -> None:
        """Note a rule that has parts scanned where nobody scans."""
        for name in ("content_types", "filenames"):
            for rule in fields.get(RULE_LISTS[name], ()):
                if rule.action is Action.SCAN:
                    text = f'{rule.id}: scan needs "antivirus" in this policy'
                    context.error(rule.mark, text, "missing-key")
                    return

    def check(self, root: Fields) -> None:
        """Note what the policies lack as a whole, or at the top level."""
        for policy in self.found:
            for what, needed in _needs(policy):
                if not _has(root, needed):
                    text = f"policy {shown(policy.name)}: {what} needs "
                    text += f'the top-level key "{needed}"'
                    self._context.error(policy.mark, text, "missing-key")
        if self._last is None:
            return
        fields, name = self._last
        if _WHEN in fields:
            text = f"policy {shown(name)} is the last and must have no when"
            self._context.error(fields.mark_of(_WHEN), text, "last-policy-has-when")


_SENDER = "delivery.from"


def _needs(policy: Policy) -> Iterator[tuple[str, str]]:
    """Yield what a policy asks for, and the top-level key without which it cannot."""
    for key in (QUARANTINE, BLOCK):
        if Action(key.name) in policy.actions:
            yield f"the action {key.name}", key.name
    if policy.sides.bcc:
        yield "bcc", DELIVERY.name
        # A copy lies there until it is sent, and where it cannot be.
        yield "bcc", QUARANTINE.name
    if policy.sides.notify:
        yield "notify", _SENDER


def _has(root: Fields, name: str) -> bool:
    """Whether a top-level key stands there, even with a bad value."""
    if name != _SENDER:
        return name in root.marks
    settings = root.get(DELIVERY)
    is_bad = DELIVERY in root and settings is None
    return is_bad or (settings is not None and settings.sender is not None)


def _check_alarm(root: Fields, context: Context) -> None:
    if ALARM in root and not _has(root, _SENDER):
        text = f'alarm needs the top-level key "{_SENDER}"'
        context.error(root.mark_of(ALARM), text, "missing-key")
