"""The command ``smtpguard import``: its arguments and printing, as in ``cli``.

Rules go to the output, remarks to standard error: what is not as it was is never only a
line in a long file.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from smtpguard import policy
from smtpguard.errors import SmtpGuardError
from smtpguard.terminal import visible
from smtpguard.watchguard import converted, read_actions
from smtpguard.wholefile import appear


if TYPE_CHECKING:
    from smtpguard.watchguard import Remark


_FINE, _FINDING = 0, 1
MAX_OCTETS = 64 * 1024 * 1024
"""Of a configuration."""

type _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_command(commands: _Commands) -> None:
    """Have the parser of all commands read this one."""
    command = commands.add_parser("import", help="rules from another product")
    products = command.add_subparsers(metavar="PRODUCT", required=True)
    watchguard = products.add_parser(
        "watchguard", help="the SMTP proxy actions of a Fireware configuration"
    )
    watchguard.add_argument("file", metavar="FILE.xml", type=Path)
    watchguard.add_argument(
        "--action",
        dest="actions",
        metavar="NAME",
        action="append",
        default=[],
        help="this proxy action; by default those that are your own",
    )
    watchguard.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="new file for the rules"
    )
    watchguard.set_defaults(command=_watchguard)


def _watchguard(arguments: argparse.Namespace) -> int:
    actions = read_actions(_octets(arguments.file))
    text, remarks = converted(actions, arguments.actions)
    if arguments.output is None:
        sys.stdout.write(text)
    elif not appear(arguments.output, text.encode(), os.link):
        raise SmtpGuardError(f"{arguments.output}: is there already")
    return max(_tell(remarks), _check(text))


def _check(text: str) -> int:
    """Tell what is wrong with the rules: a value that is none here, or two names that
    are one. Return the status."""
    errors = [
        one
        for one in policy.check("rules", {"rules": text}.__getitem__)
        if one.severity == "error"
    ]
    for error in errors:
        print(visible(f"to be mended: {error}"), file=sys.stderr)
    return _FINDING if errors else _FINE


def _octets(path: Path) -> bytes:
    """Return what a file holds. Raises OSError, and SmtpGuardError where it is much."""
    with path.open("rb") as file:
        octets = file.read(MAX_OCTETS + 1)
    if len(octets) > MAX_OCTETS:
        raise SmtpGuardError(f"{path}: more than {MAX_OCTETS} octets")
    return octets


def _tell(remarks: list[Remark]) -> int:
    for remark in remarks:
        print(visible(str(remark)), file=sys.stderr)
    lost = sum(remark.kind == "lost" for remark in remarks)
    changed = len(remarks) - lost
    print(f"{lost} lost, {changed} to be looked at", file=sys.stderr)
    return _FINDING if lost else _FINE
