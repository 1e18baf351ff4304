"""What all recordings may hold together."""

from __future__ import annotations

from mitmproxy.test import tflow

from smtpguard.proxy.allowance import Allowance
from smtpguard.proxy.spool import Budget


def test_what_is_taken_is_taken_from_all() -> None:
    budget, first, second = Budget(100), tflow.ttcpflow(), tflow.ttcpflow()
    one, other = Allowance(first, budget), Allowance(second, budget)
    assert one.take(60)
    assert other.left == 40
    assert not other.take(41)
    assert other.take(40)
    assert not one.take(1)
    assert one.take(0)


def test_it_is_given_back_when_the_flow_is_gone() -> None:
    budget, flow, other = Budget(100), tflow.ttcpflow(), tflow.ttcpflow()
    one, two = Allowance(flow, budget), Allowance(other, budget)
    assert one.take(30)
    assert one.take(40)
    assert two.take(5)
    seen = [flow]
    del flow
    assert budget.left == 25
    seen.clear()
    assert budget.left == 95


def test_an_allowance_that_was_overdrawn_elsewhere_has_nothing_left() -> None:
    flow = tflow.ttcpflow()
    allowance = Allowance(flow, Budget(-5))
    assert allowance.left == 0
    assert not allowance.take(1)
