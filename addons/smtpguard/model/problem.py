"""One fault of a rule file, as the user sees it (contract 5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A fault with its place: ``FILE:LINE:COLUMN: SEVERITY: TEXT [SLUG]``."""

    file: str
    line: int
    """Counted from 1."""
    column: int
    """Counted from 1, in characters."""
    text: str
    slug: str
    """Stable name of this kind of fault, documented in ``rules/README.md``."""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """Return the one line that is printed."""
        return (
            f"{self.file}:{self.line}:{self.column}: "
            f"{self.severity}: {self.text} [{self.slug}]"
        )
