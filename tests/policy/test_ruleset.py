from __future__ import annotations

import pytest

from smtpguard.model.decision import Action
from smtpguard.policy import PartFacts, Ruleset
from smtpguard.policy.ruleset import UNDECIDED_POLICY
from tests.policy.rulefiles import envelope, loaded, message, path, session


RULES = loaded("""
version: 1
trusted_clients:
  - {networks: 10.0.0.1, protocol: proxy}
  - {networks: [10.0.0.0/8, "fd00::/8"], protocol: xclient}
policies:
  - name: outbound
    when: {source: 10.0.0.0/8}
    rcpt_to: [{match: "*", action: allow}]
  - name: submission
    when: {port: [465, 587]}
    rcpt_to: [{match: "*", action: allow}]
  - name: inbound
    identity: xclient
    rcpt_to: [{match: "*", action: deny}]
""")


@pytest.mark.parametrize(
    ("client", "port", "name"),
    [
        ("10.1.2.3", 25, "outbound"),
        ("10.1.2.3", 587, "outbound"),
        ("192.0.2.1", 587, "submission"),
        ("192.0.2.1", 25, "inbound"),
        ("2001:db8::1", 25, "inbound"),
    ],
)
def test_the_first_policy_that_holds_is_taken(
    client: str, port: int, name: str
) -> None:
    chosen = RULES.choose(session(client, ("198.51.100.25", port)))
    assert chosen.name == name
    assert chosen.settings.policy == name
    assert RULES.named(name) is chosen


def test_there_is_no_policy_of_another_name() -> None:
    assert RULES.named("nobody") is None


def test_a_client_that_cannot_be_known_gets_nothing_accepted() -> None:
    """It may be one that an earlier policy would have refused."""
    chosen = RULES.choose(session("[UNAVAILABLE]"))
    asked = session("[UNAVAILABLE]")
    decisions = [
        chosen.helo(asked),
        chosen.mail(asked, path("a@a.example")),
        chosen.rcpt(asked, envelope(), path("b@b.example")),
        chosen.part(PartFacts("text/plain"), message()),
    ]
    assert chosen.name == "undecided"
    assert [one.action for one in decisions] == [Action.TEMPFAIL] * 4
    assert all(one.reply and one.reply.is_transient for one in decisions)


@pytest.mark.parametrize(
    ("client", "protocol"),
    [
        ("10.0.0.1", "proxy"),
        ("10.0.0.2", "xclient"),
        ("::ffff:10.0.0.2", "xclient"),
        ("fd00::1", "xclient"),
        ("192.0.2.1", None),
        ("unknown", None),
    ],
)
def test_only_clients_in_the_list_are_trusted(
    client: str, protocol: str | None
) -> None:
    trusted = RULES.trusted((client, 25))
    assert (trusted and trusted.protocol) == protocol


def test_a_rule_set_without_policies_accepts_nothing() -> None:
    assert Ruleset(()).choose(session()) is UNDECIDED_POLICY


def test_a_rule_set_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        RULES.policies = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        RULES.policies[0].rcpt_to[0].action = Action.DENY  # type: ignore[misc]
