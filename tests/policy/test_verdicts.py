from __future__ import annotations

import pytest

from smtpguard.model.decision import Action, Decision
from smtpguard.model.verdict import Verdict, VerdictKind
from smtpguard.policy.antivirus import Antivirus
from smtpguard.policy.spam import Spam
from smtpguard.policy.verdicts import on_spam, on_virus, told
from tests.policy.rulefiles import policy


TOP = (
    "scanners: {a: {type: yara}, b: {type: yara}, "
    'r: {type: rspamd, url: "http://a:1"}}\n'
)
KINDS = VerdictKind
FAILURES = (KINDS.FAILED, KINDS.UNAVAILABLE, KINDS.OVERSIZE)


def antivirus(text: str = "") -> Antivirus:
    found = policy(f"antivirus: {{scanner: [a, b]{text}}}", top=TOP).antivirus
    assert found is not None
    return found


def spam(text: str) -> Spam:
    found = policy(f"spam: {{scanner: r, {text}}}", top=TOP).spam
    assert found is not None
    return found


def said(
    kind: VerdictKind, *more: VerdictKind, table: str = "", is_body: bool = False
) -> Decision:
    verdicts = [
        Verdict("a", one, "Eicar" if one is KINDS.INFECTED else "")
        for one in (kind, *more)
    ]
    return on_virus(antivirus(table), verdicts, "1.2", is_body=is_body)


@pytest.mark.parametrize(
    ("kind", "action", "rule", "reply"),
    [
        (KINDS.CLEAN, "allow", "antivirus.clean", "None"),
        (
            KINDS.INFECTED,
            "deny",
            "antivirus.infected",
            "550 5.7.1 Message refused by policy",
        ),
        (KINDS.ENCRYPTED, "lock", "antivirus.encrypted", "None"),
        (KINDS.OVERSIZE, "lock", "antivirus.oversize", "None"),
        (KINDS.FAILED, "tempfail", "antivirus.error", "451 4.7.1 Try again later"),
        (
            KINDS.UNAVAILABLE,
            "tempfail",
            "antivirus.unavailable",
            "451 4.7.1 Try again later",
        ),
    ],
)
def test_each_verdict_has_its_decision(
    kind: VerdictKind, action: str, rule: str, reply: str
) -> None:
    found = said(kind)
    assert (str(found.action), found.rule, str(found.reply)) == (action, rule, reply)
    [step] = found.trace
    assert (step.rule, step.part, step.matched) == (rule, "1.2", True)
    assert step.place.startswith("rules.yaml:")


def test_what_was_found_is_told_to_the_recipient() -> None:
    assert said(KINDS.INFECTED).virus == "Eicar"
    assert said(KINDS.FAILED).virus == "failed"


def test_an_own_reply_and_message_are_those_of_the_table() -> None:
    table = ', infected: {action: deny, reply: "554 5.7.1 Virus"}'
    found = said(KINDS.INFECTED, table=table)
    assert (str(found.reply), found.own_reply) == ("554 5.7.1 Virus", True)
    table = ', infected: {action: strip, message: "Gone"}'
    assert said(KINDS.INFECTED, table=table).message == "Gone"


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("action", ["lock", "strip"])
def test_a_text_is_not_replaced_since_it_could_not_be_scanned(
    kind: VerdictKind, action: str
) -> None:
    """The model destroyed mails by it (contract 6)."""
    word = {KINDS.FAILED: "error"}.get(kind, str(kind))
    table = f", {word}: {action}"
    assert said(kind, table=table, is_body=True).action is Action.TEMPFAIL
    assert said(kind, table=table, is_body=True).reply is not None
    assert str(said(kind, table=table).action) == action


@pytest.mark.parametrize("action", ["allow", "deny", "drop"])
def test_other_actions_hold_for_a_text_too(action: str) -> None:
    found = said(KINDS.FAILED, table=f", error: {action}", is_body=True)
    assert str(found.action) == action


