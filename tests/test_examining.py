from __future__ import annotations

from smtpguard.examining import Examined
from smtpguard.model.contents import Fact
from smtpguard.model.decision import Action
from tests.judging import (
    ALLOW,
    TEXT_PART,
    attachment,
    lines,
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    rules,
)


def examined(*policy: str, mail: bytes) -> Examined:
    judge = make_pipeline(rules(*policy)).begin(make_session())
    return judge.examine(make_session(), make_envelope(), mail)


def test_each_part_and_field_has_its_decision_and_the_worst_counts() -> None:
    said = examined(
        names('{match: "*.exe", action: strip}'),
        f'headers: [{{match: "X-*", action: strip}}, {ALLOW}]',
        mail=lines("X-A: 1") + mixed(TEXT_PART, attachment("a.exe")),
    )
    assert {path: str(one.action) for path, one in said.parts.items()} == {
        "1.1": "allow",
        "1.2": "strip",
    }
    assert [field.name for field in said.removed()] == ["X-A"]
    assert said.worst().action is Action.STRIP
    assert said.tag() is None


def test_a_field_that_says_how_a_message_is_read_stays() -> None:
    said = examined(
        f'headers: [{{match: "Content-*", action: strip}}, {ALLOW}]',
        mail=mixed(TEXT_PART),
    )
    assert said.removed() == []
    assert any("stays" in decision.reason for _, decision in said.fields)


def test_without_rules_on_fields_none_is_asked_about() -> None:
    assert list(examined(mail=mixed(TEXT_PART)).fields) == []


def test_doubts_about_containers_are_told_once_each() -> None:
    mail = mixed(TEXT_PART).replace(b"--=_b--", b"")
    said = examined(names('{match: "*.exe", action: strip}'), mail=mail)
    rules_of = [decision.rule for decision in said.doubts]
    assert len(rules_of) == len(set(rules_of))
    assert Fact.AMBIGUOUS not in said.looks["1.1"].facts
