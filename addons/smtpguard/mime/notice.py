"""The deny message: the text that stands where a part was (contract 6).

Owns the default text (English, then German), the variables an administrator's own text
may use, and making hostile values harmless: a file name comes from the sender and is
shown to the recipient by us, so it must not break lines, turn the writing direction or
fill the page. Returns text; ``surgery`` makes it a part.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


MAX_VALUE = 120
"""Characters of a value; a longer one keeps its beginning and its ending."""
_KEPT_ENDING = 30

DEFAULT_TEXT = """\
A part of this message was %(action)s by the mail gateway.

  Reason:        %(reason)s
  File name:     %(filename)s
  Content type:  %(type)s
  Virus scan:    %(virus)s
  Recovery:      %(recovery)s
  Reference:     %(id)s

The rest of the message is as it was sent.

--------------------------------------------------------------

Ein Teil dieser Nachricht wurde vom Mail-Gateway %(action_de)s.

  Grund:         %(reason)s
  Dateiname:     %(filename)s
  Inhaltstyp:    %(type)s
  Virenprüfung:  %(virus_de)s
  Rückgabe:      %(recovery_de)s
  Kennung:       %(id)s

Der Rest der Nachricht ist so, wie er gesendet wurde.
"""

_ACTIONS = {
    "strip": ("removed", "entfernt"),
    "lock": ("locked", "gesperrt"),
    "quarantine": ("put into quarantine", "in Quarantäne genommen"),
}
_NO_VIRUS = ("nothing found or not scanned", "nichts gefunden oder nicht geprüft")
_RECOVERY = {
    True: (
        "your administrator can restore it",
        "Ihre Administratorin oder Ihr Administrator kann ihn wiederherstellen",
    ),
    False: (
        "not possible; ask the sender to send it another way",
        "nicht möglich; bitten Sie den Absender um einen anderen Weg",
    ),
}
_VARIABLE = re.compile(r"%\(([A-Za-z_]{1,40})\)s|%%")
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


def deny_message(template: str | None, variables: Variables) -> Notice:
    """Return the deny message; ``template`` None takes the default text."""
    return Notice(text(template, variables))


def text(template: str | None, variables: Variables) -> str:
    """Fill a deny message; what is not a variable of ours stays as it is written."""
    values = _values(variables)

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "%"
        return values.get(found[1], found[0])

    return _VARIABLE.sub(value, DEFAULT_TEXT if template is None else template)


def harmless(value: str, limit: int = MAX_VALUE) -> str:
    """Return ``value`` as one line without controls and bidi marks, shortened.

    Each such character becomes ``?``, so that nobody takes the rest for the whole.
    """
    ending = min(_KEPT_ENDING, limit // 2)
    if len(value) > limit:
        value = f"{value[: limit - ending - 5]} ... {value[-ending:]}"
    return "".join("?" if _is_hostile(character) else character for character in value)


def _is_hostile(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _values(variables: Variables) -> dict[str, str]:
    action = _ACTIONS.get(variables.action, (variables.action, variables.action))
    recovery = _RECOVERY[variables.recovery]
    virus = (variables.virus, variables.virus) if variables.virus else _NO_VIRUS
    values = {
        "reason": variables.reason,
        "type": variables.type,
        "filename": variables.filename or "-",
        "virus": virus[0],
        "virus_de": virus[1],
        "action": action[0],
        "action_de": action[1],
        "recovery": recovery[0],
        "recovery_de": recovery[1],
        "id": variables.id or "-",
    }
    return {name: harmless(value) for name, value in values.items()}
