from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.model.decision import Action
from smtpguard.model.reply import Reply
from smtpguard.policy.engine import apply, evaluate
from smtpguard.policy.facts import Facts
from smtpguard.policy.problems import Mark
from smtpguard.policy.replies import TRY_LATER, UNDECIDED
from smtpguard.policy.rules import Rule
from smtpguard.policy.truth import Truth
from tests.policy.rulefiles import session


FACTS = Facts(session())
MARK = Mark("f", 1, 1)
OWN_REPLY = Reply.make(554, "5.7.1", "Own words")


@dataclass(frozen=True, slots=True)
class Says:
    """Patterns or a condition that always say the same."""

    truth: Truth
    name: str = "says"
    text: str = '"x"'
    is_everything: bool = False

    def told(self, _subject: object, shown_as: str) -> str:
        return shown_as

    def test(self, *_: object) -> Truth:
        return self.truth


def rule(number: int, says: Truth, action: Action, **keys: object) -> Rule[str]:
    made: Rule[str] = Rule(f"l:{number}", MARK, Says(says), action, place="f:1")
    return replace(made, **keys)  # type: ignore[arg-type]


def decide(*rules: Rule[str]) -> tuple[Action, str]:
    ruling = evaluate(rules, "s", "s", FACTS, ())
    return ruling.action, ruling.rule.id if ruling.rule else ""


YES, NO, UNKNOWN = Truth
truths = st.sampled_from(Truth)


@st.composite
def made_rules(draw: st.DrawFn, number: int = 1) -> Rule[str]:
    conditions = st.lists(truths.map(Says), max_size=3).map(tuple)
    skips = st.sampled_from([None, Action.TEMPFAIL, Action.DENY])
    return rule(
        number,
        draw(truths),
        draw(st.sampled_from([Action.ALLOW, Action.DENY, Action.DROP])),
        when=draw(conditions),
        unless=draw(conditions),
        on_unknown=draw(skips),
    )


def test_the_first_rule_that_matches_decides() -> None:
    first = rule(1, NO, Action.DENY)
    second = rule(2, YES, Action.ALLOW)
    third = rule(3, YES, Action.DROP)
    assert decide(first, second, third) == (Action.ALLOW, "l:2")
    assert decide(first, third, second) == (Action.DROP, "l:3")


@given(st.lists(made_rules(), max_size=4), made_rules())
def test_a_rule_after_a_decisive_one_changes_nothing(
    rules: list[Rule[str]], more: Rule[str]
) -> None:
    before = evaluate(rules, "s", "s", FACTS, ())
    if before.rule is not None:
        assert evaluate([*rules, more], "s", "s", FACTS, ()) == before


@given(made_rules(), st.lists(made_rules(), max_size=4))
def test_a_rule_that_does_not_apply_changes_only_the_trace(
    extra: Rule[str], rules: list[Rule[str]]
) -> None:
    truth, _ = apply(extra, "s", "s", FACTS, ())
    skipped = truth is NO or (truth is UNKNOWN and extra.on_unknown is None)
    if skipped:
        assert decide(extra, *rules) == decide(*rules)


@given(made_rules())
def test_a_rule_applies_as_three_valued_logic_says(made: Rule[str]) -> None:
    order = {NO: 0, UNKNOWN: 1, YES: 2}
    unless = [one.test(FACTS, ()) for one in made.unless]
    held = min(unless, key=lambda truth: order[truth], default=NO)
    when = [one.test(FACTS, ()) for one in made.when]
    parts = [made.match.test("s"), held.negate(), *when]
    wanted = min(parts, key=lambda truth: order[truth])
    assert apply(made, "s", "s", FACTS, ())[0] is wanted


@given(st.lists(made_rules(), max_size=5))
def test_every_try_is_told(rules: list[Rule[str]]) -> None:
    ruling = evaluate(rules, "s", "s", FACTS, ())
    tried = len(ruling.trace)
    assert tried <= len(rules)
    assert all(step.reason and step.place == "f:1" for step in ruling.trace)
    assert all(step.matched is not True for step in ruling.trace[:-1])
    if ruling.rule is not None:
        assert ruling.trace[-1].matched is (True if ruling.known else None)


