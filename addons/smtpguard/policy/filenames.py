"""What a file name can be read as, so that rules see what a desktop would open.

A rule matches if any reading does. What eyes do not see is seen through by
``model.characters``. What stands before the last slash or backslash is a folder, and
Windows takes what follows a colon for an alternate stream and drops dots and blanks at
the end (attack M6).
"""

from __future__ import annotations

import re

from smtpguard.model.characters import seen_through, without_ending
from smtpguard.policy.patterns import fold


# Most names: they can be read in one way only.
_ORDINARY = re.compile(r"(?! )[ -.0-9;-\[\]-~]*[!-\-0-9;-\[\]-~]")

_SEPARATORS = re.compile(r"[/\\]")


def readings(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return every reading of a part's names, folded, each once.

    ``names`` are all that a mail reader could show, as they are written. A part without
    a name is read as "", which only ``*`` matches. Linear in the length of the names.
    """
    found: dict[str, None] = {}
    for name in names:
        if _ORDINARY.fullmatch(name):
            found[fold(name)] = None
            continue
        for form in dict.fromkeys(seen_through(name)):
            _read(form, found)
    return tuple(found) or ("",)


def _read(name: str, found: dict[str, None]) -> None:
    """Add what file systems make of one form of a name."""
    found[fold(name)] = None
    for text in (name, without_ending(name)):
        base = _SEPARATORS.split(text.rstrip("/\\"))[-1]
        for reading in (text, base, base.partition(":")[0]):
            found[fold(reading)] = None
            found[fold(without_ending(reading).lstrip())] = None
