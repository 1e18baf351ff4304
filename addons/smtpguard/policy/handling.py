"""What a policy does with messages as such: findings, signatures, edits, own fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from smtpguard.model.decision import NO_SIDE, Action, SideActions
from smtpguard.policy.endings import Ending, ending_kind
from smtpguard.policy.kinds import Context, Kind, choice, scalar
from smtpguard.policy.notices import DENY_MESSAGE, deny_text
from smtpguard.policy.shapes import Key, Shape, shaped
from smtpguard.policy.sideactions import ADD_HEADER, BCC, read_side


if TYPE_CHECKING:
    from collections.abc import Mapping

    from smtpguard.model.contents import Doubt
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


type OnSigned = Literal["deny", "edit"]
type OnDkim = Literal["edit", "deny", "header_only"]

_ACTIONS = (
    Action.ALLOW,
    Action.DENY,
    Action.TEMPFAIL,
    Action.QUARANTINE,
    Action.DISCARD,
    Action.DROP,
    Action.BLOCK,
)


@dataclass(frozen=True, slots=True)
class Handling:
    """Settings of a policy that are about messages."""

    endings: Mapping[Doubt, Ending] = field(default_factory=dict)
    """Where a setting is missing, rules that ask for parts deny."""
    on_signed: OnSigned = "deny"
    on_dkim: OnDkim = "edit"
    deny_message: str = ""
    """Own text; "" for the built-in one."""
    languages: tuple[str, ...] = ("en", "de")
    lock_recipient: str = ""
    """age public key that locked parts are encrypted for; "" encrypts nothing."""
    own_fields: bool = False
    """Whether ``X-SmtpGuard-*`` fields are added, and forged ones removed."""
    side: SideActions = NO_SIDE
    """What is done beside whatever else is done."""


_ENDING_KIND = ending_kind(_ACTIONS)
_ENDINGS = {
    "ambiguous": Key(
        "ambiguous", _ENDING_KIND, "Where two readers could see different things."
    ),
    "malformed": Key(
        "malformed", _ENDING_KIND, "Where structure or content is broken."
    ),
    "limit": Key("limit", _ENDING_KIND, "Where not everything could be looked at."),
}
_ON_SIGNED = Key(
    "on_signed",
    choice("deny", "edit"),
    "Where an edit would break an S/MIME or PGP signature.",
)
_ON_DKIM = Key(
    "on_dkim",
    choice("edit", "deny", "header_only"),
    "Where an edit would break a DKIM signature.",
)


def _read_recipient(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "an age public key")
    if found is None:
        return None
    # Here, since it loads a library that only this needs.
    from smtpguard.locking.encryption import parse_recipient  # noqa: PLC0415

    try:
        parse_recipient(found.text)
    except ValueError as error:
        context.error(found.mark, str(error), "bad-value")
        return None
    return found.text


_RECIPIENT = Key(
    "recipient",
    Kind(_read_recipient, {"type": "string", "minLength": 1}),
    "age public key of the administrator, whom locked parts are encrypted for.",
    required=True,
)
_LOCK = Key("lock", shaped(Shape((_RECIPIENT,))), "How parts are locked.")
_OWN_FIELDS = Key(
    "own_fields",
    choice("none", "add"),
    "Whether X-SmtpGuard fields are added, and a sender's own removed.",
)
HANDLING = (
    *_ENDINGS.values(),
    _ON_SIGNED,
    _ON_DKIM,
    DENY_MESSAGE,
    _LOCK,
    _OWN_FIELDS,
    ADD_HEADER,
    BCC,
)
"""The keys of a policy that are read here."""


def read_handling(fields: Fields) -> Handling:
    """Return the settings from the values that could be read."""
    text, languages = deny_text(fields.get(DENY_MESSAGE))
    lock = fields.get(_LOCK)
    endings = {
        cast("Doubt", name): ending
        for name, key in _ENDINGS.items()
        if (ending := fields.get(key)) is not None
    }
    return Handling(
        endings,
        cast("OnSigned", fields.get(_ON_SIGNED, "deny")),
        cast("OnDkim", fields.get(_ON_DKIM, "edit")),
        text,
        languages,
        lock.get(_RECIPIENT, "") if lock else "",
        fields.get(_OWN_FIELDS) == "add",
        read_side(fields),
    )