@pytest.mark.parametrize(
    ("keys", "truth", "reason"),
    [
        ({}, YES, 's is "x"'),
        ({"match": Says(NO)}, NO, 'match: s is not "x"'),
        ({"match": Says(UNKNOWN)}, UNKNOWN, 'match: "x" is not known'),
        ({"when": (Says(YES),)}, YES, 's is "x"'),
        ({"when": (Says(NO),)}, NO, "when.says does not hold"),
        ({"when": (Says(UNKNOWN),)}, UNKNOWN, "when.says is not known"),
        ({"when": (Says(UNKNOWN), Says(NO, "b"))}, NO, "when.b does not hold"),
        ({"unless": (Says(NO),)}, YES, 's is "x"'),
        ({"unless": (Says(YES),)}, NO, "unless.says holds"),
        ({"unless": (Says(UNKNOWN),)}, UNKNOWN, "unless.says is not known"),
        ({"unless": (Says(YES), Says(NO, "b"))}, YES, 's is "x"'),
        ({"unless": (Says(YES), Says(YES, "b"))}, NO, "unless.says, b holds"),
        ({"unless": (Says(YES), Says(UNKNOWN))}, UNKNOWN, None),
        ({"match": Says(UNKNOWN), "unless": (Says(YES),)}, NO, "unless.says holds"),
        ({"match": Says(UNKNOWN), "when": (Says(UNKNOWN),)}, UNKNOWN, None),
    ],
)
def test_a_rule_says_why(
    keys: dict[str, object], truth: Truth, reason: str | None
) -> None:
    found = apply(rule(1, YES, Action.DENY, **keys), "s", "s", FACTS, ())
    assert found[0] is truth
    assert reason is None or found[1] == reason


def test_what_is_not_known_is_decided_by_on_unknown() -> None:
    last = rule(2, YES, Action.ALLOW)
    assert decide(rule(1, UNKNOWN, Action.ALLOW), last) == (Action.TEMPFAIL, "l:1")
    deny = rule(1, UNKNOWN, Action.ALLOW, on_unknown=Action.DENY)
    assert decide(deny, last) == (Action.DENY, "l:1")
    skip = rule(1, UNKNOWN, Action.DENY, on_unknown=None)
    assert decide(skip, last) == (Action.ALLOW, "l:2")


def test_rules_that_end_without_a_decision_tempfail() -> None:
    for rules in ([], [rule(1, NO, Action.ALLOW)]):
        ruling = evaluate(rules, "s", "s", FACTS, ())
        decision = ruling.decision(TRY_LATER)
        assert decision.action is Action.TEMPFAIL
        assert decision.reply is UNDECIDED
        assert decision.rule == ""


DEFAULT = Reply.make(550, "5.7.1", "Default")


@pytest.mark.parametrize(
    ("made", "reply"),
    [
        (rule(1, YES, Action.ALLOW), None),
        (rule(1, YES, Action.DROP), None),
        (rule(1, YES, Action.DENY), DEFAULT),
        (rule(1, YES, Action.DENY, reply=OWN_REPLY), OWN_REPLY),
        (rule(1, UNKNOWN, Action.DENY, reply=OWN_REPLY), UNDECIDED),
        (
            rule(1, UNKNOWN, Action.DENY, reply=OWN_REPLY, on_unknown=Action.DENY),
            OWN_REPLY,
        ),
        (rule(1, UNKNOWN, Action.ALLOW, on_unknown=Action.DENY), DEFAULT),
        (rule(1, UNKNOWN, Action.ALLOW, on_unknown=Action.ALLOW), None),
    ],
)
def test_a_reply_goes_with_the_action_it_was_written_for(
    made: Rule[str], reply: Reply | None
) -> None:
    decision = evaluate([made], "s", "s", FACTS, ()).decision(DEFAULT)
    assert decision.reply is reply
    assert decision.own_reply == (reply is OWN_REPLY)
    assert decision.rule == "l:1"
    assert decision.reason == decision.trace[-1].reason
