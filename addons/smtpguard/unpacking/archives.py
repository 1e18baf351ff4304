"""What archives hold, and the archives in them (contract 6, attack M10).

Called in the isolated process only: libarchive is C. Whatever the octets are, a look
never raises, and ends within its limits; a limit that was met is a finding and
``Fact.LIMIT``, and what was seen before it is kept.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

from smtpguard.inspection import detect
from smtpguard.inspection.containers import (
    Container,
    Way,
    containers,
    volume_descriptors,
)
from smtpguard.inspection.members import (
    Member,
    Oddity,
    UnreadableError,
    is_unsafe,
    printable,
    readings,
)
from smtpguard.inspection.zipdirectory import begins_as_zip
from smtpguard.model.contents import Contents, Entry, Fact, Finding
from smtpguard.unpacking import libarchivereader
from smtpguard.unpacking.readers import members


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How far a look goes; each limit has a finding ``limit-...`` of its own."""

    depth: int = 5
    """Archives within each other, the outermost counted."""
    entries: int = 10_000
    """Files in all of them together."""
    octets: int = 256 << 20
    """Expanded, of all of them together."""
    entry_octets: int = 192 << 20
    """Expanded, of one file; a larger one is hashed, not looked into. With the archive
    and what is left of earlier ones the process has less than 300 MiB."""
    ratio: int = 200
    """Octets expanded for each octet of the outermost archive ..."""
    ratio_from: int = 10 << 20
    """... once there are more than these."""
    seconds: float = 20.0
    """Of a processor; looked at between files, and within one four times a mebibyte."""
    name_characters: int = 4 << 20
    """Of all names and paths together."""


MAX_FINDINGS = 100
MAX_ALIKE = 10
"""Findings of one kind that are kept; one would do for any rule."""
MAX_PATH = 4096
"""Characters of an entry's path; the beginning is left out of a longer one."""

_LISTED = frozenset({Way.ZIP, Way.ARJ, Way.TNEF})
"""Whose members are listed without their contents being read."""
_READINGS_OF_CD = (
    "",
    "iso9660:!rockridge",
    "iso9660:!joliet,iso9660:!rockridge",
)


def look_inside(
    octets: bytes, names: tuple[str, ...], limits: ArchiveLimits
) -> Contents:
    """Return what the archives in ``octets`` hold; empty where there are none.

    ``detected`` is not set, nor ``Fact.ARCHIVE`` where ``detect`` tells it: what the
    octets themselves are is not asked here. ``names`` are theirs, for a compressed file
    takes its name from them.
    """
    look = _Look(limits, len(octets))
    try:
        found = look.enter(octets, containers(octets), names, "", 1)
    except MemoryError:
        look.limit("limit-memory")
        found = {Fact.LIMIT}
    return Contents(
        "", frozenset(found | look.facts), tuple(look.entries), tuple(look.findings)
    )


