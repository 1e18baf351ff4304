from __future__ import annotations

from smtpguard.policy.facts import Facts, PartFacts
from tests.policy.rulefiles import message, session


def test_what_is_not_told_is_not_known() -> None:
    facts = Facts(session())
    assert facts.reverse_path is None
    assert facts.forward_path is None
    assert facts.header_from is None
    assert facts.size is None
    assert facts.now is None


def test_a_part_may_have_no_name() -> None:
    assert PartFacts("text/plain").names == ()
    assert message().now is None
