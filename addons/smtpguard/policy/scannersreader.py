"""``scanners:`` of a rule file: who is asked, and where."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from smtpguard.model.scannerspec import ScannerSpec, ScannerType
from smtpguard.policy.kinds import (
    TEXT,
    Context,
    Kind,
    choice,
    duration,
    integer,
    list_of,
    mapping,
    scalar,
    size,
)
from smtpguard.policy.problems import did_you_mean, listed, shown
from smtpguard.policy.shapes import Key, Shape
from smtpguard.policy.sources import beside


if TYPE_CHECKING:
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


MAX_SCANNERS = 32
MAX_ADDRESSES = 8
MAX_TIMEOUT = 90.0
"""Seconds; the scans of one message have 100 together."""

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")
_URL = re.compile(r"https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?/?")
_UNIX = re.compile(r"unix:/.+")


def _read_address(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "an address such as 127.0.0.1:3310")
    if found is None:
        return None
    for form in (_UNIX, _HOST, _URL):
        matched = form.fullmatch(found.text)
        port = matched[1] if matched and matched.re.groups else None
        if matched and 0 < int(port or 1) < 2**16 and found.text.isprintable():
            return found.text
    text = f"{shown(found.text)} is no address such as unix:/run/clamav/clamd.ctl, "
    text += "127.0.0.1:3310 or http://127.0.0.1:11333"
    context.error(found.mark, text, "bad-value")
    return None


def _read_addresses(node: Node, context: Context) -> tuple[str, ...] | None:
    found = _ADDRESSES_OF.read(node, context)
    if found is not None and len(found) > MAX_ADDRESSES:
        context.error(node.mark, f"more than {MAX_ADDRESSES} addresses", "bad-value")
        return None
    return found


_ADDRESSES_OF = list_of(
    Kind(_read_address, {"type": "string", "minLength": 3}), single=True
)
_TYPE = Key(
    "type",
    choice("clamd", "yara", "rspamd", "spamassassin"),
    "Which program it is.",
    required=True,
)
_ADDRESS = Key(
    "address",
    Kind(_read_addresses, _ADDRESSES_OF.schema),
    "Where it listens; several are tried in order.",
)
_URL_KEY = Key("url", _ADDRESS.kind, "The same, as one says of rspamd.")
_RULES = Key("rules", TEXT, "Of yara: a rule file, or a folder of *.yar files.")
_TIMEOUT = Key("timeout", duration(0.1, MAX_TIMEOUT), "For one scan.")
_MAX_SIZE = Key("max_size", size(1, 1 << 30), "Of what it is given; more is oversize.")
_CONCURRENCY = Key("concurrency", integer(1, 64), "Scans at the same time.")
_SHAPE = Shape((_TYPE, _ADDRESS, _URL_KEY, _RULES, _TIMEOUT, _MAX_SIZE, _CONCURRENCY))

SCHEMA = {
    "type": "object",
    "propertyNames": {"pattern": f"^{_NAME.pattern}$"},
    "additionalProperties": _SHAPE.schema(),
    "maxProperties": MAX_SCANNERS,
}
"""JSON Schema of ``scanners``."""

VIRUS_TYPES = frozenset({"clamd", "yara"})
SPAM_TYPES = frozenset({"rspamd", "spamassassin"})
_FORMS: dict[str, tuple[re.Pattern[str], ...]] = {
    "clamd": (_UNIX, _HOST),
    "spamassassin": (_UNIX, _HOST),
    "rspamd": (_UNIX, _URL),
}


def read_scanners(node: Node, file: str, context: Context) -> None:
    """Read ``scanners`` of a file into ``context.scanners``; problems are noted."""
    inside = context.at("scanners")
    found = mapping(node, inside)
    for name, value in found.pairs if found else ():
        where = context.at(f"scanners.{name.text}")
        if not _NAME.fullmatch(name.text):
            text = f"{shown(name.text)} is no name of letters, digits, dots, - and _"
            inside.error(name.mark, text, "bad-value")
        elif name.text in context.scanners:
            inside.error(
                name.mark, f"{shown(name.text)} is there twice", "duplicate-name"
            )
        elif len(context.scanners) >= MAX_SCANNERS:
            inside.error(name.mark, f"more than {MAX_SCANNERS} scanners", "bad-value")
        elif (fields := _SHAPE.read(value, where)) is not None:
            spec = _spec(name.text, fields, file, where)
            if spec is not None:
                context.scanners[name.text] = spec


def _spec(name: str, fields: Fields, file: str, context: Context) -> ScannerSpec | None:
    before = context.sink.errors
    kind = cast("ScannerType | None", fields.get(_TYPE))
    addresses = fields.get(_ADDRESS, ()) + fields.get(_URL_KEY, ())
    if kind is None:
        return None
    has_address = _ADDRESS in fields or _URL_KEY in fields
    if kind == "yara":
        for key in (_ADDRESS, _URL_KEY):
            if key in fields:
                text = f'"{key.name}" has no meaning for yara, which runs here'
                context.error(fields.mark_of(key), text, "key-not-allowed-here")
    elif not has_address:
        context.error(fields.mark, 'key "address" is missing', "missing-key")
    elif _RULES in fields:
        text = f'"rules" belongs to yara, not to {kind}'
        context.error(fields.mark_of(_RULES), text, "key-not-allowed-here")
    for address in addresses:
        forms = _FORMS.get(kind, ())
        if forms and not any(form.fullmatch(address) for form in forms):
            text = f"{shown(address)} is no address of {kind}"
            context.error(fields.mark_of(_ADDRESS), text, "bad-value")
    if context.sink.errors > before:
        return None
    default = ScannerSpec(name, kind)
    rules = fields.get(_RULES, "")
    return ScannerSpec(
        name,
        kind,
        addresses,
        beside(file, rules) if rules else "",
        fields.get(_TIMEOUT, default.timeout),
        fields.get(_MAX_SIZE, default.max_size),
        fields.get(_CONCURRENCY, default.concurrency),
    )


def scanner_kind(
    types: frozenset[str],
) -> Kind[tuple[ScannerSpec, ...]]:
    """Return the kind of names of scanners of these types, one or several."""

    def read_one(node: Node, context: Context) -> ScannerSpec | None:
        found = scalar(node, context, "the name of a scanner")
        if found is None:
            return None
        spec = context.scanners.get(found.text)
        if spec is None:
            hint = did_you_mean(found.text, tuple(context.scanners))
            text = f"there is no scanner {shown(found.text)}{hint}"
            context.error(found.mark, text, "unknown-scanner")
        elif spec.type not in types:
            text = f"{shown(found.text)} is of type {spec.type}, needed is "
            context.error(found.mark, text + listed(sorted(types)), "bad-value")
        else:
            return spec
        return None

    return list_of(Kind(read_one, {"type": "string", "minLength": 1}), single=True)
