from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy.patterns import PatternError
from smtpguard.policy.rulereader import MAX_RULES, parse_target
from tests.policy.rulefiles import (
    envelope,
    path,
    policy,
    problems,
    rules,
    session,
    slugs,
)


LAST = '{match: "*", action: deny}'


def test_every_key_of_a_rule_is_read() -> None:
    found = policy(
        rcpt_to='{name: n, match: "*@a.example", action: tempfail, reply: "450 x", '
        "when: {tls: false}, unless: {authenticated: true}, on_unknown: skip}, " + LAST
    ).rcpt_to[0]
    assert (found.id, found.name) == ("rcpt_to:1", "n")
    assert found.action is Action.TEMPFAIL
    assert str(found.reply) == "450 x"
    assert [one.name for one in found.when] == ["tls"]
    assert [one.name for one in found.unless] == ["authenticated"]
    assert found.on_unknown is None


@pytest.mark.parametrize("word", ["allow", "deny", "tempfail", "drop"])
def test_on_unknown_is_an_action(word: str) -> None:
    found = policy(
        rcpt_to=f'{{match: "*@own", action: allow, on_unknown: {word}}}, {LAST}'
    )
    assert found.rcpt_to[0].on_unknown is Action(word)


@pytest.mark.parametrize(
    ("rule", "slug"),
    [
        ("{action: deny}", "missing-key"),
        ('{match: "<>"}', "missing-key"),
        ("deny", "bad-type"),
        ('{match: "<>", action: [deny]}', "bad-type"),
        ('{match: "<>", action: ~}', "missing-value"),
        ('{match: "<>", action: denny}', "unknown-action"),
        ('{match: "<>", action: explode}', "unknown-action"),
        ('{match: "<>", action: discard}', "action-not-allowed-here"),
        ('{match: "<>", action: notify}', "action-not-allowed-here"),
        ('{match: "<>", action: allow, reply: "550 x"}', "key-not-allowed-here"),
        ('{match: "<>", action: deny, reply: "450 x"}', "bad-reply"),
        ('{match: "<>", action: deny, reply: []}', "bad-type"),
        ('{match: "<>", action: nope, reply: "450 x"}', "unknown-action"),
        ('{match: "<>", action: nope, to: a@a.example}', "unknown-action"),
        ('{match: "<>", action: deny, to: a@a.example}', "key-not-allowed-here"),
        ("{match: a@a.example, action: rewrite}", "missing-key"),
        ("{match: a@a.example, action: rewrite, to: a}", "bad-address"),
        ("{match: a@a.example, action: rewrite, to: []}", "bad-type"),
        ('{match: a@a.example, action: rewrite, to: "*@b.example"}', "bad-address"),
        ('{match: "@x", action: rewrite, to: "*@b.example"}', "bad-address"),
        ('{match: a, action: rewrite, to: "*@b.example"}', "bad-pattern"),
        ('{match: "<>", action: deny, is: macro}', "key-not-allowed-here"),
        ('{match: "<>", action: deny, tag: header}', "not-supported-yet"),
        ('{match: "<>", action: deny, on_unknown: rewrite}', "bad-value"),
        ('{match: "<>", action: deny, when: {spf: pass}}', "not-supported-yet"),
    ],
)
def test_a_bad_rule_is_one_problem(rule: str, slug: str) -> None:
    text = rules(rcpt_to=f"{rule}, {LAST}", top="lists: {x: [a@a.example]}\n")
    found = [one for one in slugs(text) if one != "unused-list"]
    assert found == [slug]


@pytest.mark.parametrize(
    ("more", "headers"),
    [("", False), (", headers: false", False), (", headers: true", True)],
)
def test_a_rewrite_says_whether_header_fields_change_as_well(
    more: str, headers: bool
) -> None:
    rule = f"{{match: a@a.example, action: rewrite, to: b@b.example{more}}}"
    said = policy(rcpt_to=f"{rule}, {LAST}").rcpt(
        session(), envelope(), path("a@a.example")
    )
    assert said.action is Action.REWRITE
    assert said.rewrite_headers is headers


