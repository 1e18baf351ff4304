from __future__ import annotations

import ipaddress

import pytest

from smtpguard.policy import load
from smtpguard.policy.blockreader import BlockSettings, NftSets
from smtpguard.policy.networks import NetworkSet
from tests.policy.rulefiles import loaded, problems, reader, rules, slugs


def read(text: str) -> BlockSettings | None:
    return loaded(rules(top=f"block: {text}\n")).block


def test_without_the_key_nobody_is_blocked() -> None:
    assert loaded(rules()).block is None


def test_defaults_are_those_of_the_contract() -> None:
    assert read("{folder: b}") == BlockSettings("b", 20 * 60, NetworkSet(()), None)


def test_every_value_is_taken() -> None:
    text = "{folder: b, time: 1h, exempt: [10.0.0.0/8], nftables: "
    text += "{family: ip, table: t, set: s, set6: s6}}"
    exempt = NetworkSet.of([ipaddress.ip_network("10.0.0.0/8")])
    sets = NftSets("ip", "t", "s", "s6")
    assert read(text) == BlockSettings("b", 3600, exempt, sets)


def test_anomalies_are_counted_where_it_is_said() -> None:
    found = read("{folder: b, anomalies: {sessions: 3}}")
    assert found is not None
    assert (found.anomalies, found.within) == (3, 600.0)
    found = read("{folder: b, anomalies: {sessions: 5, within: 1h}}")
    assert found is not None
    assert (found.anomalies, found.within) == (5, 3600.0)
    text = rules(top="block: {folder: b, anomalies: {within: 1h}}\n")
    assert slugs(text) == ["missing-key"]


def test_sets_have_names_by_default() -> None:
    found = read("{folder: b, nftables: {}}")
    assert found is not None
    assert found.nftables == NftSets("inet", "smtpblock", "blocked", "blocked6")


def test_the_folder_counts_from_that_of_the_rule_file() -> None:
    text = rules(top="block: {folder: ../b}\n")
    found = load("conf/r.yaml", reader({"conf/r.yaml": text})).block
    assert found is not None
    assert found.folder == "conf/../b"


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("", "missing-value"),
        ("b", "bad-type"),
        ("{}", "missing-key"),
        ("{folder: [b]}", "bad-type"),
        ("{folder: b, time: 20}", "bad-value"),
        ("{folder: b, time: 500ms}", "bad-value"),
        ("{folder: b, time: 31d}", "bad-value"),
        ("{folder: b, exempt: [mx.example]}", "bad-network"),
        ("{folder: b, nftables: {family: arp}}", "bad-value"),
        ("{folder: b, nftables: {set: [s]}}", "bad-type"),
        ('{folder: b, nftables: {set: "s; flush ruleset"}}', "bad-value"),
        ('{folder: b, nftables: {table: "a b"}}', "bad-value"),
        ('{folder: b, nftables: {set6: "{"}}', "bad-value"),
        ('{folder: b, nftables: {set6: "-f"}}', "bad-value"),
        ("{folder: b, for: 20m}", "unknown-key"),
    ],
)
def test_what_cannot_be_meant_is_an_error(text: str, slug: str) -> None:
    assert slugs(rules(top=f"block: {text}\n")) == [slug]


TRAP = '{match: "a@a.example", action: block}, {match: "*", action: deny}'
ALLOW = '{match: "*", action: allow}'
BLOCKED = '{match: "*", action: block}'


@pytest.mark.parametrize(
    "line",
    [
        f'helo: [{{match: "*.example", action: block}}, {ALLOW}]',
        f'mail_from: [{{match: "*", action: block, when: {{tls: true}}}}, {ALLOW}]',
        f'headers: [{{match: "X-A", action: block}}, {ALLOW}]',
        f'content_types: [{{match: "a/b", action: block}}, {ALLOW}]',
        f'filenames: [{{match: "*.exe", action: block}}, {ALLOW}]',
        f'filenames: [{{match: "*.exe", action: deny, on_unknown: block}}, {ALLOW}]',
        "ambiguous: block",
        "malformed: {action: block}",
        "limit: block",
        "antivirus: {scanner: a, infected: block}",
        "antivirus: {scanner: a, unavailable: {action: block}}",
        "spam: {scanner: r, confirmed: {at: 9, action: block}}",
        "spam: {scanner: r, bulk: {at: 9, action: deny}, error: block}",
        f"spam: {{scanner: r, bulk: {{at: 9, action: deny}}, exceptions: [{BLOCKED}]}}",
    ],
)
def test_the_action_needs_the_key_wherever_it_stands(line: str) -> None:
    scanners = "scanners: {a: {type: clamd, address: 'a:1'}, "
    scanners += "r: {type: rspamd, url: 'http://a:1'}}\n"
    [problem] = problems(rules(line, top=scanners))
    wanted = (
        'policy "p": the action block needs the top-level key "block" [missing-key]'
    )
    assert problem.endswith(wanted)
    assert "block" not in slugs(rules(line, top=f"{scanners}block: {{folder: b}}\n"))


def test_exempt_is_who_speaks_for_others_who_is_named_and_who_is_unknown() -> None:
    top = "trusted_clients: [{networks: [192.0.2.0/24], protocol: proxy}]\n"
    top += "block: {folder: b, exempt: [198.51.100.0/24, '2001:db8:1::/48']}\n"
    ruleset = loaded(rules(top=top, rcpt_to=TRAP))
    for address in ("192.0.2.9", "::ffff:198.51.100.1", "2001:db8:1:2::3", "unknown"):
        assert ruleset.is_exempt((address, 0))
    for address in ("203.0.113.1", "2001:db8:2::1"):
        assert not ruleset.is_exempt((address, 0))
