"""What becomes of something that was found: an action, and what is said to it.

``infected: deny`` or ``infected: {action: deny, reply: "550 5.7.1 Virus"}``: the form
of all settings that answer a finding or a verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.model.decision import NO_SIDE, Action, SideActions
from smtpguard.policy.actions import EDITING, REPLYING
from smtpguard.policy.kinds import Context, Kind, choice
from smtpguard.policy.notices import MESSAGE
from smtpguard.policy.replies import REPLY, describe, parse_reply
from smtpguard.policy.shapes import Fields, Key, Shape
from smtpguard.policy.sideactions import SIDE, read_side
from smtpguard.policy.yamlsource import Scalar


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply
    from smtpguard.policy.yamlsource import Node


@dataclass(frozen=True, slots=True)
class Ending:
    """What becomes of a message or part."""

    action: Action
    reply: Reply | None = None
    """None: the default of the action."""
    message: str = ""
    """Deny message of strip and lock; "" takes the policy's."""
    side: SideActions = NO_SIDE
    """What is done beside it."""


REPLY_KEY = Key("reply", REPLY, "What is answered, for deny and tempfail.")


def action_key(actions: tuple[Action, ...]) -> Key[str]:
    """Return the key ``action`` for these."""
    kind = choice(*map(str, actions))
    return Key("action", kind, "What becomes of it.", required=True)


def ending_kind(actions: tuple[Action, ...], *, of_parts: bool = False) -> Kind[Ending]:
    """Return the kind of endings with one of these actions, ``of_parts`` or of whole
    messages."""
    action = action_key(actions)
    keys = [action, REPLY_KEY, *SIDE]
    if of_parts:
        keys.append(MESSAGE)
    shape = Shape(tuple(keys))

    def read(node: Node, context: Context) -> Ending | None:
        if isinstance(node, Scalar):
            word = action.kind.read(node, context)
            return None if word is None else Ending(Action(word))
        fields = shape.read(node, context)
        return None if fields is None else read_ending(fields, action, context)

    return Kind(read, {"anyOf": [action.kind.schema, shape.schema()]})


def read_ending(fields: Fields, key: Key[str], context: Context) -> Ending | None:
    """Return the ending that a mapping tells beside other things."""
    word = fields.get(key)
    if word is None:
        return None
    action, text = Action(word), fields.get(REPLY_KEY)
    message, side = fields.get(MESSAGE, ""), read_side(fields)
    if MESSAGE in fields and action not in EDITING:
        words = f'"message" belongs to strip, lock and quarantine, not to {action}'
        context.error(fields.mark_of(MESSAGE), words, "key-not-allowed-here")
        return None
    if text is None:
        return Ending(action, message=message, side=side)
    mark = fields.mark_of(REPLY_KEY)
    if action not in REPLYING:
        words = f"a reply belongs to deny and tempfail, not to {action}"
        context.error(mark, words, "key-not-allowed-here")
        return None
    try:
        return Ending(action, parse_reply(text, action), side=side)
    except ValueError as error:
        context.error(mark, describe(text, error), "bad-reply")
        return None
