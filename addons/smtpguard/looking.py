"""Looks into the parts of a message, each once: what they are and what they hold.

The seam between the MIME tree and whoever can look into contents. Bounded for a whole
message, however many parts it has; what was not looked at says so (``Fact.LIMIT``).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from smtpguard.errors import InspectorError
from smtpguard.inspection import detect
from smtpguard.inspection.containers import containers
from smtpguard.inspection.text import SAMPLE_OCTETS, is_text
from smtpguard.model.contents import IN_DOUBT, Contents, Fact, Finding


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from smtpguard.mime import Defect, Message, Part
    from smtpguard.model.contents import Doubt


LOOK_SECONDS = 20.0
"""Of a processor, for all containers of one message. The slowest compression expands
what one container may hold in half of it."""
WAIT_SECONDS = 2 * LOOK_SECONDS
"""For the same, on a machine that has other things to do: of 240 s until the verdict,
which others wait for as well."""
LEAST_SECONDS = 0.1
"""With less left nothing more is looked into."""
MAX_ENTRIES = 10_000
"""Of all containers of one message: each is put before every rule."""
MAX_OCTETS = 512 << 20
"""Expanded, of all containers of one message: twice what one may hold. A thousand parts
with one each, none of which is too large, would be 250 GiB."""
_SHOWN = frozenset({"text/plain", "text/html"})
"""Types of what readers show; without a name nobody can run it."""

_NOTHING_UNSEEN = frozenset({"archive-path", "archive-prepended", "polyglot"})
"""Findings of what was looked at all the same."""

_OURS = frozenset(
    {
        "inspector-busy",
        "inspector-failed",
        "inspector-killed",
        "inspector-stalled",
        "inspector-stopped",
    }
)
"""Findings that say nothing of the content: another time it will be looked at."""


class TakesLong(Exception):  # noqa: N818 - no error, an answer
    """A message cannot be judged at once: ask again where waiting does no harm."""


class Inspector(Protocol):
    """Who enters archives and other containers."""

    def look(
        self,
        octets: bytes,
        names: tuple[str, ...],
        claimed: str,
        seconds: float,
        most: float,
    ) -> Contents:
        """Say what some octets are and hold, in so many seconds of a processor.

        Answers within ``most`` seconds of the clock.
        Never raises: what could not be looked at is a finding and ``Fact.LIMIT``.
        """
        ...

    def stop(self) -> None:
        """Look no more; what is under way ends."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one part."""

    size: int
    """Octets of its content."""
    sha256: str
    """Of its content; "" of a message inside another one's content."""
    contents: Contents
    facts: frozenset[Fact]
    """Of the content, and of how it is written."""
    why: Mapping[Doubt, str]
    """What is not sure of it, and what made it so."""
    is_only_encrypted: bool = False
    """Whether encryption and nothing else made the ``limit``."""

    @property
    def types(self) -> tuple[str, ...]:
        """Types by content, several of a polyglot."""
        first = (self.contents.detected,) if self.contents.detected else ()
        return (*first, *self.contents.others)


