"""The rule language: YAML in, decisions out (contract 5).

``load`` reads a rule file into a frozen ``Ruleset``; ``Ruleset.choose`` picks the
``Policy`` of a session; the policy judges HELO, MAIL, RCPT and each part. Pure but
for ``files``: files come through a function, time and every other fact as values.
"""

from smtpguard.policy.facts import MessageFacts, PartFacts
from smtpguard.policy.handling import Handling
from smtpguard.policy.loading import check, load
from smtpguard.policy.policies import Policy
from smtpguard.policy.ruleset import Ruleset


__all__ = [
    "Handling",
    "MessageFacts",
    "PartFacts",
    "Policy",
    "Ruleset",
    "check",
    "load",
]
