from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy.endings import Ending, ending_kind
from smtpguard.policy.kinds import Context
from smtpguard.policy.lists import Lists
from smtpguard.policy.problems import Sink
from tests.policy.rulefiles import node


ACTIONS = (Action.ALLOW, Action.DENY, Action.TEMPFAIL, Action.STRIP)


def read(text: str) -> tuple[Ending | None, list[str]]:
    sink = Sink()
    kind = ending_kind(ACTIONS, of_parts=True)
    found = kind.read(node(text), Context(sink, Lists(sink)))
    return found, [one.slug for one in sink.problems]


def test_a_word_is_an_action() -> None:
    assert read("strip") == (Ending(Action.STRIP), [])


def test_a_mapping_says_more() -> None:
    found, _ = read('{action: deny, reply: "554 5.7.1 No"}')
    assert found is not None
    assert (found.action, str(found.reply)) == (Action.DENY, "554 5.7.1 No")
    found, _ = read('{action: strip, message: "Gone: %(virus)s"}')
    assert found == Ending(Action.STRIP, message="Gone: %(virus)s")


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("explode", "bad-value"),
        ("block", "bad-value"),
        ("[deny]", "bad-type"),
        ("{reply: x}", "missing-key"),
        ('{action: strip, reply: "550 5.7.1 No"}', "key-not-allowed-here"),
        ("{action: deny, message: a}", "key-not-allowed-here"),
        ('{action: deny, reply: "250 2.0.0 OK"}', "bad-reply"),
        ('{action: tempfail, reply: "550 5.7.1 No"}', "bad-reply"),
        ("{action: deny, why: a}", "unknown-key"),
    ],
)
def test_a_bad_ending_is_one_problem(text: str, slug: str) -> None:
    found, slugs = read(text)
    assert slugs == [slug]
    assert found is None or slug == "unknown-key"


def test_a_message_belongs_where_something_is_replaced() -> None:
    sink = Sink()
    kind = ending_kind((Action.ALLOW, Action.DENY))
    kind.read(node("{action: deny, message: a}"), Context(sink, Lists(sink)))
    assert [one.slug for one in sink.problems] == ["unknown-key"]
