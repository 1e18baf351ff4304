"""What contents are and what they hold: the one entry for the rest of smtpguard.

Types and facts are told here, in microseconds; only what can be entered goes to an
isolated process.
"""

from __future__ import annotations

import math

from smtpguard.inspection import detect
from smtpguard.inspection.containers import containers
from smtpguard.model.contents import Contents, Fact, Finding
from smtpguard.unpacking.pool import SIZE, Pool


SECONDS = 20.0


class Inspector:
    """Looks into contents; keeps ``size`` isolated processes for what needs them.

    They are started when they are first needed. For any thread, but not for that of an
    event loop, which a look may keep waiting.
    """

    def __init__(self, size: int = SIZE) -> None:
        self._pool = Pool(size)

    def look(
        self,
        octets: bytes,
        names: tuple[str, ...] = (),
        claimed: str = "",
        seconds: float = SECONDS,
        most: float = math.inf,
    ) -> Contents:
        """Return what ``octets`` are and hold, in ``seconds`` of a processor.

        It is waited for that as long as it takes, but for ``most`` seconds.
        ``names`` and ``claimed`` (``type/subtype``) are what the message says of them.
        Never raises: what could not be looked at is a finding and ``Fact.LIMIT``.
        """
        found = containers(octets)
        seen = detect(octets, names, claimed, found)
        if found:
            return joined(seen, self._pool.look(octets, names, seconds, most))
        if Fact.ARCHIVE in seen.facts:
            unread = Finding("not-inspectable", seen.detected)
            limit = Contents(facts=frozenset({Fact.LIMIT}), findings=(unread,))
            return joined(seen, limit)
        return seen

    def stop(self) -> None:
        """End the processes. A later look detects, and enters nothing."""
        self._pool.stop()


def joined(seen: Contents, inside: Contents) -> Contents:
    """Return what was seen of some octets together with what was found in them."""
    return Contents(
        seen.detected,
        seen.facts | inside.facts,
        inside.entries,
        tuple(dict.fromkeys(seen.findings + inside.findings)),
        seen.others,
        inside.seconds,
    )
