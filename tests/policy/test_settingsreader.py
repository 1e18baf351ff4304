from __future__ import annotations

import pytest

from smtpguard.model.settings import Settings
from tests.policy.rulefiles import loaded, policy, rules, slugs


def test_a_policy_without_settings_has_the_defaults_of_the_model() -> None:
    text = rules().replace("    identity: xclient\n", "")
    assert loaded(text).policies[0].settings == Settings(policy="p")


@pytest.mark.parametrize("word", ["none", "xclient", "proxy_v1", "proxy_v2"])
def test_identity(word: str) -> None:
    text = rules().replace("xclient", word)
    assert loaded(text).policies[0].settings.identity == word


def test_another_identity_is_refused() -> None:
    assert slugs(rules().replace("xclient", "xforward")) == ["bad-value"]


def test_settings_come_from_all_three_keys() -> None:
    found = policy("session: {max_errors: 5}", "tls: {inspect: false}").settings
    assert (found.identity, found.limits.errors, found.inspect) == ("xclient", 5, False)
