"""What is told of a judged message: the reply, its trace, the keys of contract 10."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from smtpguard.mime import outline, outline_defects
from smtpguard.model.decision import NO_SIDE, Action
from smtpguard.model.disposition import Outcome
from smtpguard.model.verdict import VerdictKind
from smtpguard.policy.spam import CLEAN
from smtpguard.scanning import SPAM
from smtpguard.wire import replies


if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from smtpguard.examining import Examined
    from smtpguard.looking import Look
    from smtpguard.mime import Edit
    from smtpguard.model.contents import Entry
    from smtpguard.model.decision import Decision, SideActions, TraceStep
    from smtpguard.model.reply import Reply
    from smtpguard.model.verdict import Verdict


MAX_TRACE = 2000
"""Steps of a message's trace; a thousand parts under a hundred rules would have a
hundred times as many in every record. The part that decided is always in it."""
MAX_ENTRIES = 500
"""Entries of archives in a message's report; more are a finding. Those that decided are
named in the trace."""
MAX_SYMBOLS = 50
"""Of a spam engine, in a report."""
MAX_NAMES = 10
"""Names of one part in a report; any number can be given to it, rules see them all."""
MAX_TEXT = 255
"""Characters of a name, path or type in a report: what a file may be called."""


def ending(
    worst: Decision, edits: tuple[Edit, ...], identifier: str
) -> tuple[Outcome, Reply | None]:
    """Return what the most severe decision means for the whole message."""
    match worst.action:
        case Action.DENY if worst.reply is not None:
            if worst.own_reply:
                return Outcome.REJECTED, worst.reply
            # Ours tells the reference as well.
            return Outcome.REJECTED, replies.policy_refused(identifier)
        case Action.TEMPFAIL if worst.reply is not None:
            return Outcome.DEFERRED, worst.reply
        case Action.DISCARD:
            return Outcome.DISCARDED, replies.OK
        case Action.DROP | Action.BLOCK:
            return Outcome.DROPPED, None
        case Action.STRIP | Action.LOCK | Action.TAG | Action.QUARANTINE if edits:
            return Outcome.MODIFIED, None
        case Action.QUARANTINE:
            return Outcome.QUARANTINED, replies.OK
        case Action.ALLOW | Action.REWRITE:
            return (Outcome.MODIFIED if edits else Outcome.RELAYED), None
        case _:
            # What this build cannot do must not end as if it had been allowed.
            return Outcome.DEFERRED, replies.UNDECIDED


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


def report(said: Examined, side: SideActions = NO_SIDE) -> dict[str, Any]:
    """Return ``ambiguous`` to ``spam`` of contract 10, and ``side`` where something is
    done beside."""
    message, decisions, looks = said.message, said.parts, said.looks
    measured = {path: (look.size, look.sha256) for path, look in looks.items()}
    left = MAX_ENTRIES
    parts: list[dict[str, Any]] = []
    findings: dict[str, None] = {}
    for part in outline(message, measured):
        look = looks.get(part["path"])
        entries = look.contents.entries if look else ()
        verdicts = said.verdicts.get(part["path"], ())
        parts.append(_part(part, decisions.get(part["path"]), look, left, verdicts))
        if len(part["names"]) > MAX_NAMES:
            findings["report:names-cut"] = None
        if len(entries) > left:
            findings["report:entries-cut"] = None
        left = max(0, left - len(entries))
        for finding in look.contents.findings if look else ():
            findings[f"content:{finding.kind}"] = None
    findings.update(dict.fromkeys(_found(said)))
    return {
        "ambiguous": any(defect.is_ambiguity for defect in message.defects),
        "defects": outline_defects(message),
        "parts": parts,
        "findings": list(findings),
        "spam": _spam(said),
        **({"side": _side(side)} if side else {}),
    }


def _side(side: SideActions) -> dict[str, list[str]]:
    """Return side actions by name, those that there are."""
    told = {
        "add_header": [f"{name}: {value}" for name, value in side.add_header],
        "bcc": [str(mailbox) for mailbox in side.bcc],
        "notify": [str(mailbox) for mailbox in side.notify],
    }
    return {name: values for name, values in told.items() if values}


def _found(said: Examined) -> Iterator[str]:
    """Yield what scanners found, and where one did not answer; each once."""
    for verdicts in said.verdicts.values():
        for one in verdicts:
            if one.kind not in (VerdictKind.CLEAN, VerdictKind.SCORED):
                words = f"{one.scanner or 'scanner'}:{one.kind}"
                yield f"{words}:{one.name}" if one.name else words


def _spam(said: Examined) -> dict[str, Any] | None:
    """Return the score of a message; None for one that was not scored."""
    verdicts = said.verdicts.get(SPAM, ())
    if not verdicts or verdicts[-1].score is None or said.policy.spam is None:
        return None
    last = verdicts[-1]
    category = said.policy.spam.category(verdicts[-1].score)
    return {
        "score": last.score,
        "category": category.name if category else CLEAN,
        "scanner": last.scanner,
        "said": last.said,
        "symbols": {one.name: one.score for one in last.symbols[:MAX_SYMBOLS]},
    }


def _part(
    part: dict[str, Any],
    decision: Decision | None,
    look: Look | None,
    entries: int,
    verdicts: Sequence[Verdict],
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
        "verdicts": [_verdict(one) for one in verdicts],
        "rule": decision.rule if decision else "",
        "action": str(decision.action) if decision else "",
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "scanner": verdict.scanner,
        "kind": str(verdict.kind),
        "name": verdict.name,
        "reason": verdict.reason,
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
