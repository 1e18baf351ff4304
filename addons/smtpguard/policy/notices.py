"""``message:`` of a rule and ``deny_message`` of a policy: what stands for a part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpguard.mime import LANGUAGES, unknown_variables
from smtpguard.policy.kinds import Context, Kind, choice, list_of, scalar
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Key, Shape, shaped


if TYPE_CHECKING:
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


DEFAULT_LANGUAGES = ("en", "de")
MAX_MESSAGE = 4000
"""Characters of a text; it goes out once for each part."""


def _read_message(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "a text")
    if found is None:
        return None
    text = found.text
    if not text.replace("\n", "").isprintable():
        words = f"{shown(text)} holds characters that cannot be printed"
        context.error(found.mark, words, "bad-value")
        return None
    if len(text) > MAX_MESSAGE:
        words = f"{shown(text)} is longer than {MAX_MESSAGE} characters"
        context.error(found.mark, words, "bad-value")
        return None
    unknown = unknown_variables(text)
    for variable in unknown:
        words = f"there is no variable {shown(variable)}"
        context.error(found.mark, words, "unknown-variable")
    return None if unknown else text


_TEXT: Kind[str] = Kind(
    _read_message, {"type": "string", "minLength": 1, "maxLength": MAX_MESSAGE}
)
MESSAGE = Key("message", _TEXT, "Deny message of strip and lock, with variables.")

_OWN_TEXT = Key("text", _TEXT, "Deny message, with variables.")
_LANGUAGES = Key(
    "languages",
    list_of(choice(*LANGUAGES), single=True),
    "Languages of the built-in text, or of an own text's variables.",
)
DENY_MESSAGE = Key(
    "deny_message",
    shaped(Shape((_OWN_TEXT, _LANGUAGES))),
    "The text that stands where a part was.",
)


def deny_text(fields: Fields | None) -> tuple[str, tuple[str, ...]]:
    """Return text ("" for the built-in one) and languages of ``deny_message``."""
    if fields is None:
        return "", DEFAULT_LANGUAGES
    languages: tuple[str, ...] = fields.get(_LANGUAGES, DEFAULT_LANGUAGES)
    return fields.get(_OWN_TEXT, ""), tuple(dict.fromkeys(languages))
