"""``add_header``, ``bcc`` and ``notify``: what is done beside an action (contract 5).

They stand in a rule on content, in the answer to a finding or a verdict, and the first
two in a policy. None competes with another: of all rules that decide about a message,
all are done.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpguard.model.decision import SideActions
from smtpguard.policy.kinds import MAILBOX, Context, Kind, list_of, scalar
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Key


if TYPE_CHECKING:
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


MAX_SIDE = 10
"""Values of one key."""
MAX_FIELD = 900
"""Octets of a header field: on one line, of 998 (RFC 5322 2.1.1)."""
_FIELD = re.compile(r"([!-9;-~]+):[ ]*([ -~]*[!-~])")
_ONLY_ONCE = (
    *("date", "from", "sender", "reply-to", "to", "cc", "bcc", "message-id"),
    *("in-reply-to", "references", "subject"),
)
"""Fields of which a message has one at most (RFC 5322 3.6)."""
_NOT_YOURS = re.compile(
    r"(?i)content-.*|mime-version|x-smtpguard-.*|received|return-path|"
    r"received-spf|authentication-results|arc-.*|dkim-signature|" + "|".join(_ONLY_ONCE)
)
"""Fields that say how a message is read, who vouches for it, or that are ours."""


def _read_field(node: Node, context: Context) -> tuple[str, str] | None:
    found = scalar(node, context, "a header field such as X-Archive: yes")
    if found is None:
        return None
    parsed = _FIELD.fullmatch(found.text)
    if parsed is None or len(found.text) > MAX_FIELD:
        words = f"{shown(found.text)} is not NAME: VALUE of at most {MAX_FIELD} "
        words += "printable ASCII characters"
        context.error(found.mark, words, "bad-value")
        return None
    if _NOT_YOURS.fullmatch(parsed[1]):
        words = f"{shown(parsed[1])} cannot be added: a second one would change how "
        words += "the message is read, or who vouches for it"
        context.error(found.mark, words, "field-not-allowed")
        return None
    return parsed[1], parsed[2]


def _some[T](kind: Kind[T]) -> Kind[tuple[T, ...]]:
    """Return the kind of one value, or several different ones."""
    several = list_of(kind, single=True)

    def read(node: Node, context: Context) -> tuple[T, ...] | None:
        found = several.read(node, context)
        if found is None or len(found) <= MAX_SIDE:
            return found and tuple(dict.fromkeys(found))
        context.error(node.mark, f"more than {MAX_SIDE} of them", "bad-value")
        return None

    listed = {"type": "array", "items": kind.schema, "minItems": 1}
    return Kind(read, {"anyOf": [kind.schema, {**listed, "maxItems": MAX_SIDE}]})


ADD_HEADER = Key(
    "add_header",
    _some(
        Kind(_read_field, {"type": "string", "pattern": "^[!-9;-~]+: *[ -~]*[!-~]$"})
    ),
    "Header fields that are put on top of a message that goes on.",
)
MAILBOXES = _some(MAILBOX)
BCC = Key(
    "bcc",
    MAILBOXES,
    "Who gets a copy of a message that goes on, by delivery.",
)
NOTIFY = Key(
    "notify",
    MAILBOXES,
    "Who is told what became of the message, by delivery.",
)
SIDE = (ADD_HEADER, BCC, NOTIFY)


def read_side(fields: Fields) -> SideActions:
    """Return what a mapping asks for beside its action, as far as it could be read."""
    return SideActions(
        fields.get(ADD_HEADER, ()), fields.get(BCC, ()), fields.get(NOTIFY, ())
    )
