"""Rule files from disk: the one place that says which, and reads them.

A rule file may name others (lists, includes) relative to itself; ``Ruleset.files``
tells which, so that whoever watches for changes watches them all.
"""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from smtpguard import policy
from smtpguard.errors import RulesError
from smtpguard.model.problem import Problem
from smtpguard.pipeline import Pipeline
from smtpguard.policy.files import read_file


if TYPE_CHECKING:
    from smtpguard.policy import Ruleset


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


def load_for_clients(
    path: str, own_name: str, previous: Pipeline | None = None
) -> Pipeline:
    """Load a rule file and read the certificates it names. Raises RulesError.

    For whoever serves clients: better at the start than at each client's handshake.
    """
    pipeline = load_pipeline(path, own_name, previous)
    check_certificates(pipeline.rules)
    return pipeline


def check_rules(path: str) -> tuple[Problem, ...]:
    """Return every error of a rule file, or its warnings where it has none."""
    try:
        ruleset = policy.load(path, read_file)
        check_certificates(ruleset)
    except RulesError as error:
        return error.problems
    return ruleset.warnings


def check_certificates(ruleset: Ruleset) -> None:
    """Read every certificate that is named. Raises RulesError for those of no use."""
    problems = []
    for one in ruleset.policies:
        for _, file in one.settings.client_tls.certificate:
            if why := _unusable(file):
                mark = one.mark
                text = f"policy {one.name}: cannot use the certificate {file}: {why}"
                problems.append(
                    Problem(mark.file, mark.line, mark.column, text, "cannot-read")
                )
    if problems:
        raise RulesError(tuple(problems))


def _unusable(file: str) -> str:
    """Say why a PEM file has no certificate with its key; "" if it has."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            file, password=lambda: b""
        )
    except ssl.SSLError as error:
        return error.reason or "no certificate with its key in it"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def default_rules() -> Path:
    """Return the ``default.yaml`` that comes with smtpguard.

    In the wheel it lies in the package, in a working copy beside ``addons``.
    """
    package = Path(__file__).parent
    packed = package / "rules" / "default.yaml"
    return packed if packed.is_file() else package.parents[1] / "rules" / "default.yaml"
