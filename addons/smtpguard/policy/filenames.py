"""What a file name can be read as, so that rules see what a desktop would open.

A rule matches if any reading does. Windows drops dots and blanks at the end and what
follows a colon (an alternate stream); programs written in C stop at a NUL; characters
that turn the direction of writing (U+202E) or have no width are not seen; full-width
and other compatibility forms become plain letters (attack M6).
"""

from __future__ import annotations

import re
import unicodedata

from smtpguard.model.characters import is_invisible


# Most names: they can be read in one way only.
_ORDINARY = re.compile(r"[ -.0-9;-\[\]-~]*[!-\-0-9;-\[\]-~]")

_SEPARATORS = re.compile(r"[/\\]")


def readings(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return every reading of some names, without case, each once.

    A part without a name is read as "", which only ``*`` matches. Linear in the length
    of the names.
    """
    found: dict[str, None] = {}
    for name in names:
        for form in (name, unicodedata.normalize("NFKC", name)):
            _read(form, found)
    return tuple(found) or ("",)


def _read(name: str, found: dict[str, None]) -> None:
    if _ORDINARY.fullmatch(name):
        found[name.lower()] = None
        return
    before_nul, nul, _ = name.partition("\0")
    for text in (name, before_nul) if nul else (name,):
        found[text.lower()] = None
        seen = "".join(c for c in text if not is_invisible(c))
        base = _SEPARATORS.split(seen.rstrip("/\\"))[-1]
        for reading in (seen, base, base.partition(":")[0]):
            found[reading.lower()] = None
            found[_trim(reading).lower()] = None


def _trim(text: str) -> str:
    end = len(text)
    while end and (text[end - 1] in ".\u3002\uff0e\uff61" or text[end - 1].isspace()):
        end -= 1
    return text[:end]
