"""Names as eyes and programs take them: what is not seen, what is the same.

The one place that sees through a name (attack M6): whoever judges names by ``readings``
of ``policy.filenames`` gets it, wherever the name came from. Must not judge names, and
knows no file system. Everything here takes linear time.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Iterator


_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp"})
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
"""Characters without a picture that Unicode does not count as format characters."""
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
_DOTS = frozenset(".\u3002\uff0e\uff61")

# Most names: nothing of them is dropped, and nothing is another form of something else.
_PLAIN = re.compile(r"[ -~]*")

MAX_MARKS = 30
"""Combining marks in a row that are put into order (UAX #15, stream-safe text): no
language needs as many, and Python sorts a run of them in quadratic time."""


def seen_through(name: str) -> Iterator[str]:
    """Yield a name, and what it is for those who do not take all of it.

    Programs written in C stop at the first NUL; characters that turn the direction of
    writing (U+202E) or have no width are not seen; full-width and other variants look
    like plain letters. Some forms come twice.
    """
    yield name
    if _PLAIN.fullmatch(name):
        return
    for text in (name, name.partition("\0")[0]) if "\0" in name else (name,):
        seen = "".join(c for c in text if not is_invisible(c))
        for form in (seen, text):
            yield compatible(form)
            yield form
        # Letter and mark as two: patterns are compared as they stand.
        yield "".join(map(compatible, seen))


def is_invisible(character: str) -> bool:
    """Say whether one character of text is not seen where it stands: controls, marks
    that turn the direction of writing, characters without width or picture."""
    return (
        unicodedata.category(character) in _CATEGORIES
        or character in _FILLERS
        or ord(character) in _VARIATION_SELECTORS
    )


def compatible(text: str) -> str:
    """Return the compatibility form (NFKC): full-width and other variants of a letter
    become the letter, letter and marks become one.

    A run of more than ``MAX_MARKS`` combining marks is taken in pieces of as many.
    """
    if text.isascii():
        return text
    pieces: list[str] = []
    start = run = 0
    for index, character in enumerate(text):
        leading, trailing = _marks(character)
        run += leading
        if run > MAX_MARKS:
            pieces.append(text[start:index])
            start, run = index, leading
        if trailing is not None:
            run = trailing
    pieces.append(text[start:])
    return "".join(unicodedata.normalize("NFKC", piece) for piece in pieces)


def _marks(character: str) -> tuple[int, int | None]:
    """Return how many marks one character begins with once it is taken apart, and with
    how many it ends; None where it is marks alone."""
    apart = unicodedata.normalize("NFKD", character)
    are_marks = [unicodedata.combining(one) != 0 for one in apart]
    if all(are_marks):
        return len(apart), None
    return are_marks.index(False), are_marks[::-1].index(False)


def without_ending(text: str) -> str:
    """Return a name without the dots and blanks at its end, which Windows drops, also
    where they are another alphabet's."""
    end = len(text)
    while end and (text[end - 1] in _DOTS or text[end - 1].isspace()):
        end -= 1
    return text[:end]
