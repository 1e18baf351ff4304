"""Warnings: what a rule set may say and its author hardly means.

Looks at rules only, never at traffic. A warning stops nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from smtpguard.model.decision import CLOSING, Action
from smtpguard.policy.addresses import Address
from smtpguard.policy.conditions import (
    AuthenticatedCondition,
    PathCondition,
    SourceCondition,
)
from smtpguard.policy.matching import AddressPatterns
from smtpguard.policy.problems import shown
from smtpguard.policy.truth import Truth


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpguard.policy.conditions import Condition
    from smtpguard.policy.lists import Lists
    from smtpguard.policy.policies import Policy
    from smtpguard.policy.problems import Sink
    from smtpguard.policy.rules import AddressRule, Rule
    from smtpguard.policy.ruleset import Ruleset


_REFUSING = frozenset({Action.DENY, Action.TEMPFAIL, *CLOSING})


def review(ruleset: Ruleset, lists: Lists, sink: Sink) -> None:
    """Note the warnings of a rule set that has no errors."""
    for source in lists.unused:
        text = f"no rule uses the list {shown(source.name)}"
        sink.warning(source.mark, text, "unused-list")
    _review_order(ruleset, sink)
    for policy in ruleset.policies:
        for rules in _lists(policy):
            _review_rules(rules, sink)
        _review_postmaster(policy, sink)
        _review_relaying(policy, sink)
        _review_verification(policy, sink)
        _review_scanning(policy, sink)
        _review_scores(policy, sink)
    if not ruleset.domains:
        _review_own(ruleset, sink)


def _review_verification(policy: Policy, sink: Sink) -> None:
    tls = policy.settings.server_tls
    if tls.starttls == "preferred" and tls.verify != "none":
        text = f"policy {shown(policy.name)}: a certificate that does not verify has "
        text += "the mail go in clear, as starttls is preferred; required keeps it"
        sink.warning(policy.mark, text, "verify-not-binding")


def _review_scanning(policy: Policy, sink: Sink) -> None:
    table = policy.antivirus
    rules = (*policy.content_types, *policy.filenames)
    if table is not None and all(rule.action is not Action.SCAN for rule in rules):
        text = f"policy {shown(policy.name)}: no rule of content_types or filenames "
        text += "has the action scan, so nothing is scanned"
        sink.warning(table.mark or policy.mark, text, "never-scanned")


def _review_scores(policy: Policy, sink: Sink) -> None:
    spam = policy.spam
    for above, below in pairwise(spam.categories if spam else ()):
        mild, severe = above.ending.action, below.ending.action
        if mild.severity > severe.severity:
            text = f"policy {shown(policy.name)}: {above.name} from {above.at:g} has "
            text += f"{mild}, and {below.name} from {below.at:g} has {severe}"
            sink.warning((spam and spam.mark) or policy.mark, text, "milder-above")


def _lists(policy: Policy) -> Iterator[Sequence[Rule[Any]]]:
    yield policy.helo_rules
    yield policy.mail_from
    yield policy.rcpt_to
    yield policy.headers
    yield policy.content_types
    yield policy.filenames


def _review_order(ruleset: Ruleset, sink: Sink) -> None:
    taken = ""
    for policy in ruleset.policies:
        if taken:
            text = f"policy {shown(policy.name)} is never chosen: "
            text += f"{shown(taken)} before it has no when"
            sink.warning(policy.mark, text, "unreachable")
        elif policy.when is None:
            taken = policy.name


def _review_rules(rules: Sequence[Rule[Any]], sink: Sink) -> None:
    decided = ""
    for rule in rules:
        if decided:
            text = f"{rule.id} is never reached: {decided} matches everything"
            sink.warning(rule.mark, text, "unreachable")
            return
        if rule.action in CLOSING:
            text = f"{rule.id}: {rule.action} gives no reply, "
            text += "the client tries again for days"
            sink.warning(rule.mark, text, "drop-retries")
        if rule.is_fallthrough:
            decided = rule.id


def _review_postmaster(policy: Policy, sink: Sink) -> None:
    denied: dict[str, AddressRule] = {}
    for domain in policy.domains:
        address = Address("postmaster", domain)
        rule = next(
            rule
            for rule in policy.rcpt_to
            if rule.is_unconditional and rule.match.test(address) is Truth.YES
        )
        if rule.action in _REFUSING:
            denied.setdefault(rule.id, rule)
    for rule in denied.values():
        text = f"{rule.id} refuses postmaster at an own domain (RFC 5321 4.5.1)"
        sink.warning(rule.mark, text, "postmaster-denied")


def _review_relaying(policy: Policy, sink: Sink) -> None:
    if policy.when is not None and not policy.when.is_open:
        return
    name = f"policy {shown(policy.name)}"
    end = next(n for n, rule in enumerate(policy.rcpt_to) if rule.is_fallthrough)
    last = policy.rcpt_to[end]
    if last.action not in _REFUSING and not _is_guarded(policy.rcpt_to[:end]):
        text = f"{name} is open to any source and lets any recipient through"
        sink.warning(last.mark, text, "open-relay")
    if policy.settings.identity == "none":
        text = f"{name} is open to any source and has identity none: "
        text += "an upstream that trusts this address relays for everybody"
        sink.warning(policy.mark, text, "no-identity")


def _is_guarded(rules: Sequence[AddressRule]) -> bool:
    """Whether only known clients come past some rule."""
    return any(
        rule.match.is_everything and rule.action in _REFUSING and _stops_strangers(rule)
        for rule in rules
    )


def _stops_strangers(rule: AddressRule) -> bool:
    if not rule.when:
        return any(_tells_known_clients(one) for one in rule.unless)
    is_anonymous = rule.when == (AuthenticatedCondition(wanted=False),)
    return is_anonymous and not rule.unless


def _tells_known_clients(condition: Condition) -> bool:
    if isinstance(condition, SourceCondition):
        return not condition.networks.is_everything
    return condition == AuthenticatedCondition(wanted=True)


def _review_own(ruleset: Ruleset, sink: Sink) -> None:
    for policy in ruleset.policies:
        for rule in (*policy.mail_from, *policy.rcpt_to):
            tests = [rule.match]
            tests += [
                condition.patterns
                for condition in (*rule.when, *rule.unless)
                if isinstance(condition, PathCondition)
            ]
            if any(isinstance(one, AddressPatterns) and one.uses_own for one in tests):
                text = f"{rule.id} asks for @own and domains is empty: "
                text += "it cannot be decided, the answer is 451"
                sink.warning(rule.mark, text, "no-domains")
                return
