"""Reads ordered lists of rules, and checks what their keys mean together.

``{match: "*@old.example", action: rewrite, to: "*@new.example", when: {...}}``
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from smtpguard.model.decision import Action
from smtpguard.policy.actions import EDITING, REPLYING, SIDE_ACTIONS, SKIP
from smtpguard.policy.addresses import OWN, domain_pattern
from smtpguard.policy.conditions import Condition, conditions
from smtpguard.policy.fieldpatterns import FIELDS
from smtpguard.policy.kinds import (
    BOOL,
    TEXT,
    Context,
    Kind,
    choice,
    scalar,
    sequence,
)
from smtpguard.policy.matching import ADDRESSES, AddressPatterns, texts
from smtpguard.policy.notices import MESSAGE
from smtpguard.policy.parts import AUTODETECT, INSIDE, IS, file_patterns
from smtpguard.policy.patterns import PatternError, has_wildcard
from smtpguard.policy.problems import did_you_mean, listed, shown
from smtpguard.policy.replies import REPLY, describe, parse_reply
from smtpguard.policy.rules import Rewrite, Rule
from smtpguard.policy.shapes import Fields, Key, Shape, later
from smtpguard.policy.sideactions import SIDE, read_side
from smtpguard.policy.yamlsource import Mapping, Scalar
from smtpguard.wire.path import MAX_LOCAL_PART, MAX_PATH, parse_mailbox


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply
    from smtpguard.policy.actions import ListSpec
    from smtpguard.policy.yamlsource import Node


MAX_RULES = 1000
"""Rules of one list: each is tried in order and told in the trace. More addresses
belong into a list, where they are looked up."""

_MAX_MAILBOX = MAX_PATH - len("<>")
_MAX_KEPT_DOMAIN = _MAX_MAILBOX - MAX_LOCAL_PART - len("@")

_FILES = frozenset({"type", "name"})
"""Subjects that are files: attachments, and what archives hold."""

_NAME = Key("name", TEXT, "A name for problems, logs and traces.")
_REPLY = Key("reply", REPLY, "What is answered, for deny and tempfail.")


def _action(spec: ListSpec) -> Kind[Action]:
    words = tuple(str(action) for action in spec.actions)

    def read(node: Node, context: Context) -> Action | None:
        found = scalar(node, context, "an action")
        if found is None:
            return None
        word = found.text
        if word in words:
            return Action(word)
        if word in SIDE_ACTIONS and spec.is_on_messages:
            text = f'{shown(word)} is a key of its own beside "action"'
            slug = "action-not-allowed-here"
        elif word in (*SIDE_ACTIONS, *map(str, Action)):
            text = f"action {shown(word)} has no place in {spec.name}, "
            text += f"use {listed(words)}"
            slug = "action-not-allowed-here"
        else:
            hint = did_you_mean(word, words)
            text = f"unknown action {shown(word)}{hint or f', use {listed(words)}'}"
            slug = "unknown-action"
        context.error(found.mark, text, slug)
        return None

    return Kind(read, {"enum": list(words)})


def _read_target(node: Node, context: Context) -> Rewrite | None:
    found = scalar(node, context, "an address")
    if found is None:
        return None
    try:
        return parse_target(found.text)
    except PatternError as error:
        text = f"cannot rewrite to {shown(found.text)}: {error}"
        context.error(found.mark, text, error.slug)
        return None


_TO = Key(
    "to",
    Kind(_read_target, {"type": "string", "minLength": 3}),
    'Of rewrite: the new address, or "*@new.example" to keep the local part.',
)


_HEADERS = Key(
    "headers",
    BOOL,
    "Of rewrite: whether header fields that hold the old address change as well.",
)


def parse_target(text: str) -> Rewrite:
    """Return ``to:`` of a rewrite; raises ``PatternError``."""
    local_part, at, domain = text.rpartition("@")
    if text == "<>":
        raise PatternError("the null path is nobody's address", "bad-address")
    if domain.lower() == OWN:
        raise PatternError('"@own" is several domains, name one of them', "bad-address")
    if local_part == "*" and at:
        if has_wildcard(domain):
            raise PatternError('only one "*" in front of the "@"', "bad-address")
        new = domain_pattern(domain)
        if len(new) > _MAX_KEPT_DOMAIN:
            raise PatternError(
                f"a domain of at most {_MAX_KEPT_DOMAIN} octets is needed",
                "bad-address",
            )
        return Rewrite(None, new)
    try:
        mailbox = parse_mailbox(text)
    except ValueError as error:
        raise PatternError(f"not an address: {error}", "bad-address") from None
    if not mailbox.octets.isascii():
        # The client's MAIL may lack SMTPUTF8, and it is not ours to add.
        raise PatternError(
            "a local part outside ASCII needs SMTPUTF8 of every client", "bad-address"
        )
    if len(mailbox.octets) > _MAX_MAILBOX:
        raise PatternError(f"longer than {_MAX_MAILBOX} octets", "bad-address")
    return Rewrite(mailbox, mailbox.domain)


@dataclass(frozen=True, slots=True)
class RuleReader:
    """Reads the rules of one list."""

    spec: ListSpec
    shape: Shape
    match: Key[Any]
    action: Key[Action]
    when: Key[tuple[Condition, ...]]
    unless: Key[tuple[Condition, ...]]
    on_unknown: Key[str]

    @classmethod
    def of(cls, spec: ListSpec) -> RuleReader:
        """Return the reader of a list."""
        is_on_files = spec.subjects in _FILES
        tests = conditions(spec.conditions, spec.name)
        match: Key[Any] = Key(
            "match", _patterns(spec), "One pattern or several.", not is_on_files
        )
        action = Key("action", _action(spec), "What is done.", required=True)
        when = Key("when", tests, "The rule applies only if all of these hold.")
        unless = Key("unless", tests, "The rule does not apply if all of these hold.")
        on_unknown = Key(
            "on_unknown",
            choice(*spec.unknown_actions),
            "What is done if a condition cannot be known; tempfail by default.",
        )
        keys = [_NAME, match, action, _REPLY, when, unless, on_unknown]
        refused = later("tag")
        _place(keys, refused, Action.REWRITE in spec.actions, _TO, _HEADERS)
        _place(keys, refused, is_on_files, IS, INSIDE, MESSAGE)
        _place(keys, refused, spec.subjects == "type", AUTODETECT)
        _place(keys, refused, spec.is_on_messages, *SIDE)
        shape = Shape(tuple(keys), refused, nested="same")
        return cls(spec, shape, match, action, when, unless, on_unknown)

    def kind(self) -> Kind[tuple[Rule[Any], ...]]:
        """Return the kind of the whole list."""
        schema = {
            "type": "array",
            "items": self.shape.schema(),
            "minItems": 1,
            "maxItems": MAX_RULES,
        }
        return Kind(self.read, schema)

    def read(self, node: Node, context: Context) -> tuple[Rule[Any], ...] | None:
        """Read the list; what could be read is returned, problems are noted."""
        found = sequence(node, context)
        if found is None:
            return None
        items = found.items
        if len(items) > MAX_RULES:
            text = f"more than {MAX_RULES} rules; put addresses into a list"
            context.error(items[MAX_RULES].mark, text, "too-many-rules")
            return None
        rules = [self._read_rule(n, item, context) for n, item in enumerate(items, 1)]
        last = rules[-1]
        if last is not None and not last.is_fallthrough:
            text = 'the last rule must be {match: "*", action: ...} without conditions'
            context.error(items[-1].mark, text, "no-fallthrough")
        return tuple(rule for rule in rules if rule is not None)

    def _read_rule(self, number: int, node: Node, context: Context) -> Rule[Any] | None:
        before = context.sink.errors
        where = f"{self.spec.name}:{number}"
        inside = context.at(named(node, "rule") or where)
        fields = self.shape.read(node, inside)
        if fields is None:
            return None
        action = fields.get(self.action)
        reply = self._reply(node, fields, action, inside)
        self._check_target(fields, action, inside)
        match = self._match(fields, inside)
        _check_message(fields, action, inside)
        if context.sink.errors > before or action is None or match is None:
            return None
        on_unknown = fields.get(self.on_unknown, str(Action.TEMPFAIL))
        return Rule(
            where,
            fields.mark,
            match,
            action,
            fields.get(_NAME, ""),
            fields.get(self.when, ()),
            fields.get(self.unless, ()),
            None if on_unknown == SKIP else Action(on_unknown),
            reply,
            _target(fields),
            str(fields.mark),
            fields.get(MESSAGE, ""),
            read_side(fields),
        )

    def _match(self, fields: Fields, context: Context) -> Any:  # noqa: ANN401 - of the list
        match = fields.get(self.match)
        if self.spec.subjects not in _FILES:
            return match
        if match is None and self.match in fields:
            return None
        if match is None and IS not in fields:
            context.error(fields.mark, 'key "match" or "is" is missing', "missing-key")
            return None
        return file_patterns(match, fields)

    def _reply(
        self, node: Node, fields: Fields, action: Action | None, context: Context
    ) -> Reply | None:
        text = fields.get(_REPLY)
        if text is None or action is None:
            return None
        if action not in REPLYING:
            words = f"a reply belongs to deny and tempfail, not to {action}"
            context.error(fields.mark_of(_REPLY), words, "key-not-allowed-here")
            return None
        try:
            return parse_reply(text, action)
        except ValueError as error:
            mark = value_of(node, "reply").mark
            context.error(mark, describe(text, error), "bad-reply")
            return None

    def _check_target(
        self, fields: Fields, action: Action | None, context: Context
    ) -> None:
        if action is None:
            return
        if action is not Action.REWRITE:
            for key in (_TO, _HEADERS):
                if key in fields:
                    words = (
                        f'"{key.name}" belongs to the action rewrite, not to {action}'
                    )
                    context.error(fields.mark_of(key), words, "key-not-allowed-here")
            return
        if _TO not in fields:
            words = 'rewrite needs "to", the new address'
            context.error(fields.mark_of(self.action), words, "missing-key")
        target, match = fields.get(_TO), fields.get(self.match)
        if target is None or match is None or target.mailbox is not None:
            return
        if not _matches_domains(match):
            words = f'"*@{target.domain}" keeps the local part, so "match" must be '
            words += '"*@old.example" or "*"'
            context.error(fields.mark_of(_TO), words, "bad-address")


def _patterns(spec: ListSpec) -> Kind[Any]:
    if spec.subjects == "address":
        return ADDRESSES
    return FIELDS if spec.subjects == "field" else texts(spec.subjects)


def _place(
    keys: list[Key[Any]],
    refused: dict[str, tuple[str, str]],
    belong: bool,  # noqa: FBT001 - what is asked
    *more: Key[Any],
) -> None:
    """Add keys to those of a list, or to those that have no meaning in it."""
    if belong:
        keys.extend(more)
    else:
        reason = ("has no meaning in this list", "key-not-allowed-here")
        refused.update((key.name, reason) for key in more)


def _target(fields: Fields) -> Rewrite | None:
    target = fields.get(_TO)
    if target is None:
        return None
    return replace(target, headers=fields.get(_HEADERS, False))


def _check_message(fields: Fields, action: Action | None, context: Context) -> None:
    if MESSAGE in fields and action is not None and action not in EDITING:
        words = f'"message" belongs to strip, lock and quarantine, not to {action}'
        context.error(fields.mark_of(MESSAGE), words, "key-not-allowed-here")


def _matches_domains(match: AddressPatterns) -> bool:
    def is_domain(written: str) -> bool:
        local_part, at, _ = written.rpartition("@")
        return written in ("*", f"@{OWN}") or (local_part == "*" and bool(at))

    return all(is_domain(one) for one in match.written)


def named(node: Node, noun: str) -> str:
    """Return ``NOUN "NAME"`` for a mapping with a ``name``, "" for others."""
    if not isinstance(node, Mapping):
        return ""
    name = next((value for key, value in node.pairs if key.text == "name"), None)
    if not isinstance(name, Scalar) or not name.text:
        return ""
    return f"{noun} {shown(name.text)}"


def value_of(node: Node, key: str) -> Node:
    """Return the value of a key of a mapping, or the node itself."""
    pairs = node.pairs if isinstance(node, Mapping) else ()
    return next((value for name, value in pairs if name.text == key), node)
