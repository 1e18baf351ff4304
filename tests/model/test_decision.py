from __future__ import annotations

from smtpguard.model.decision import Action, TraceStep


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


def test_trace_step_says_who_was_tried_on_what_and_why() -> None:
    step = TraceStep("filenames:3", None, "not known", "rules.yaml:7", "1.2")
    assert step.to_json() == {
        "rule": "filenames:3",
        "part": "1.2",
        "matched": None,
        "reason": "not known",
        "place": "rules.yaml:7",
    }
