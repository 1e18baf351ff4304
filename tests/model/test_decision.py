from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.model.decision import Action, Decision, TraceStep, most_severe


def test_severity_is_the_order_in_which_findings_that_disagree_are_ranked() -> None:
    """The order of the contract's table of actions; rewrite competes with none."""
    ranked = sorted(set(Action) - {Action.REWRITE}, key=lambda action: action.severity)
    assert [str(action) for action in ranked] == [
        "block",
        "drop",
        "deny",
        "tempfail",
        "quarantine",
        "discard",
        "strip",
        "lock",
        "tag",
        "scan",
        "allow",
    ]


ORDER = [
    *(Action.DROP, Action.DENY, Action.TEMPFAIL, Action.DISCARD),
    *(Action.STRIP, Action.ALLOW),
]


@given(st.lists(st.sampled_from(ORDER), min_size=1, max_size=4))
def test_the_most_severe_decision_wins(actions: list[Action]) -> None:
    """contract 5: drop, deny, tempfail, discard, strip, allow."""
    decisions = [Decision(one, f"l:{n}") for n, one in enumerate(actions)]
    worst = most_severe(iter(decisions))
    assert worst.action is min(actions, key=ORDER.index)
    assert worst is decisions[actions.index(worst.action)]


def test_of_no_decision_none_is_the_most_severe() -> None:
    """Never an allow that nobody gave."""
    with pytest.raises(ValueError, match="empty"):
        most_severe([])


def test_trace_step_says_who_was_tried_on_what_and_why() -> None:
    step = TraceStep("filenames:3", None, "not known", "rules.yaml:7", "1.2")
    assert step.to_json() == {
        "rule": "filenames:3",
        "part": "1.2",
        "matched": None,
        "reason": "not known",
        "place": "rules.yaml:7",
    }
