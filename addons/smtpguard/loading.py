"""Rule files from disk: the one place that says which, and reads them.

A rule file may name others (lists, includes) relative to itself; ``Ruleset.files``
tells which, so that whoever watches for changes watches them all.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from smtpguard import policy
from smtpguard.pipeline import Pipeline
from smtpguard.policy.files import read_file


if TYPE_CHECKING:
    from smtpguard.model.problem import Problem


def local_time() -> datetime:
    """Return the time of day where this machine is, with its zone."""
    return datetime.now().astimezone()


def load_pipeline(
    path: str, own_name: str = "smtpguard.invalid", previous: Pipeline | None = None
) -> Pipeline:
    """Load a rule file with all it names. Raises RulesError with every problem.

    ``previous`` is what a reload replaces: a list that shrank too much is kept.
    """
    old = previous.rules if previous is not None else None
    return Pipeline(policy.load(path, read_file, previous=old), local_time, own_name)


def check_rules(path: str) -> tuple[Problem, ...]:
    """Return every error of a rule file, or its warnings where it has none."""
    return policy.check(path, read_file)


def default_rules() -> Path:
    """Return the ``default.yaml`` that comes with smtpguard.

    In the wheel it lies in the package, in a working copy beside ``addons``.
    """
    package = Path(__file__).parent
    packed = package / "rules" / "default.yaml"
    return packed if packed.is_file() else package.parents[1] / "rules" / "default.yaml"