class Looker:
    """Looks at the parts of one message."""

    def __init__(
        self,
        inspector: Inspector | None,
        seconds: Callable[[], float],
        *,
        enters: bool,
        at_once: bool,
    ) -> None:
        """Prepare.

        ``inspector`` None can enter nothing. ``enters``: whether anybody asks what
        containers hold. ``at_once``: raise ``TakesLong`` instead of entering one.
        """
        self._inspector = inspector
        self._enters = enters
        self._at_once = at_once
        self._seconds = seconds
        self._until = seconds() + WAIT_SECONDS
        self._left = LOOK_SECONDS
        self._entries = MAX_ENTRIES
        self._octets = MAX_OCTETS

    def looks(self, message: Message) -> dict[str, Look]:
        """Return what is known of each candidate, by path.

        Raises ``TakesLong``, and ``InspectorError`` where nobody can look just now.
        """
        defects: dict[str, list[Defect]] = {}
        for defect in message.defects:
            defects.setdefault(defect.part, []).append(defect)
        dkim = any(field.is_named("dkim-signature") for field in message.fields)
        common = frozenset({Fact.DKIM_SIGNED}) if dkim else frozenset()
        signed, outermost = "?", "?"
        found: dict[str, Look] = {}
        for part in message.parts():
            if part.content_type == "multipart/signed" and not _lies_in(part, signed):
                signed = part.path
            if not part.is_leaf and not part.is_message:
                continue
            facts = common | {Fact.SIGNED} if _lies_in(part, signed) else common
            why = dict(doubts(defects.get(part.path, ())))
            is_inner = _lies_in(part, outermost)
            found[part.path] = self._look(part, facts, why, is_inner=is_inner)
            if part.is_message and not part.is_leaf and not is_inner:
                outermost = part.path
        return found

    def _look(
        self,
        part: Part,
        facts: frozenset[Fact],
        why: dict[Doubt, str],
        *,
        is_inner: bool,
    ) -> Look:
        is_only_encrypted = False
        if not part.is_leaf:
            # Its parts are looked at one by one.
            size, digest = (len(part.body), "") if is_inner else part.measure()
            contents = Contents()
        else:
            octets = part.content()
            size, digest = len(octets), hashlib.sha256(octets).hexdigest()
            contents = self._contents(octets, part.names, part.content_type)
            if not part.names and part.content_type in _SHOWN:
                contents = _as_shown(contents, octets, part.content_type)
            if self._enters:
                is_only_encrypted = "limit" not in why and _is_encrypted(contents)
                why.update(_doubts_inside(contents, part.path))
        told = {IN_DOUBT[doubt] for doubt in why}
        if not any(field.is_named("content-type") for field in part.fields):
            told.add(Fact.UNTYPED)
        facts |= contents.facts | told
        return Look(size, digest, contents, facts, why, is_only_encrypted)

    def _contents(
        self, octets: bytes, names: tuple[str, ...], claimed: str
    ) -> Contents:
        found = containers(octets)
        if not self._enters or not found:
            return detect(octets, names, claimed, found)
        if self._at_once:
            raise TakesLong
        if limit := self._limit():
            return _not_entered(detect(octets, names, claimed, found), limit)
        assert self._inspector is not None
        began = self._seconds()
        most = self._until - began
        contents = self._inspector.look(octets, names, claimed, self._left, most)
        # Of a process that crashed it is not known.
        self._left -= contents.seconds or self._seconds() - began
        for finding in contents.findings:
            if finding.kind in _OURS:
                raise InspectorError(f"{finding.kind}: {finding.detail}")
        entries = contents.entries[: self._entries]
        self._entries -= len(entries)
        self._octets -= sum(entry.size for entry in entries if entry.sha256)
        if len(entries) == len(contents.entries):
            return contents
        return _not_entered(replace(contents, entries=entries), "limit-entries")

    def _limit(self) -> str:
        """Return why no further container is entered, "" if one may be.

        Raises ``InspectorError`` where it is not the containers that took the time.
        """
        if self._inspector is None:
            return "not-inspectable"
        if self._left < LEAST_SECONDS:
            return "limit-seconds"
        if self._seconds() >= self._until:
            raise InspectorError(f"not looked through in {WAIT_SECONDS:g} s")
        if self._entries <= 0:
            return "limit-entries"
        return "limit-octets" if self._octets <= 0 else ""


def doubts(defects: Sequence[Defect]) -> Iterator[tuple[Doubt, str]]:
    """Yield which doubts defects of a part raise, and why; the first defect last."""
    for defect in reversed(defects):
        where = f"{defect.kind} in part {defect.part}"
        if defect.is_limit:
            yield "limit", f"{where}: not read to its end"
        elif defect.is_ambiguity:
            yield "ambiguous", f"{where}: others could see other parts"
        elif defect.is_malformation:
            yield "malformed", where


def _doubts_inside(contents: Contents, path: str) -> Iterator[tuple[Doubt, str]]:
    """Yield which doubts the content itself raises, its entries' included."""
    facts = contents.facts.union(*(entry.facts for entry in contents.entries))
    found = dict.fromkeys(finding.kind for finding in contents.findings)
    # What is behind a password hides nothing else that was not looked at.
    kinds = ", ".join(sorted(found, key="archive-encrypted".__eq__)[:3])
    for doubt, fact in IN_DOUBT.items():
        if fact in facts:
            yield doubt, f"{kinds or fact} in the content of part {path}"


def _as_shown(contents: Contents, octets: bytes, claimed: str) -> Contents:
    """Return what is known of a text that is shown: a script in it is no program."""
    if Fact.EXECUTABLE not in contents.facts or not is_text(octets[:SAMPLE_OCTETS]):
        return contents
    facts = contents.facts - {Fact.EXECUTABLE}
    return replace(contents, detected=claimed, facts=facts, others=())


def _is_encrypted(contents: Contents) -> bool:
    """Whether all that was not looked at is encrypted; not where that is not told."""
    kinds = {finding.kind for finding in contents.findings}
    holders = (contents.facts, *(entry.facts for entry in contents.entries))
    return kinds - _NOTHING_UNSEEN == {"archive-encrypted"} and all(
        Fact.ENCRYPTED in facts and Fact.MALFORMED not in facts
        for facts in holders
        if Fact.LIMIT in facts
    )


def _not_entered(contents: Contents, kind: str) -> Contents:
    return replace(
        contents,
        facts=contents.facts | {Fact.LIMIT},
        findings=(*contents.findings, Finding(kind)),
    )


def _lies_in(part: Part, path: str) -> bool:
    return part.path.startswith(f"{path}.")
