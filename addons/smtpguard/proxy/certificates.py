"""SSL contexts with our own certificates: kept while their files stay as they are.

A certificate that a rule names and that cannot be used ends the handshake. Nothing is
minted in its place: a sender that checks it (MTA-STS, DANE) would see a forgery, and
the administrator would not see the fault.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from smtpguard.proxy.upgrade import TlsRefusedError
from smtpguard.proxy.watch import MISSING, state_of
from smtpguard.tlscontext import UnusableError, with_certificate


if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from OpenSSL import SSL

    from smtpguard.tlscontext import ContextKind


MAX_CONTEXTS = 256
"""Contexts that are kept; one is made in 1 to 30 ms and takes up to 1 MiB."""
MAX_AGE = 6 * 3600.0
"""Seconds after which a context is made anew, and with it the key of its session
tickets: who steals it later can read less of what went before."""


class ContextCache:
    """Contexts by what they were made from, the least used ones forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, SSL.Context]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], SSL.Context]) -> SSL.Context:
        """Return the context of that key, made now if there is none."""
        kept = self._kept.get(key)
        if kept is not None and self._clock() - kept[0] < MAX_AGE:
            self._kept.move_to_end(key)
            return kept[1]
        made = make()
        self._kept[key] = (self._clock(), made)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_CONTEXTS:
            self._kept.popitem(last=False)
        return made


def own_context(cache: ContextCache, path: str, kind: ContextKind) -> SSL.Context:
    """Return a context with certificate, chain and key of a PEM file as it is now.

    Raises:
        TlsRefusedError: the file is of no use (``tlscontext.with_certificate``).
    """
    found = state_of(path)
    try:
        if found == MISSING:
            return with_certificate(path, kind)  # which says why; nothing is kept
        return cache.get((path, found, kind), lambda: with_certificate(path, kind))
    except UnusableError as error:
        raise TlsRefusedError(f"certificate {path}: {error}") from error


def pick(certificates: tuple[tuple[str, str], ...], name: str) -> str:
    """Return the PEM path for the name a client asked for (SNI).

    The first pattern that matches wins: a name, ``*.domain`` for one label, or ``*``.
    A client that asked for none of them gets the first certificate, as from any server.
    """
    wanted = name.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    for pattern, path in certificates:
        plain = pattern.lower().rstrip(".")
        if plain in ("*", wanted) or (parent and plain == f"*.{parent}"):
            return path
    return certificates[0][1]
