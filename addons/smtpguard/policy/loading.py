"""Loads and checks rule files: the way in.

Pure but for the ``read`` it is given. A file that has errors gives no rule set at all;
what the caller had before stays in force.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from smtpguard.errors import RulesError
from smtpguard.policy.document import read_document
from smtpguard.policy.kinds import Context
from smtpguard.policy.listreader import ListReader
from smtpguard.policy.lists import Lists
from smtpguard.policy.problems import Sink, TooManyProblemsError
from smtpguard.policy.review import review
from smtpguard.policy.ruleset import Ruleset
from smtpguard.policy.sources import Sources


if TYPE_CHECKING:
    from collections.abc import Callable

    from smtpguard.model.problem import Problem
    from smtpguard.model.scannerspec import ScannerSpec
    from smtpguard.policy.policies import Policy


def load(
    name: str,
    read: Callable[[str], str],
    *,
    previous: Ruleset | None = None,
) -> Ruleset:
    """Load a rule file; raises ``RulesError`` with every problem found.

    ``read`` returns the text of a file by its name, bounds its length and raises
    OSError or ValueError (see ``files.read_file``). ``previous`` is what a reload
    replaces: file lists that shrank too much keep its entries.
    """
    ruleset, problems = _load(name, read, previous)
    if ruleset is None:
        raise RulesError(problems)
    return ruleset


def check(name: str, read: Callable[[str], str]) -> tuple[Problem, ...]:
    """Return every error of a rule file, or its warnings where it has none."""
    return _load(name, read, None)[1]


def _asked(policies: tuple[Policy, ...]) -> tuple[ScannerSpec, ...]:
    """Return the scanners that these policies ask, each once."""
    tables = [table for one in policies for table in (one.antivirus, one.spam)]
    specs = (spec for table in tables if table for spec in table.scanners)
    return tuple(dict.fromkeys(specs))


def _load(
    name: str, read: Callable[[str], str], previous: Ruleset | None
) -> tuple[Ruleset | None, tuple[Problem, ...]]:
    sink = Sink()
    lists = Lists(sink)
    sources = Sources(read, sink)
    old = {one.name: one for one in previous.file_lists} if previous else {}
    reader = ListReader(sources, old)
    try:
        document = read_document(name, Context(sink, lists), reader)
    except TooManyProblemsError:
        document = None
    if document is None or sink.errors:
        return None, sink.problems
    ruleset = Ruleset(
        document.policies,
        document.domains,
        document.trusted_clients,
        (),
        sources.digest,
        tuple(sources.files),
        tuple(one for one in lists.sources.values() if one.from_file),
        document.dns,
        _asked(document.policies),
        document.quarantine,
        document.delivery,
        document.block,
        document.alarm,
    )
    review(ruleset, lists, sink)
    return replace(ruleset, warnings=sink.problems), sink.problems
