from __future__ import annotations

import pytest

from smtpguard.policy.dnsreader import MAX_SERVERS, DnsSettings
from tests.policy.rulefiles import loaded, problems, rules, slugs


def read(text: str) -> DnsSettings:
    return loaded(rules(top=f"dns: {text}\n")).dns


def test_by_default_the_system_is_asked_for_five_seconds() -> None:
    assert loaded(rules()).dns == read("{}") == DnsSettings((), 5.0)
    assert read("{timeout: 9s}") == DnsSettings((), 9.0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ('"::1"', ("::1", 53)),
        ('"[::1]"', ("::1", 53)),
        ('"[2001:db8::1]:5353"', ("2001:db8::1", 5353)),
    ],
)
def test_servers_are_addresses_with_or_without_port(
    text: str, wanted: tuple[str, int]
) -> None:
    assert read(f"{{servers: [{text}]}}").servers == (wanted,)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("{servers: [ns.own.test]}", "bad-value"),
        ("{servers: ['127.0.0.1:0']}", "bad-value"),
        ("{servers: ['127.0.0.1:65536']}", "bad-value"),
        ("{servers: ['[::1]5353']}", "bad-value"),
        ("{servers: ['127.0.0.1/8']}", "bad-value"),
        (f"{{servers: [{', '.join(['127.0.0.1'] * (MAX_SERVERS + 1))}]}}", "bad-value"),
        ("{servers: []}", "missing-value"),
        ("{servers: 127.0.0.1}", "bad-type"),
        ("{servers: [[127.0.0.1]]}", "bad-type"),
        ("{timeout: 0s}", "bad-value"),
        ("{timeout: 31s}", "bad-value"),
        ("{server: [127.0.0.1]}", "unknown-key"),
    ],
)
def test_what_cannot_be_asked_is_an_error(text: str, slug: str) -> None:
    assert slugs(rules(top=f"dns: {text}\n")) == [slug]


def test_the_error_says_where_and_what() -> None:
    (problem,) = problems(rules(top="dns: {servers: [ns.test]}\n"))
    assert problem == (
        '2:17: error: dns.servers: "ns.test" is no address such as 127.0.0.1 or '
        "[::1]:5353 [bad-value]"
    )
