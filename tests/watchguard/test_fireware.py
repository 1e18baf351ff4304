from __future__ import annotations

import pytest

from smtpguard.watchguard.fireware import (
    FireAction,
    FireRule,
    FirewareError,
    read_actions,
)
from tests.watchguard.sample import RECIPIENTS, configuration, names, one, senders


def test_all_smtp_actions_are_found_and_no_others() -> None:
    found = read_actions(configuration())
    assert [(a.name, a.predefined, a.outgoing) for a in found] == [
        ("SMTP-Incoming", True, False),
        ("SMTP Incoming.1 (own)", False, False),
        ("SMTP-Outgoing.1", False, True),
    ]
    own = found[1]
    assert own.description == "Mail from outside"
    assert set(own.lists) == {
        *("greeting", "auth", "from", "to", "headers", "content-types"),
        *("file-patterns", "exceptions"),
    }
    assert len(own.lists["to"].rules) == RECIPIENTS + 3
    assert own.settings["timeout"] == "600"
    assert own.actions["anti-virus/virus-found"] == FireAction("strip")


def test_rules_are_read_whole_and_in_order() -> None:
    own = read_actions(configuration())[1]
    senders = own.lists["from"]
    assert senders.rules[0] == FireRule("bounces", FireAction("allow"), "string", "")
    spammer = senders.rules[1]
    assert (spammer.matcher, spammer.text, spammer.alarm) == (
        *("pattern", "*@*.spam.example"),
        True,
    )
    assert senders.rules[3].matcher == "regexp"
    assert [rule.enabled for rule in senders.rules] == [True, True, True, True, False]
    assert senders.fallthrough == FireAction("allow")
    moved = own.lists["to"].rules[1]
    assert moved.action == FireAction("replace", "*@own.example")
    exception = own.lists["exceptions"].rules[1]
    assert (exception.text, exception.recipient) == ("*", "abuse@own.example")


def test_an_action_that_is_not_known_is_told() -> None:
    xml = names("<rule><name>a</name><pattern>*.a</pattern><detonate/></rule>")
    [rule] = read_actions(one(xml))[0].lists["file-patterns"].rules
    assert rule.action == FireAction("", "detonate")


@pytest.mark.parametrize(
    ("inner", "action"),
    [
        ("<string>a</string><string>b</string><allow/>", FireAction("", "two of them")),
        ("<string>a</string><allow/><deny/>", FireAction("", "two of them")),
        ("<string>a</string>", FireAction("", "string")),
    ],
)
def test_a_rule_that_says_two_things_or_none_is_not_guessed(
    inner: str, action: FireAction
) -> None:
    xml = senders(f"<rule><name>a</name>{inner}</rule>")
    [rule] = read_actions(one(xml))[0].lists["from"].rules
    assert rule.action == action


def test_a_rule_without_a_matcher_and_what_is_new_in_it_are_told() -> None:
    xml = senders("<rule><name>a</name><geo>XX</geo><deny/></rule>")
    [rule] = read_actions(one(xml))[0].lists["from"].rules
    assert rule.unknown == ("geo", "no string, pattern or regexp")


def test_what_is_new_in_a_version_is_told_by_its_path() -> None:
    xml = one("", more="<message><sandbox>true</sandbox></message>")
    [found] = read_actions(xml)
    assert found.settings == {"message/sandbox": "true"}


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"no xml",
        b"<a>",
        b"\xff\xfe\x00",
        b"<?xml version='1.0' encoding='nowhere'?><a/>",
        b"<a>\x00</a>",
    ],
)
def test_what_is_no_xml_is_refused(octets: bytes) -> None:
    with pytest.raises(FirewareError, match="not XML"):
        read_actions(octets)


def test_entities_are_refused_before_they_grow() -> None:
    bomb = (
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">'
        b'<!ENTITY f SYSTEM "file:///etc/passwd">]><a>&b;&f;</a>'
    )
    with pytest.raises(FirewareError, match="DOCTYPE"):
        read_actions(bomb)


def test_a_file_without_smtp_has_no_actions() -> None:
    assert (
        read_actions(b"<profile><proxy-action><http/></proxy-action></profile>") == []
    )