@pytest.mark.parametrize(
    "match", ['"*@old.example"', '"*"', '"@own"', '"*@own"', '["*@a.example", "*@*.b"]']
)
def test_a_domain_may_be_rewritten_to_another(match: str) -> None:
    found = policy(
        rcpt_to=f'{{match: {match}, action: rewrite, to: "*@new.example"}}, {LAST}',
        top="domains: [own.example]\n",
    )
    rewrite = found.rcpt_to[0].rewrite
    assert rewrite is not None
    assert (rewrite.mailbox, rewrite.domain) == (None, "new.example")


@pytest.mark.parametrize(
    "text",
    [
        *("<>", "a", "*@own", "a@own", "*@*.example", "*@a?.example", "a@b@c.example"),
        *("jörg@a.example", f"*@{'a.' * 95}example", "a*@", ""),
        f"{'a' * 64}@{'b.' * 93}example",
    ],
)
def test_a_bad_target_is_refused(text: str) -> None:
    with pytest.raises(PatternError) as raised:
        parse_target(text)
    assert raised.value.slug == "bad-address"


@pytest.mark.parametrize("text", ["*@", "*@a b.example"])
def test_a_target_needs_a_domain(text: str) -> None:
    with pytest.raises(PatternError) as raised:
        parse_target(text)
    assert raised.value.slug == "bad-domain"


def test_the_longest_target_fits_into_a_path() -> None:
    domain = f"{'a.' * 90}example.x"
    assert len(domain) == 189
    assert parse_target(f"*@{domain}").domain == domain


@pytest.mark.parametrize(
    "match", ['"*@a.example"', '["*@a.example", "<>"]', '"regex:.*"', '"?*"']
)
def test_a_list_that_could_end_without_a_decision_is_refused(match: str) -> None:
    found = slugs(rules(rcpt_to=f"{{match: {match}, action: deny}}"))
    assert found == ["no-fallthrough" if "?" not in match else "bad-pattern"]


@pytest.mark.parametrize("key", ["when", "unless"])
def test_a_fallthrough_has_no_conditions(key: str) -> None:
    rule = f'{{match: "*", action: deny, {key}: {{tls: true}}}}'
    assert slugs(rules(rcpt_to=rule)) == ["no-fallthrough"]


def test_a_missing_fallthrough_is_told_beside_other_problems() -> None:
    rule = '{match: x, action: deny}, {match: "<>", action: deny}'
    assert slugs(rules(rcpt_to=rule)) == ["bad-pattern", "no-fallthrough"]


def test_every_list_needs_its_fallthrough() -> None:
    lists = {
        "helo": "a",
        "mail_from": "a@a.example",
        "content_types": "a/b",
        "filenames": "a",
    }
    for name, match in lists.items():
        line = f"{name}: [{{match: {match}, action: deny}}]"
        assert slugs(rules(line)) == ["no-fallthrough"]


def test_a_hundred_thousand_rules_are_refused() -> None:
    many = "      - {match: a@a.example, action: deny}\n" * 100_000
    text = f"version: 1\npolicies:\n  - name: p\n    rcpt_to:\n{many}"
    assert slugs(text) == ["file-too-large"]


def test_one_rule_too_many_is_refused() -> None:
    def listed(number: int) -> str:
        many = "      - {match: a@a.example, action: deny}\n" * (number - 1)
        head = rules().partition("rcpt_to")[0] + "rcpt_to:\n"
        return f"{head}{many}      - {LAST}\n"

    assert slugs(listed(MAX_RULES)) == []
    place, said = f"{5 + MAX_RULES + 1}:9", f"more than {MAX_RULES} rules"
    line = f"{place}: error: rcpt_to: {said}; put addresses into a list"
    assert problems(listed(MAX_RULES + 1)) == [f"{line} [too-many-rules]"]


@pytest.mark.parametrize(
    ("value", "slug"),
    [("[]", "missing-value"), ("~", "missing-value"), ("{}", "bad-type")],
)
def test_a_list_of_rules_is_a_list(value: str, slug: str) -> None:
    assert slugs(rules(f"mail_from: {value}")) == [slug]


def test_a_named_rule_is_told_by_its_name() -> None:
    text = rules(rcpt_to=f'{{name: nobody, match: "<>", action: stop}}, {LAST}')
    assert problems(text)[0].split("error: ")[1].startswith('rule "nobody": unknown')
    text = rules(rcpt_to=f'{{name: [], match: "<>", action: deny}}, {LAST}')
    assert "rcpt_to:1: a text is needed" in problems(text)[0]
