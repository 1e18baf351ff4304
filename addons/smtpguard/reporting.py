"""What is told of a judged message: its trace, and the keys of contract 10."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from smtpguard.mime import outline, outline_defects


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smtpguard.looking import Look
    from smtpguard.mime import Message
    from smtpguard.model.contents import Entry
    from smtpguard.model.decision import Decision, TraceStep


MAX_TRACE = 2000
"""Steps of a message's trace; a thousand parts under a hundred rules would have a
hundred times as many in every record. The part that decided is always in it."""
MAX_ENTRIES = 500
"""Entries of archives in a message's report; more are a finding. Those that decided are
named in the trace."""
MAX_NAMES = 10
"""Names of one part in a report; any number can be given to it, rules see them all."""
MAX_TEXT = 255
"""Characters of a name, path or type in a report: what a file may be called."""


def trace(
    steps: Sequence[TraceStep], decisions: Mapping[str, Decision], worst: Decision
) -> Iterator[TraceStep]:
    """Yield the steps of the message, then of every part, the deciding part's first
    where they are many."""
    steps = steps[:MAX_TRACE]
    yield from steps
    paths = list(decisions)
    if sum(len(decision.trace) for decision in decisions.values()) > MAX_TRACE:
        paths.sort(key=lambda path: decisions[path] is not worst)
    of_parts = (step for path in paths for step in decisions[path].trace)
    yield from islice(of_parts, MAX_TRACE - len(steps))


def report(
    message: Message, decisions: Mapping[str, Decision], looks: Mapping[str, Look]
) -> dict[str, Any]:
    """Return ``ambiguous`` to ``findings`` of contract 10.

    Nothing is scanned yet: ``verdicts`` is empty.
    """
    measured = {path: (look.size, look.sha256) for path, look in looks.items()}
    left = MAX_ENTRIES
    parts: list[dict[str, Any]] = []
    findings: dict[str, None] = {}
    for part in outline(message, measured):
        look = looks.get(part["path"])
        entries = look.contents.entries if look else ()
        parts.append(_part(part, decisions.get(part["path"]), look, left))
        if len(part["names"]) > MAX_NAMES:
            findings["report:names-cut"] = None
        if len(entries) > left:
            findings["report:entries-cut"] = None
        left = max(0, left - len(entries))
        for finding in look.contents.findings if look else ():
            findings[f"content:{finding.kind}"] = None
    return {
        "ambiguous": any(defect.is_ambiguity for defect in message.defects),
        "defects": outline_defects(message),
        "parts": parts,
        "findings": list(findings),
    }


def _part(
    part: dict[str, Any], decision: Decision | None, look: Look | None, entries: int
) -> dict[str, Any]:
    contents = look.contents if look else None
    found = contents.entries if contents else ()
    return {
        "path": part["path"],
        "type": _cut(part["type"]),
        "detected": contents.detected or None if contents else None,
        "names": [_cut(name) for name in part["names"][:MAX_NAMES]],
        "size": part["size"],
        "sha256": part["sha256"],
        "facts": sorted(look.facts) if look else [],
        "entries": [_entry(entry) for entry in found[:entries]],
        "verdicts": [],
        "rule": decision.rule if decision else "",
        "action": str(decision.action) if decision else "",
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "name": _cut(entry.path),
        "type": entry.detected or None,
        "size": entry.size,
        "sha256": entry.sha256,
        "facts": sorted(entry.facts),
    }


def _cut(text: str) -> str:
    """Return at most ``MAX_TEXT`` characters: both ends, for a name's tells most."""
    if len(text) <= MAX_TEXT:
        return text
    half = (MAX_TEXT - len("...")) // 2
    return f"{text[:half]}...{text[-half:]}"
