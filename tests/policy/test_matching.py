from __future__ import annotations

import pytest

from smtpguard.policy import lists
from smtpguard.policy.addresses import Address
from smtpguard.policy.matching import NETWORKS, What, read_addresses, texts
from smtpguard.policy.networks import parse_host
from smtpguard.policy.truth import Truth
from tests.policy.rulefiles import context, node, told


ANNA, BERT = Address("anna", "a.example"), Address("bert", "b.example")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"anna@a.example"', True),
        ('"@staff"', True),
        ('["bert@b.example", "@staff"]', True),
        ('["bert@b.example", "*@c.example"]', False),
        ('["@staff", "@others"]', True),
        ('"@others"', False),
        ('"*"', True),
    ],
)
def test_one_pattern_or_several(text: str, wanted: bool) -> None:
    found = context(staff=["anna@a.example"], others=["x@x.example"])
    patterns = read_addresses(node(text), found)
    assert told(found) == []
    assert patterns is not None
    assert patterns.test(ANNA) is Truth.of(wanted)


def test_patterns_know_what_they_are() -> None:
    found = context("own.example", staff=["*"])
    everything = read_addresses(node('["a@a.example", "*"]'), found)
    own = read_addresses(node('["a@a.example", "@own"]'), found)
    by_list = read_addresses(node('"@staff"'), found)
    assert everything is not None
    assert own is not None
    assert by_list is not None
    assert (everything.is_everything, everything.uses_own) == (True, False)
    assert (own.is_everything, own.uses_own) == (False, True)
    assert by_list.is_everything
    assert own.written == ("a@a.example", "@own")
    assert own.text == '"a@a.example", "@own"'


def test_many_patterns_are_shown_shortened() -> None:
    text = f"[{', '.join(f'u{n}@a.example' for n in range(8))}]"
    patterns = read_addresses(node(text), context())
    assert patterns is not None
    assert patterns.text.endswith('"u4@a.example" and 3 more')


def test_own_without_domains_in_one_of_several_is_not_known() -> None:
    patterns = read_addresses(node('["@own", "bert@b.example"]'), context())
    assert patterns is not None
    assert patterns.test(ANNA) is Truth.UNKNOWN
    assert patterns.test(BERT) is Truth.YES
    assert patterns.test(None) is Truth.NO


@pytest.mark.parametrize(
    ("text", "found_slugs"),
    [
        ('"a"', ["bad-pattern"]),
        (
            '["a", "@none", "b b@c.example"]',
            ["bad-pattern", "unknown-list", "bad-address"],
        ),
        ('"*@staff"', ["bad-pattern"]),
        ('"a@staff"', ["bad-pattern"]),
        ("[]", ["missing-value"]),
        ("{}", ["bad-type"]),
        ("~", ["missing-value"]),
        ('["a@a.example", ~]', ["missing-value"]),
        ('"a@\\u0007a.example"', ["bad-pattern"]),
        ('"regex:("', ["bad-regex"]),
    ],
)
def test_bad_patterns_are_all_told(text: str, found_slugs: list[str]) -> None:
    found = context(staff=["anna@a.example"])
    assert read_addresses(node(text), found) is None
    assert sorted(told(found)) == sorted(found_slugs)


def test_a_regex_may_end_in_the_name_of_a_list() -> None:
    found = context(staff=["anna@a.example"])
    patterns = read_addresses(node("'regex:.*@staff'"), found)
    assert patterns is not None
    assert patterns.test(Address("x", "staff")) is Truth.YES


@pytest.mark.parametrize(
    ("what", "text", "subject", "wanted"),
    [
        ("name", '"*.exe"', ("a.txt", "a.exe"), True),
        ("name", '["*.exe", "*.scr"]', ("a.scr",), True),
        ("name", '"*.exe"', ("a.txt",), False),
        ("name", '"@names"', ("a.exe",), True),
        ("name", '["*.bat", "@names"]', ("a.exe",), True),
        ("name", '"*"', ("",), True),
        ("type", "image/*", ("image/png",), True),
        ("type", '"*"', ("image/png",), True),
        ("type", '"regex:(image|text)/.*"', ("text/html",), True),
        ("helo", '"@own"', ("own.example",), True),
        ("helo", '"@own"', ("mx.own.example",), False),
        ("helo", '"*.own.example"', ("mx.own.example",), True),
    ],
)
def test_patterns_on_texts(
    what: What, text: str, subject: tuple[str, ...], wanted: bool
) -> None:
    found = context("own.example", names=["*.exe"])
    patterns = texts(what).read(node(text), found)
    assert told(found) == []
    assert patterns is not None
    assert patterns.test(subject) is Truth.of(wanted)
    assert patterns.is_everything == (text == '"*"')


@pytest.mark.parametrize(
    ("what", "text", "slug"),
    [
        ("type", "exe", "bad-pattern"),
        ("type", '"@own"', "bad-pattern"),
        ("name", '"@none"', "unknown-list"),
        ("name", "'regex:(?=a)'", "regex-not-linear"),
        ("name", "{}", "bad-type"),
        ("name", '"{a"', "bad-pattern"),
    ],
)
def test_bad_patterns_on_texts(what: What, text: str, slug: str) -> None:
    found = context("own.example")
    assert texts(what).read(node(text), found) is None
    assert told(found) == [slug]


def test_the_braces_of_a_file_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_ALTERNATIVES", 5)
    found = context()
    assert texts("name").read(node('["{a,b,c}", "{a,b,c}"]'), found) is None
    assert read_addresses(node('"{a,b}@c.example"'), found) is None
    assert told(found) == ["bad-pattern"] * 2


def test_networks_are_read_into_one_set() -> None:
    found = context()
    networks = NETWORKS.read(node("[10.0.0.0/8, 192.0.2.1]"), found)
    host = parse_host("192.0.2.1")
    assert networks is not None
    assert host is not None
    assert host in networks
    assert NETWORKS.read(node("[10.0.0.0/8, x, []]"), found) is None
    assert sorted(told(found)) == ["bad-network", "bad-type"]
