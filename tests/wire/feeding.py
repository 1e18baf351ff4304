"""Ways to cut octets into segments, as the network might, and to see what comes out."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from smtpguard.errors import ProtocolError


if TYPE_CHECKING:
    from collections.abc import Callable


def octet_by_octet(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


def cut(octets: bytes, *places: int) -> list[bytes]:
    bounds = [0, *sorted(places), len(octets)]
    return [octets[a:b] for a, b in itertools.pairwise(bounds)]


def cuts(octets: bytes) -> st.SearchStrategy[list[bytes]]:
    """Return a strategy of segments that together are these octets."""
    places = st.lists(st.integers(0, len(octets)), max_size=8)
    return places.map(lambda found: cut(octets, *found))


def of_words(*words: bytes, max_size: int = 24) -> st.SearchStrategy[bytes]:
    """Return a strategy of octets made of these words, the interesting ones."""
    return st.lists(st.sampled_from(words), max_size=max_size).map(b"".join)


def outcome[T](call: Callable[[], T]) -> T | ProtocolError:
    """Return what the call returns, or the one error that a peer may cause."""
    try:
        return call()
    except ProtocolError as error:
        return error
