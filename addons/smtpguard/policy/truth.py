"""Three-valued truth: what cannot be known is neither true nor false (Kleene).

``None`` would do, were it not that ``not None`` is true in Python: "the list is not
readable" must never turn into "the address is not on the list".
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NoReturn


if TYPE_CHECKING:
    from collections.abc import Iterable


class Truth(Enum):
    """Yes, no, or not known."""

    YES = True
    NO = False
    UNKNOWN = None

    @classmethod
    def of(cls, fact: bool | None) -> Truth:  # noqa: FBT001 - the value itself
        """Return the truth of a fact; None is not known."""
        if fact is None:
            return cls.UNKNOWN
        return cls.YES if fact else cls.NO

    def negate(self) -> Truth:
        """Turn yes and no around; what is not known stays so."""
        if self is Truth.UNKNOWN:
            return self
        return Truth.NO if self is Truth.YES else Truth.YES

    def __bool__(self) -> NoReturn:
        """Refuse: an ``if`` must say what it does with ``UNKNOWN``."""
        raise TypeError("compare a Truth with `is`")


def all_of(truths: Iterable[Truth]) -> Truth:
    """Return NO if one is NO, else UNKNOWN if one is, else YES."""
    found = set(truths)
    if Truth.NO in found:
        return Truth.NO
    return Truth.UNKNOWN if Truth.UNKNOWN in found else Truth.YES


def any_of(truths: Iterable[Truth]) -> Truth:
    """Return YES if one is YES, else UNKNOWN if one is, else NO."""
    found = set(truths)
    if Truth.YES in found:
        return Truth.YES
    return Truth.UNKNOWN if Truth.UNKNOWN in found else Truth.NO
