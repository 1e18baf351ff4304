"""Actions: which list knows which (contract 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from smtpguard.model.decision import Action


type Subjects = Literal["address", "helo", "field", "type", "name"]
"""What the rules of a list are about."""

_ADDRESSES = (
    Action.ALLOW,
    Action.DENY,
    Action.TEMPFAIL,
    Action.REWRITE,
    Action.DROP,
    Action.BLOCK,
)
PARTS = (
    Action.ALLOW,
    Action.SCAN,
    Action.DENY,
    Action.TEMPFAIL,
    Action.STRIP,
    Action.LOCK,
    Action.QUARANTINE,
    Action.DISCARD,
    Action.DROP,
    Action.BLOCK,
)
"""What becomes of parts."""
_FIELDS = tuple(one for one in PARTS if one not in (Action.LOCK, Action.SCAN))
_CONNECTION = ("source", "helo", "authenticated", "tls")
MESSAGE_CONDITIONS = (*_CONNECTION, "from", "to", "header_from", "size", "time")
"""Conditions on what is known of a whole message."""

SIDE_ACTIONS = ("add_header", "bcc", "notify")
"""Words that stand beside an action and do not compete with it."""

REPLYING = frozenset({Action.DENY, Action.TEMPFAIL})
"""Actions that answer, and may have a ``reply:``."""

EDITING = frozenset({Action.STRIP, Action.LOCK, Action.QUARANTINE})
"""Actions that leave a deny message where a part was, and may have a ``message:``."""

SKIP = "skip"
"""``on_unknown: skip``: the rule is passed over, as if it did not match."""


@dataclass(frozen=True, slots=True)
class ListSpec:
    """One ordered list of rules of a policy."""

    name: str
    doc: str
    """One sentence for editors."""
    subjects: Subjects
    actions: tuple[Action, ...]
    conditions: tuple[str, ...]
    required: bool = False

    @property
    def is_on_messages(self) -> bool:
        """Whether its rules are asked when the message is there."""
        return self.conditions == MESSAGE_CONDITIONS

    @property
    def unknown_actions(self) -> tuple[str, ...]:
        """What ``on_unknown`` may be: an action that needs nothing more, or skip."""
        words = [str(one) for one in self.actions if one is not Action.REWRITE]
        return (*words, SKIP)


LISTS = (
    ListSpec(
        "helo",
        "Rules on the name in HELO and EHLO.",
        "helo",
        (Action.ALLOW, Action.DENY, Action.TEMPFAIL, Action.DROP, Action.BLOCK),
        (*_CONNECTION, "time"),
    ),
    ListSpec(
        "mail_from",
        "Rules on the reverse-path (MAIL FROM).",
        "address",
        _ADDRESSES,
        (*_CONNECTION, "from", "size", "time"),
    ),
    ListSpec(
        "rcpt_to",
        "Rules on each forward-path (RCPT TO).",
        "address",
        _ADDRESSES,
        (*_CONNECTION, "from", "to", "size", "time"),
        required=True,
    ),
    ListSpec(
        "headers",
        "Rules on each header field of the message.",
        "field",
        _FIELDS,
        MESSAGE_CONDITIONS,
    ),
    ListSpec(
        "content_types",
        "Rules on the content type of each part.",
        "type",
        PARTS,
        MESSAGE_CONDITIONS,
    ),
    ListSpec(
        "filenames",
        "Rules on the file name of each part.",
        "name",
        PARTS,
        MESSAGE_CONDITIONS,
    ),
)
"""In the order in which they are asked."""
