from __future__ import annotations

import pytest

from smtpguard.model.settings import Deadlines, Settings
from smtpguard.policy import sessionreader
from tests.policy.rulefiles import policy, problems, rules, slugs


TRUSTED = "trusted_clients: [{networks: 10.0.0.1, protocol: xclient}]\n"


def settings(*lines: str, top: str = "") -> Settings:
    return policy("session:", *(f"  {line}" for line in lines), top=top).settings


def test_every_key_reaches_the_settings() -> None:
    found = settings(
        "max_recipients: 7",
        "max_message: 1MiB",
        "max_header: 8KiB",
        "max_errors: 3",
        "max_commands: 30",
        "hide_server: true",
        "banner: mx.a.example ESMTP",
        "helo: MX.A.example",
        "received: add",
        "bare_newlines: normalise",
        "differing: strictest",
        "esmtp: {allow: [x-foo, X-BAR], etrn: allow}",
        "deadlines: {command: 10s, verdict: 1m}",
        top=TRUSTED,
    )
    assert found.limits.recipients == 7
    assert found.limits.message == 1024 * 1024
    assert found.limits.header_section == 8192
    assert found.limits.errors == 3
    assert found.limits.commands == 30
    assert found.hide_server
    assert found.banner == "mx.a.example ESMTP"
    assert found.helo == "mx.a.example"
    assert found.received
    assert found.bare_newlines == "normalise"
    assert found.esmtp_allow == {"X-FOO", "X-BAR"}
    assert found.etrn
    assert found.deadlines == Deadlines(command=10.0, verdict=60.0)


def test_an_empty_mapping_changes_nothing() -> None:
    default = policy().settings
    assert policy("session: {}").settings == default
    assert settings("esmtp: {}", "deadlines: {}") == default


def test_what_stands_there_as_default_is_the_default() -> None:
    default = policy().settings
    assert default == settings(
        "max_recipients: 100",
        "max_message: 50MiB",
        "max_header: 256KiB",
        "max_errors: 10",
        "max_commands: 100",
        "hide_server: false",
        "received: none",
        "bare_newlines: refuse",
        "esmtp: {etrn: strip}",
        "deadlines: {connect: 30s, greeting: 2m, tls: 30s, command: 5m, data: 3m, "
        "reply: 5m, data_reply: 2m, verdict: 4m, final_reply: 570s, keepalive: 2m, "
        "auto_tls: 300ms, stop: 1m}",
    )


def test_recipients_may_be_as_many_as_the_upstream_takes() -> None:
    assert settings("max_recipients: upstream").limits.recipients is None


@pytest.mark.parametrize(
    ("line", "slug"),
    [
        ("max_recipients: all", "bad-value"),
        ("max_recipients: 0", "bad-value"),
        ("max_recipients: []", "bad-type"),
        ("max_message: 100", "bad-value"),
        ("max_header: 1GiB", "bad-value"),
        ("max_errors: 0", "bad-value"),
        ("max_commands: 9", "bad-value"),
        ("hide_server: on", "bad-value"),
        ("banner: ~", "missing-value"),
        ("banner: ü", "bad-value"),
        ('banner: "a\\r\\nb"', "bad-value"),
        (f"banner: {'x' * 401}", "bad-value"),
        ("helo: a_b..c", "bad-domain"),
        ("received: yes", "bad-value"),
        ("differing: together", "bad-value"),
        ("rates: {}", "not-supported-yet"),
        ("max_foo: 1", "unknown-key"),
        ("esmtp: [X]", "bad-type"),
        ("esmtp: {allow: X}", "bad-type"),
        ("esmtp: {allow: [[X]]}", "bad-type"),
        ("esmtp: {allow: [chunking]}", "bad-value"),
        ("esmtp: {allow: [X=Y]}", "bad-value"),
        ("deadlines: {tls: 0s}", "bad-value"),
        ("deadlines: {final_reply: 601s}", "bad-value"),
        ("deadlines: {final_reply: 100s}", "bad-value"),
        ("deadlines: {verdict: 570s}", "bad-value"),
        ("deadlines: {verdikt: 1s}", "unknown-key"),
    ],
)
def test_a_bad_key_is_one_problem(line: str, slug: str) -> None:
    assert slugs(rules("session:", f"  {line}")) == [slug]


@pytest.mark.parametrize("keyword", sorted(sessionreader.NEVER_PASSED))
def test_no_list_overrules_the_dialogue(keyword: str) -> None:
    text = rules("session:", f"  esmtp: {{allow: [{keyword.lower()}]}}")
    assert slugs(text) == ["bad-value"]


@pytest.mark.parametrize(
    "keyword", ["STARTTLS", "8BITMIME", "BURL", "VRFY", "EXPN", "SEND", "XADR", "ONEX"]
)
def test_what_the_dialogue_knows_is_never_passed(keyword: str) -> None:
    """A keyword of ours, or a verb, that somebody adds to its table is one here too."""
    assert keyword in sessionreader.NEVER_PASSED


def test_etrn_needs_clients_that_are_trusted() -> None:
    text = rules("session: {esmtp: {etrn: allow}}")
    assert problems(text) == [
        '5:23: error: session.esmtp.etrn: allow needs "trusted_clients" [missing-key]'
    ]
    assert slugs(rules("session: {esmtp: {etrn: strip}}")) == []
    assert slugs(rules("session: {esmtp: {etrn: allow}}", top=TRUSTED)) == []
