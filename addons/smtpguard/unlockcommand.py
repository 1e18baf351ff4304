"""The command ``smtpguard unlock``: its arguments and printing, as in ``cli``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import argparse


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Have a parser read the command's arguments."""
    command.add_argument(
        "paths", nargs="+", metavar="PATH", type=Path, help=".clk file, or folder"
    )
    wanted = command.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "-o", "--output", metavar="DIR", type=Path, help="where the files appear"
    )
    wanted.add_argument("--verify", action="store_true", help="write nothing")
    command.add_argument(
        "--identity",
        action="append",
        default=[],
        metavar="FILE",
        type=Path,
        help="private age keys, as age-keygen writes them",
    )
    command.add_argument(
        "--audit", metavar="FILE", type=Path, help="append a JSON line for each file"
    )
    command.add_argument("--json", action="store_true", help="one line a file")
    command.set_defaults(command=unlock)


def unlock(arguments: argparse.Namespace) -> int:
    """Run the command; return the exit status. Raises SmtpGuardError, OSError."""
    from smtpguard.unlocking import unlocked  # noqa: PLC0415 - pyrage only here

    results = unlocked(
        arguments.paths,
        arguments.output,
        identities=arguments.identity,
        audit=arguments.audit,
    )
    status = 0
    for result in results:
        print(json.dumps(result.record()) if arguments.json else result.line)
        status = max(status, result.status)
    return status
