from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy.actions import LISTS, ListSpec
from smtpguard.policy.conditions import CONDITIONS


BY_NAME = {spec.name: spec for spec in LISTS}


def test_every_list_can_let_pass_and_refuse() -> None:
    for spec in LISTS:
        assert {Action.ALLOW, Action.DENY, Action.TEMPFAIL} <= set(spec.actions)


@pytest.mark.parametrize("spec", LISTS, ids=BY_NAME)
def test_every_list_knows_conditions_that_exist(spec: ListSpec) -> None:
    assert set(spec.conditions) <= CONDITIONS.keys()


def test_discard_is_about_whole_messages_only() -> None:
    """contract 5: a 250 to MAIL or RCPT would be no acceptance of anything."""
    with_discard = {s.name for s in LISTS if Action.DISCARD in s.actions}
    assert with_discard == {"headers", "content_types", "filenames"}


def test_rewrite_is_about_addresses_only() -> None:
    with_rewrite = {s.name for s in LISTS if Action.REWRITE in s.actions}
    assert with_rewrite == {"mail_from", "rcpt_to"}


def test_what_is_not_known_cannot_be_rewritten() -> None:
    assert BY_NAME["rcpt_to"].unknown_actions == (
        *("allow", "deny", "tempfail", "drop", "block", "skip"),
    )


def test_only_rcpt_to_must_be_there() -> None:
    assert [spec.name for spec in LISTS if spec.required] == ["rcpt_to"]
