from __future__ import annotations

import pytest

from smtpguard.policy import document, load
from tests.policy.rulefiles import (
    NAME,
    envelope,
    loaded,
    path,
    problems,
    reader,
    rules,
    session,
    slugs,
)


MORE = """version: 1
lists: {staff: [anna@own.example]}
policies:
  - name: more
    rcpt_to: [{match: "@staff", action: allow}, {match: "*", action: deny}]
"""
FIRST = """version: 1
domains: [own.example, Own.example., müller.example]
include: sub/more.yaml
policies:
  - name: first
    when: {port: 26}
    rcpt_to: [{match: "*", action: deny}]
"""


def test_included_policies_come_behind_those_of_the_file() -> None:
    ruleset = load(
        "r/main.yaml", reader({"r/main.yaml": FIRST, "r/sub/more.yaml": MORE})
    )
    assert [one.name for one in ruleset.policies] == ["first", "more"]
    assert ruleset.files == ("r/main.yaml", "r/sub/more.yaml")
    assert [one.domains for one in ruleset.policies] == [ruleset.domains] * 2


def test_domains_have_one_form_and_stand_once() -> None:
    ruleset = load(NAME, reader({NAME: FIRST, "sub/more.yaml": MORE}))
    assert ruleset.domains == ("own.example", "xn--mller-kva.example")


def test_a_list_of_an_included_file_can_be_used_anywhere() -> None:
    text = FIRST.replace('{match: "*"', '{match: "@staff", action: allow}, {match: "*"')
    first = load(NAME, reader({NAME: text, "sub/more.yaml": MORE})).policies[0]
    asked = [path("anna@own.example"), path("bert@own.example")]
    decisions = [first.rcpt(session(), envelope(), one) for one in asked]
    assert [one.rule for one in decisions] == ["rcpt_to:1", "rcpt_to:2"]


def test_a_file_is_included_once() -> None:
    text = FIRST.replace("sub/more.yaml", "[sub/more.yaml, sub/more.yaml]")
    ruleset = load(NAME, reader({NAME: text, "sub/more.yaml": MORE}))
    assert len(ruleset.policies) == 2


@pytest.mark.parametrize(
    ("more", "slug"),
    [
        ("version: 1\ninclude: x.yaml\n", "key-not-allowed-here"),
        ("version: 1\ndomains: [a.example]\n", "key-not-allowed-here"),
        ("version: 1\ntrusted_clients: []\n", "key-not-allowed-here"),
        ("version: 1\ndns: {timeout: 5s}\n", "key-not-allowed-here"),
        ("version: 1\nquarantine: {folder: q}\n", "key-not-allowed-here"),
        ("version: 1\ndelivery: {host: a}\n", "key-not-allowed-here"),
        ("version: 1\nblock: {folder: b}\n", "key-not-allowed-here"),
        ("lists: {}\n", "missing-key"),
        ("- a\n", "bad-type"),
        ("a: [\n", "yaml-syntax"),
    ],
)
def test_an_included_file_has_lists_and_policies_only(more: str, slug: str) -> None:
    text = rules(top="include: [more.yaml]\n")
    assert slugs(text, **{"more.yaml": more}) == [slug]


def test_a_missing_include_is_told_where_it_is_named() -> None:
    assert problems(rules(top="include: [more.yaml]\n")) == [
        '2:1: error: cannot read "more.yaml": No such file [cannot-read]'
    ]


def test_too_many_includes_are_refused() -> None:
    names = ", ".join(f"f{n}.yaml" for n in range(document.MAX_INCLUDES + 1))
    assert slugs(rules(top=f"include: [{names}]\n")) == ["bad-value"]


def test_too_many_policies_are_refused() -> None:
    many = "  - {name: p, rcpt_to: [{match: a}]}\n" * (document.MAX_POLICIES + 1)
    text = f"version: 1\npolicies:\n{many}"
    assert slugs(text) == ["too-many-rules"]


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("", "empty-file"),
        ("# nothing\n", "empty-file"),
        ("a", "bad-type"),
        ("version: 1", "missing-key"),
        (rules().replace("version: 1\n", ""), "missing-key"),
        (rules().replace("1", "2"), "bad-value"),
        (rules(top="domains: a.example\n"), "bad-type"),
        (rules(top="domains: ['*.a.example']\n"), "bad-domain"),
        (rules(top="trusted_clients: []\n"), "missing-value"),
        (rules(top="trusted_clients: [a]\n"), "bad-type"),
        (
            rules(top="trusted_clients: [{networks: a, protocol: proxy}]\n"),
            "bad-network",
        ),
        (rules(top="trusted_clients: [{networks: 10.0.0.1}]\n"), "missing-key"),
        (rules(top="block: {}\n"), "missing-key"),
        (rules("spf: {}"), "not-supported-yet"),
        (rules("antivirus: {}"), "missing-key"),
        (rules("header: []"), "unknown-key"),
        (rules("when: {port: 25}"), "last-policy-has-when"),
        (rules().replace("name: p", "name: a b"), "bad-value"),
        (rules().replace("name: p", "name: []"), "bad-type"),
        (rules().replace("name: p", "name: ''"), "missing-value"),
        (rules().replace("- name: p\n", "- "), "yaml-syntax"),
        ("version: 1\npolicies: [p]\n", "bad-type"),
    ],
)
def test_a_bad_file_is_one_problem(text: str, slug: str) -> None:
    assert slugs(text) == [slug]


def test_a_name_is_given_once() -> None:
    text = rules("when: {port: 25}") + rules().split("policies:\n")[1]
    assert slugs(text) == ["duplicate-name"]


def test_domains_may_be_empty() -> None:
    assert loaded(rules(top="domains: []\n")).domains == ()


def test_trusted_clients_that_are_wrong_still_allow_etrn() -> None:
    """One fault is told once, not again for what depends on it."""
    top = "trusted_clients: [{networks: a, protocol: proxy}]\n"
    text = rules("session: {esmtp: {etrn: allow}}", top=top)
    assert slugs(text) == ["bad-network"]
