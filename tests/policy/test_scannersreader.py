from __future__ import annotations

import pytest

from smtpguard.model.scannerspec import ScannerSpec
from smtpguard.policy import load
from tests.policy.rulefiles import loaded, reader, rules, slugs


SCAN = 'content_types: [{match: "*", action: scan}]'


def spec(entry: str, *, spam: bool = False) -> ScannerSpec:
    table = "spam: {scanner: s, bulk: {at: 1, action: tag}}"
    lines = [table] if spam else [SCAN, "antivirus: {scanner: s}"]
    return loaded(rules(*lines, top=f"scanners:\n  s: {entry}\n")).scanners[0]


def test_a_scanner_has_defaults() -> None:
    found = spec('{type: clamd, address: "unix:/run/clamd.sock"}')
    assert found == ScannerSpec("s", "clamd", ("unix:/run/clamd.sock",))
    assert (found.timeout, found.max_size, found.concurrency) == (30, 25 << 20, 8)


def test_everything_can_be_said() -> None:
    found = spec(
        '{type: clamd, address: ["127.0.0.1:3310", "[::1]:3310", "host.test:1"], '
        "timeout: 5s, max_size: 1MiB, concurrency: 2}"
    )
    addresses = ("127.0.0.1:3310", "[::1]:3310", "host.test:1")
    assert found == ScannerSpec("s", "clamd", addresses, "", 5.0, 1 << 20, 2)


def test_rspamd_has_a_url() -> None:
    found = spec('{type: rspamd, url: "http://127.0.0.1:11333"}', spam=True)
    assert found.addresses == ("http://127.0.0.1:11333",)
    found = spec('{type: rspamd, address: "https://scan.test/"}', spam=True)
    assert found.addresses == ("https://scan.test/",)


def test_rules_of_yara_are_beside_the_file_that_names_them() -> None:
    text = rules(
        SCAN, "antivirus: {scanner: s}", top="scanners: {s: {type: yara, rules: y}}\n"
    )
    found = load("etc/rules.yaml", reader({"etc/rules.yaml": text})).scanners
    assert found == (ScannerSpec("s", "yara", (), "etc/y"),)


def test_only_scanners_that_somebody_asks_are_told() -> None:
    top = "scanners:\n  a: {type: yara}\n  b: {type: yara}\n"
    text = rules(SCAN, "antivirus: {scanner: [b, b]}", top=top)
    assert [one.name for one in loaded(text).scanners] == ["b"]


@pytest.mark.parametrize(
    ("entry", "slug"),
    [
        ("a", "bad-type"),
        ("{}", "missing-key"),
        ("{type: f-prot}", "bad-value"),
        ("{type: clamd}", "missing-key"),
        ("{type: clamd, address: []}", "missing-value"),
        ('{type: clamd, address: "clamd.sock"}', "bad-value"),
        ('{type: clamd, address: "127.0.0.1:0"}', "bad-value"),
        ('{type: clamd, address: "127.0.0.1:65536"}', "bad-value"),
        ('{type: clamd, address: "http://127.0.0.1:1"}', "bad-value"),
        ('{type: rspamd, url: "127.0.0.1:1"}', "bad-value"),
        ('{type: rspamd, url: "http://u:p@127.0.0.1:1"}', "bad-value"),
        ('{type: clamd, address: "a:1", rules: r}', "key-not-allowed-here"),
        ('{type: yara, address: "a:1"}', "key-not-allowed-here"),
        ('{type: clamd, address: "a:1", timeout: 91s}', "bad-value"),
        ('{type: clamd, address: "a:1", concurrency: 0}', "bad-value"),
        ('{type: clamd, address: "a:1", port: 1}', "unknown-key"),
    ],
)  # fmt: skip
def test_a_bad_scanner_is_one_problem(entry: str, slug: str) -> None:
    assert slugs(rules(top=f"scanners:\n  s: {entry}\n")) == [slug]


def test_names_are_checked() -> None:
    assert slugs(rules(top='scanners: {"a b": {type: yara}}\n')) == ["bad-value"]
    many = ", ".join(f"s{n}: {{type: yara}}" for n in range(33))
    assert slugs(rules(top=f"scanners: {{{many}}}\n")) == ["bad-value"]


def test_an_included_file_brings_scanners_of_other_names() -> None:
    top = "include: more.yaml\nscanners: {a: {type: yara}}\n"
    text = rules(SCAN, "antivirus: {scanner: [a, b]}", top=top)
    more = "version: 1\nscanners: {b: {type: yara}}\n"
    assert slugs(text, **{"more.yaml": more}) == []
    twice = "version: 1\nscanners: {a: {type: yara}}\n"
    assert "duplicate-name" in slugs(text, **{"more.yaml": twice})


def test_a_table_wants_scanners_of_its_kind() -> None:
    top = 'scanners: {v: {type: yara}, m: {type: rspamd, url: "http://a:1"}}\n'
    assert slugs(rules("antivirus: {scanner: m}", top=top)) == ["bad-value"]
    bulk = "bulk: {at: 1, action: tag}"
    assert slugs(rules(f"spam: {{scanner: v, {bulk}}}", top=top)) == ["bad-value"]
    assert slugs(rules("antivirus: {scanner: x}", top=top)) == ["unknown-scanner"]