def test_an_infected_text_is_replaced() -> None:
    found = said(KINDS.INFECTED, table=", infected: strip", is_body=True)
    assert found.action is Action.STRIP


@pytest.mark.parametrize("action", ["strip", "lock"])
@pytest.mark.parametrize(
    ("word", "kind", "wanted"),
    [
        ("infected", KINDS.INFECTED, "deny"),
        ("encrypted", KINDS.ENCRYPTED, "allow"),
        ("oversize", KINDS.OVERSIZE, "allow"),
        ("error", KINDS.FAILED, "tempfail"),
        ("error", KINDS.SCORED, "tempfail"),
        ("unavailable", KINDS.UNAVAILABLE, "tempfail"),
    ],
)
def test_a_whole_message_cannot_be_replaced(
    action: str, word: str, kind: VerdictKind, wanted: str
) -> None:
    """What of it is encrypted or too large, its parts were scanned for themselves."""
    verdicts = [Verdict("a", kind)]
    table = antivirus(f", {word}: {action}")
    found = on_virus(table, verdicts, "", is_body=False)
    assert str(found.action) == wanted
    assert (found.reply is None) == (wanted == "allow")


def test_the_scanner_that_knows_counts() -> None:
    assert said(KINDS.FAILED, KINDS.CLEAN).action is Action.ALLOW
    assert said(KINDS.OVERSIZE, KINDS.INFECTED).action is Action.DENY


def test_where_none_knows_the_worst_counts() -> None:
    table = ", oversize: allow, error: deny, unavailable: tempfail"
    found = said(KINDS.FAILED, KINDS.OVERSIZE, table=table)
    assert found.rule == "antivirus.error"
    found = said(KINDS.UNAVAILABLE, KINDS.OVERSIZE, table=table)
    assert found.rule == "antivirus.unavailable"


CATEGORIES = (
    "confirmed: {at: 15, action: deny}, bulk: {at: 8, action: tag}, "
    'suspect: {at: 5, action: tempfail, reply: "450 4.7.1 Hm"}'
)


@pytest.mark.parametrize(
    ("score", "action", "rule", "reply"),
    [
        (0.0, "allow", "spam.clean", "None"),
        (5.0, "tempfail", "spam.suspect", "450 4.7.1 Hm"),
        (8.5, "tag", "spam.bulk", "None"),
        (
            99.0,
            "deny",
            "spam.confirmed",
            "571 5.7.1 Delivery not authorized, message refused",
        ),
    ],
)
def test_each_category_has_its_decision(
    score: float, action: str, rule: str, reply: str
) -> None:
    found = on_spam(spam(CATEGORIES), [Verdict("r", KINDS.SCORED, score=score)])
    assert (str(found.action), found.rule, str(found.reply)) == (action, rule, reply)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_message_that_was_not_scored_has_its_decision(kind: VerdictKind) -> None:
    found = on_spam(spam(CATEGORIES), [Verdict("r", kind)])
    wanted = Action.ALLOW if kind is KINDS.OVERSIZE else Action.TEMPFAIL
    assert found.action is wanted
    several = [Verdict("r", kind), Verdict("r", KINDS.SCORED, score=20.0)]
    assert on_spam(spam(CATEGORIES), several).action is Action.DENY


def test_a_scored_verdict_without_a_score_is_no_pass() -> None:
    found = on_spam(spam(CATEGORIES), [Verdict("r", KINDS.SCORED)])
    assert found.action is Action.TEMPFAIL


def test_what_a_virus_scanner_cannot_say_is_no_pass() -> None:
    for kind in (KINDS.SCORED, KINDS.SKIPPED):
        assert said(kind).action is Action.TEMPFAIL


def test_a_verdict_is_told_in_words() -> None:
    assert told(Verdict("a", KINDS.INFECTED, "Eicar")) == "a: infected (Eicar)"
    assert told(Verdict("a", KINDS.FAILED, reason="gone")) == "a: failed (gone)"
    assert told(Verdict("a", KINDS.CLEAN)) == "a: clean"
