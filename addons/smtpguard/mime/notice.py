"""The deny message: the text that stands where a part was (contract 6).

Owns the variables that a text may use, the built-in texts' among them (``languages``)
and an administrator's, and making hostile values harmless: a file name comes from the
sender and is shown to the recipient by us, so it must not break lines, turn the writing
direction or fill the page. Returns text; ``writing`` makes it a part.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.mime.languages import LANGUAGES, Language


if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_VALUE = 120
"""Characters of a value; a longer one keeps its beginning and its ending."""
_KEPT_ENDING = 30

_LABELLED = ("reason", "filename", "type", "virus", "recovery", "id")
_SPOKEN = ("action", "virus", "recovery")
_SEPARATOR = "\n" + "-" * 62 + "\n\n"
_VARIABLE = re.compile(r"%\(([A-Za-z_]{1,40})\)s|%%")
# What was probably meant to be one: its end is easily forgotten.
_MEANT = re.compile(r"%%|%\([^()\n]*+(?:\)s?)?")
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


@dataclass(frozen=True, slots=True)
class Variables:
    """What a deny message can tell; values may be hostile."""

    reason: str
    type: str
    filename: str = ""
    virus: str = ""
    """Name of what the scanner found, or how the scan ended."""
    action: str = "strip"
    """``strip``, ``lock`` or ``quarantine``."""
    recovery: bool = False
    """Whether the administrator can restore the part."""
    id: str = ""
    """The transaction, as in the log and in the reply."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A finished deny message."""

    text: str
    """Lines ended by LF or CRLF; any characters."""


def deny_message(
    template: str | None, variables: Variables, languages: Sequence[str] = ("en", "de")
) -> Notice:
    """Return the deny message; ``template`` None takes the built-in texts of the
    ``languages``, one after the other.

    In an own template ``%(action)s``, ``%(virus)s`` and ``%(recovery)s`` speak the
    first of the languages, ``%(action_fr)s`` and its like the one they name. What is no
    variable of ours stays as it is written. Raises ValueError unless every language is
    one of ``LANGUAGES`` and there is at least one.
    """
    if not languages or not LANGUAGES.keys() >= set(languages):
        msg = f"not languages of deny messages: {', '.join(languages) or 'none'}"
        raise ValueError(msg)
    if template is not None:
        return Notice(_filled(template, variables, languages[0]))
    texts = (_filled(_text(LANGUAGES[one]), variables, one) for one in languages)
    return Notice(_SEPARATOR.join(texts))


def unknown_variables(template: str) -> tuple[str, ...]:
    """Return what looks like a variable in an own template and is none of ours, as it
    is written."""
    found = dict.fromkeys(_MEANT.findall(template))
    known = {f"%({name})s" for name in _values(Variables("", ""), "en")} | {"%%"}
    return tuple(written for written in found if written not in known)


def _text(language: Language) -> str:
    width = max(map(len, language.labels)) + 2
    lines = (
        f"  {label:<{width}}%({name})s\n"
        for label, name in zip(language.labels, _LABELLED, strict=True)
    )
    return f"{language.lead}\n\n{''.join(lines)}\n{language.close}\n"


def _filled(template: str, variables: Variables, language: str) -> str:
    values = _values(variables, language)

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%"
        return values.get(found[1], found[0])

    return _VARIABLE.sub(value, template)


def harmless(value: str, limit: int = MAX_VALUE) -> str:
    """Return ``value`` as one line without controls and bidi marks, shortened.

    Each such character becomes ``?``, so that nobody takes the rest for the whole.
    """
    ending = min(_KEPT_ENDING, limit // 2)
    if len(value) > limit:
        value = f"{value[: limit - ending - 5]} ... {value[-ending:]}"
    if value.isprintable():  # then nothing is, as in all words of our own
        return value
    return "".join("?" if _is_hostile(character) else character for character in value)


def _is_hostile(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _values(variables: Variables, first: str) -> dict[str, str]:
    """Return every variable with its harmless value."""
    values = {
        "reason": variables.reason,
        "type": variables.type,
        "filename": variables.filename or "-",
        "id": variables.id or "-",
    }
    for code, language in LANGUAGES.items():
        spoken = _spoken(variables, language)
        for name, value in zip(_SPOKEN, spoken, strict=True):
            values[f"{name}_{code}"] = value
            if code == first:
                values[name] = value
    return {name: harmless(value) for name, value in values.items()}


def _spoken(variables: Variables, language: Language) -> tuple[str, str, str]:
    words = {
        "strip": language.strip,
        "lock": language.lock,
        "quarantine": language.quarantine,
    }
    return (
        words.get(variables.action, variables.action),
        variables.virus or language.no_virus,
        language.recoverable if variables.recovery else language.lost,
    )
