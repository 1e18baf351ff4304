from __future__ import annotations

import pytest

from tests.policy.rulefiles import loaded, rules


OWN = "domains: [a.example, b.example]\n"
DENY = '{match: "*", action: deny}'
ALLOW = '{match: "*", action: allow}'


def warnings(text: str) -> list[str]:
    return [one.slug for one in loaded(text).warnings]


def none(text: str) -> str:
    return text.replace("identity: xclient", "identity: none")


def test_rules_that_mean_what_they_say_give_no_warning() -> None:
    text = rules(rcpt_to=f'{{match: "*@own", action: allow}}, {DENY}', top=OWN)
    assert warnings(text) == []


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("mail_from", '{match: "@l", action: deny}'),
        ("filenames", '{match: "@l", action: deny}'),
        ("mail_from", '{match: "*", action: deny, when: {from: "@l"}}'),
    ],
)
def test_a_list_that_is_used_anywhere_is_used(name: str, rule: str) -> None:
    text = rules(f"{name}: [{rule}, {ALLOW}]", top="lists: {l: [a@a.example]}\n")
    assert warnings(text) == []


@pytest.mark.parametrize(
    ("rcpt_to", "wanted"),
    [
        (f"{DENY}, {ALLOW}", ["unreachable"]),
        (f"{DENY}, {ALLOW}, {DENY}", ["unreachable"]),
        ('{match: "*", action: deny, when: {tls: false}}, ' + DENY, []),
        ('{match: ["a@a.example", "*"], action: deny}, ' + DENY, ["unreachable"]),
    ],
)
def test_rules_behind_a_fallthrough_are_told_once(
    rcpt_to: str, wanted: list[str]
) -> None:
    assert warnings(rules(rcpt_to=rcpt_to)) == wanted


def test_policies_behind_one_without_when_are_told() -> None:
    text = rules() + rules().split("policies:\n")[1].replace("name: p", "name: q")
    assert warnings(text) == ["unreachable"]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ('{match: "postmaster@*", action: allow}', []),
        ("{match: postmaster@a.example, action: allow}", ["postmaster-denied"]),
        ('{match: "*@own", action: allow}', []),
        (
            '{match: "*@own", action: allow, when: {tls: true}}',
            ["postmaster-denied"],
        ),
        ('{match: "p*@own", action: tempfail}', ["postmaster-denied"]),
        ('{match: "*@own", action: rewrite, to: "*@a.example"}', []),
    ],
)
def test_a_postmaster_who_is_refused_is_told(rule: str, wanted: list[str]) -> None:
    assert warnings(rules(rcpt_to=f"{rule}, {DENY}", top=OWN)) == wanted


def test_a_refusal_of_some_postmasters_is_not_one_of_all() -> None:
    conditional = '{match: "*@own", action: deny, when: {tls: false}}'
    text = rules(
        rcpt_to=f'{conditional}, {{match: "*@own", action: allow}}, {DENY}', top=OWN
    )
    assert warnings(text) == []


def test_a_rule_that_refuses_two_postmasters_is_told_once() -> None:
    assert warnings(rules(top=OWN)) == ["postmaster-denied"]


@pytest.mark.parametrize(
    "last", [ALLOW, '{match: "*", action: rewrite, to: a@a.example}']
)
def test_a_policy_that_relays_for_everybody_is_told(last: str) -> None:
    assert warnings(rules(rcpt_to=last)) == ["open-relay"]


@pytest.mark.parametrize("action", ["deny", "tempfail", "drop"])
def test_a_policy_that_ends_in_a_refusal_relays_for_nobody(action: str) -> None:
    text = rules(rcpt_to=f'{{match: "*", action: {action}}}')
    assert "open-relay" not in warnings(text)


@pytest.mark.parametrize(
    "guard",
    [
        "unless: {authenticated: true}",
        "unless: {source: 10.0.0.0/8}",
        "unless: {tls: true, authenticated: true}",
        "when: {authenticated: false}",
    ],
)
def test_a_rule_that_stops_strangers_is_a_guard(guard: str) -> None:
    text = rules(rcpt_to=f'{{match: "*", action: deny, {guard}}}, {ALLOW}')
    assert warnings(text) == []


@pytest.mark.parametrize(
    "rule",
    [
        '{match: "*", action: deny, unless: {tls: true}}',
        '{match: "*", action: deny, unless: {authenticated: false}}',
        '{match: "*", action: deny, unless: {source: 0.0.0.0/0}}',
        '{match: "*", action: deny, when: {tls: false}}',
        '{match: "*", action: deny, when: {tls: false}, unless: {authenticated: true}}',
        '{match: "*@a.example", action: deny, unless: {authenticated: true}}',
        '{match: "*", action: allow, unless: {authenticated: true}}',
    ],
)
def test_a_rule_that_lets_some_strangers_pass_is_no_guard(rule: str) -> None:
    assert warnings(rules(rcpt_to=f"{rule}, {ALLOW}")) == ["open-relay"]


def test_an_upstream_that_cannot_know_the_client_is_told() -> None:
    assert warnings(none(rules())) == ["no-identity"]
    assert warnings(none(rules(rcpt_to=ALLOW))) == ["no-identity", "open-relay"]


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ("{source: 10.0.0.0/8}", []),
        ('{source: [10.0.0.0/8, "::/0"]}', ["no-identity", "open-relay"]),
        ("{port: 587}", ["no-identity", "open-relay"]),
    ],
)
def test_a_policy_for_known_networks_may_relay(when: str, wanted: list[str]) -> None:
    first = none(rules(f"when: {when}", rcpt_to=ALLOW))
    last = rules().split("policies:\n")[1].replace("name: p", "name: q")
    assert warnings(first + last) == wanted


@pytest.mark.parametrize("name", ["helo", "mail_from", "content_types", "filenames"])
def test_a_drop_is_told_wherever_it_stands(name: str) -> None:
    text = rules(f'{name}: [{{match: "*", action: drop}}]')
    assert warnings(text) == ["drop-retries"]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ('{match: "*@own", action: deny}', True),
        ('{match: "*", action: deny, unless: {from: "*@own"}}', True),
        ('{match: "*@a.example", action: deny}', False),
        ('{match: "*", action: deny, when: {tls: true}}', False),
    ],
)
def test_own_without_domains_is_told(rule: str, wanted: bool) -> None:
    text = rules(f"mail_from: [{rule}, {ALLOW}]")
    assert warnings(text) == ["no-domains"] * wanted


@pytest.mark.parametrize(
    ("server", "wanted"),
    [
        ("starttls: preferred, verify: webpki", ["verify-not-binding"]),
        ("starttls: preferred, verify: none", []),
        ("starttls: required, verify: webpki", []),
    ],
)
def test_verification_that_does_not_bind_is_told(
    server: str, wanted: list[str]
) -> None:
    text = rules(f"tls: {{server: {{{server}}}}}")
    assert warnings(text) == wanted
