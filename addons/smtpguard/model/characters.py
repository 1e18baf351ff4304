"""Characters of names that no reader's eye sees; one table for all who look through.

Owns what ``mime`` and ``policy`` must agree on. Must not judge names.
"""

from __future__ import annotations

import unicodedata


_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp"})
_FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")
"""Characters without a picture that Unicode does not count as format characters."""
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)


def is_invisible(character: str) -> bool:
    """Say whether one character of text is not seen where it stands: controls, marks
    that turn the direction of writing, characters without width or picture."""
    return (
        unicodedata.category(character) in _CATEGORIES
        or character in _FILLERS
        or ord(character) in _VARIATION_SELECTORS
    )
