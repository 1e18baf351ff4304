"""Replies of rules: the defaults of each action, and ``reply:`` (contract 5).

A reply must fit its action, else a list that means "not now" could answer "never" and
lose mail: deny is 5yz, tempfail 4yz, and the enhanced code is of the same class
(RFC 3463). 421 closes the session and is not for rules to say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from smtpguard.model.decision import Action
from smtpguard.model.reply import Reply
from smtpguard.policy.kinds import Context, Kind, scalar
from smtpguard.policy.problems import shown


if TYPE_CHECKING:
    from smtpguard.policy.yamlsource import Node


MAX_REPLY_LINE = 512
"""Octets with CRLF (RFC 5321 4.5.3.1.5)."""

REVERSE_PATH_DENIED = Reply.make(550, "5.7.1", "Sender address rejected")
UNKNOWN_RECIPIENT = Reply.make(550, "5.1.1", "Mailbox unavailable")
RELAYING_DENIED = Reply.make(550, "5.7.1", "Relaying denied")
MESSAGE_DENIED = Reply.make(550, "5.7.1", "Message refused by policy")
TRY_LATER = Reply.make(451, "4.7.1", "Try again later")
UNDECIDED = Reply.make(451, "4.3.0", "Not decided, try again later")

# RFC 2034 4: no enhanced codes in replies to HELO and EHLO.
HELO_DENIED = Reply.make(550, "", "HELO name rejected")
HELO_LATER = Reply.make(450, "", "HELO name not accepted now, try again later")

# 571 is out of RFC 5321's own grammar and in use all the same.
_REPLY = re.compile(r"([2-5][0-9][0-9]) (.*)")
_CLASS = {Action.DENY: "5", Action.TEMPFAIL: "4"}


def parse_reply(text: str, action: Action) -> Reply:
    """Return the reply of a rule; raises ValueError where it must not be sent.

    ``text`` is ``CODE [ENHANCED] TEXT``; ``action`` is deny or tempfail.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError("only printable ASCII characters can be sent")
    octets = len(text) + len("\r\n")
    if octets > MAX_REPLY_LINE:
        raise ValueError(f"{octets} octets with CRLF, {MAX_REPLY_LINE} are allowed")
    found = _REPLY.fullmatch(text)
    code, words = found.groups() if found else ("", "")
    reply = Reply.make(int(code or 0), "", words)
    if not words.removeprefix(reply.enhanced).strip():
        raise ValueError('not a reply such as "550 5.7.1 Not allowed"')
    wanted = _CLASS[action]
    if code[0] != wanted:
        raise ValueError(f"{action} answers {wanted}yz, not {code}")
    if code == "421":
        raise ValueError("421 closes the session and is not for a rule to say")
    enhanced = reply.enhanced
    if enhanced and enhanced[0] != wanted:
        raise ValueError(f"the enhanced code {enhanced} is not of the class of {code}")
    return reply


def _read_reply(node: Node, context: Context) -> str | None:
    found = scalar(node, context, 'a reply such as "550 5.7.1 Not allowed"')
    return None if found is None else found.text


REPLY: Kind[str] = Kind(
    _read_reply,
    {
        "type": "string",
        "maxLength": MAX_REPLY_LINE - len("\r\n"),
        "pattern": r"^[45][0-9][0-9] [ -~]*[!-~][ -~]*$",
    },
)
"""The text only: what it must be depends on the action, see ``parse_reply``."""


def describe(text: str, error: ValueError) -> str:
    """Return what a problem says about a reply."""
    return f"reply {shown(text)}: {error}"