class _Look:
    """One look: what was found, and what may still be spent."""

    def __init__(self, limits: ArchiveLimits, outer: int) -> None:
        self.limits = limits
        self.entries: list[Entry] = []
        self.findings: dict[Finding, None] = {}
        self.facts: set[Fact] = set()
        """Of the outermost octets."""
        self._end = time.process_time() + limits.seconds
        self._ratio_octets = max(limits.ratio_from, limits.ratio * outer)
        self._expanded = 0
        self._characters = 0
        self._members = 0
        self._is_full = False
        """No content is read any more, but names are, where that costs nothing."""
        self._is_over = False

    def limit(self, kind: str, detail: str = "") -> None:
        """Tell that something was not looked at."""
        self.facts.add(Fact.LIMIT)
        self._find(kind, detail)

    def enter(
        self,
        octets: bytes,
        found: tuple[Container, ...],
        names: tuple[str, ...],
        where: str,
        depth: int,
        *,
        is_archive: bool = False,
    ) -> set[Fact]:
        """List the archives that were found; return what that says of ``octets``.

        Where there is none though it ``is_archive``, nobody here can open it.
        """
        facts: set[Fact] = set()
        for container in found:
            if container.inlaid:
                self._enter_inlaid(container, octets, where, depth)
                continue
            if container.way is not Way.TNEF and not begins_as_zip(octets):
                facts.add(Fact.ARCHIVE)
            facts |= self._enter(container, octets, names, where, depth)
        if is_archive and not found:
            self.limit("not-inspectable", where)
            facts.add(Fact.LIMIT)
        return facts

    def _enter(
        self,
        container: Container,
        octets: bytes,
        names: tuple[str, ...],
        where: str,
        depth: int,
    ) -> set[Fact]:
        if container.start:
            self._find("archive-prepended", f"{container.start} octets")
        if depth > self.limits.depth:
            self.limit("limit-depth", where)
            return {Fact.LIMIT}
        if container.way is Way.ISO and libarchivereader.available():
            return self._iso(octets, where, depth)
        left = max(self.limits.entries - self._members, 0)
        found = members(octets, container, names, left)
        can_list = container.way in _LISTED
        return self._list(found, where, depth, can_list=can_list)

    def _enter_inlaid(
        self, container: Container, octets: bytes, where: str, depth: int
    ) -> None:
        """List what is not listed yet of what may be a piece of a file.

        That it is damaged says nothing, but what nobody here can read is not read.
        """
        facts, findings = set(self.facts), dict(self.findings)
        begin = len(self.entries)
        self._enter(container, octets, (), where, depth)
        fresh = [one for one in self.findings if one not in findings]
        facts |= self.facts & {Fact.ENCRYPTED}
        self.facts, self.findings = facts, findings
        known = {(one.sha256, one.names) for one in self.entries[:begin]}
        self.entries[begin:] = [
            _undamaged(one)
            for one in self.entries[begin:]
            if (one.sha256, one.names) not in known
        ]
        for one in fresh:
            if one.kind.startswith(("limit-", "not-inspectable")):
                self.limit(one.kind, one.detail)

    def _list(
        self,
        found: Iterable[Member | Oddity],
        where: str,
        depth: int,
        *,
        can_list: bool,
    ) -> set[Fact]:
        """Take each member; ``can_list`` says that names cost no reading of content."""
        facts: set[Fact] = set()
        for member in found:
            if isinstance(member, Oddity):
                facts |= self._odd(member, where)
            else:
                facts |= self._take(member, where, depth)
            self._check_time()
            if self._is_over or (self._is_full and not can_list):
                return facts | {Fact.LIMIT}
        return facts

    def _take(self, member: Member, where: str, depth: int) -> set[Fact]:
        """Make an entry of a member, and look into it; return what the archive gains.

        An archive with something encrypted in it is encrypted; likewise for limits.
        """
        self._members += 1
        if self._members > self.limits.entries:
            self._is_over = True
            self.limit("limit-entries", where)
            return {Fact.LIMIT}
        names, path = self._named(member, where)
        entry = Entry(path, names, member.size)
        if member.encrypted:
            self.entries.append(replace(entry, facts=frozenset({Fact.ENCRYPTED})))
            self.facts.add(Fact.ENCRYPTED)
            self._find("archive-encrypted", path)
            return {Fact.ENCRYPTED}
        if member.chunks is None or self._is_full:
            self.entries.append(replace(entry, facts=frozenset({Fact.LIMIT})))
            self.facts.add(Fact.LIMIT)
            return {Fact.LIMIT}
        return self._read(entry, member.chunks, depth)

    def _read(self, entry: Entry, chunks: Iterator[bytes], depth: int) -> set[Fact]:
        content, digest, size, facts = self._content(chunks, entry.path)
        if not facts and size < entry.size:
            # Zeros at the end that nobody has written down.
            facts = self._odd(Oddity("archive-sparse", entry.path, True, False), "")
        if Fact.LIMIT in facts:
            entry = replace(entry, size=max(size, entry.size))
        else:
            entry = replace(entry, size=size, sha256=digest)
        at = len(self.entries)
        self.entries.append(replace(entry, facts=frozenset(facts)))
        if not size or content is None:
            return facts
        found = containers(content)
        seen = self._detected(content, entry.names, found)
        entry = replace(entry, detected=seen.detected, facts=seen.facts | facts)
        self.entries[at] = entry
        is_archive = Fact.ARCHIVE in seen.facts
        inner = self.enter(
            content, found, entry.names, entry.path, depth + 1, is_archive=is_archive
        )
        self.entries[at] = replace(self.entries[at], facts=seen.facts | facts | inner)
        passed_on = {Fact.ENCRYPTED, Fact.LIMIT, Fact.MALFORMED}
        return (facts | inner | (seen.facts & {Fact.LIMIT})) & passed_on

    def _detected(
        self, content: bytes, names: tuple[str, ...], found: tuple[Container, ...]
    ) -> Contents:
        try:
            seen = detect(content, names, "", found)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - another's fault must not end this
            self.limit("detect-failed", type(error).__name__)
            return Contents(facts=frozenset({Fact.LIMIT}))
        for finding in seen.findings:
            self._find(finding.kind, finding.detail)
        return seen

    def _content(
        self, chunks: Iterator[bytes], path: str
    ) -> tuple[bytes | None, str, int, set[Fact]]:
        """Return content, its SHA-256, octets, and what is wrong with it.

        The content is None where it is too large to be looked into.
        """
        kept: BytesIO | None = BytesIO()
        digest = hashlib.sha256()
        facts: set[Fact] = set()
        size = 0
        try:
            for chunk in chunks:
                size += len(chunk)
                digest.update(chunk)
                if size > self.limits.entry_octets and kept is not None:
                    kept = None
                    self.limit("limit-entry-octets", path)
                    facts.add(Fact.LIMIT)
                if kept is not None:
                    kept.write(chunk)
                if not self._may_go_on(len(chunk), path):
                    facts.add(Fact.LIMIT)
                    break
        except UnreadableError as error:
            is_damaged = error.kind == "archive-damaged"
            detail = f"{path}: {error.detail}"
            facts |= self._odd(Oddity(error.kind, detail, True, is_damaged), "")
        # A BytesIO gives its octets away without copying them.
        content = kept.getvalue() if kept is not None else None
        return content, digest.hexdigest(), size, facts

    def _may_go_on(self, more: int, path: str) -> bool:
        self._expanded += more
        if self._expanded > self.limits.octets:
            self.limit("limit-octets", path)
            self._is_full = True
        elif self._expanded > self._ratio_octets:
            self.limit("limit-ratio", path)
            self._is_full = True
        self._check_time()
        return not self._is_full and not self._is_over

    def _check_time(self) -> None:
        if time.process_time() > self._end and not self._is_over:
            self._is_over = True
            self.limit("limit-seconds")

    def _iso(self, octets: bytes, where: str, depth: int) -> set[Fact]:
        """List a CD in the three ways in which systems read its folders.

        Joliet, Rock Ridge and plain names may lead to different files: those of a later
        way that no earlier one has are a disagreement; names for the same are added.
        """
        facts: set[Fact] = set()
        begin = len(self.entries)
        known: dict[tuple[str, int], int] = {}
        ways: tuple[str, ...] = _READINGS_OF_CD
        if not volume_descriptors(octets):
            ways = ways[:1]
        for options in ways:
            start = len(self.entries)
            found = libarchivereader.archive_members(octets, 0, options)
            facts |= self._list(found, where, depth, can_list=False)
            fresh = self.entries[start:]
            if options and known:
                del self.entries[start:]
                if self._merge(fresh, known):
                    self._odd(Oddity("archive-disagrees", "cd folders"), where)
                    facts.add(Fact.MALFORMED)
            for at in range(begin, len(self.entries)):
                one = self.entries[at]
                known.setdefault((one.sha256, one.size), at)
        return facts

    def _merge(self, fresh: list[Entry], known: dict[tuple[str, int], int]) -> bool:
        """Add names to entries that are there already; say whether others came."""
        is_new = False
        for entry in fresh:
            at = known.get((entry.sha256, entry.size))
            if at is None or not entry.sha256:
                self.entries.append(entry)
                is_new = True
                continue
            self._members -= 1
            one = self.entries[at]
            names = tuple(dict.fromkeys((*one.names, *entry.names)))
            self.entries[at] = replace(one, names=names)
        return is_new

    def _named(self, member: Member, where: str) -> tuple[tuple[str, ...], str]:
        names, is_shortened = readings(member.names)
        path = f"{where}!{names[0]}" if where else names[0]
        path = path[-MAX_PATH:]
        if is_shortened:
            self.limit("limit-name", path)
        if any(map(is_unsafe, names)):
            self._find("archive-path", path)
        self._characters += len(path) + sum(map(len, names))
        if self._characters > self.limits.name_characters:
            self._is_over = True
            self.limit("limit-names")
        return names, path

    def _odd(self, oddity: Oddity, where: str) -> set[Fact]:
        facts = set()
        if oddity.unseen:
            facts.add(Fact.LIMIT)
        if oddity.malformed:
            facts.add(Fact.MALFORMED)
        if oddity.encrypted:
            facts.add(Fact.ENCRYPTED)
        self.facts |= facts
        self._find(oddity.kind, ": ".join(filter(None, (where, oddity.detail))))
        return facts

    def _find(self, kind: str, detail: str) -> None:
        alike = sum(finding.kind == kind for finding in self.findings)
        if alike < MAX_ALIKE and len(self.findings) < MAX_FINDINGS:
            self.findings[Finding(kind, printable(detail))] = None


def _undamaged(entry: Entry) -> Entry:
    """Return an entry that was unread for its damage without a word of that."""
    if Fact.MALFORMED not in entry.facts:
        return entry
    return replace(entry, facts=entry.facts - {Fact.MALFORMED, Fact.LIMIT})
