"""The commands ``smtpguard blocked`` and ``unblock``: arguments and printing.

What files hold reaches a terminal through ``visible`` alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from smtpguard import policy
from smtpguard.blocking.folderblocker import FolderBlocker
from smtpguard.errors import BlockError
from smtpguard.loading import default_rules
from smtpguard.policy.blockreader import BlockSettings
from smtpguard.policy.files import read_file
from smtpguard.terminal import visible


_FINE, _FINDING, _USAGE = 0, 1, 2

type _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_commands(commands: _Commands) -> None:
    """Have the parser of all commands read these."""
    blocked = commands.add_parser("blocked", help="list the clients that are refused")
    _add_place(blocked)
    blocked.add_argument("--json", action="store_true", help="one object a line")
    blocked.set_defaults(command=_blocked)
    unblock = commands.add_parser("unblock", help="let clients in again")
    _add_place(unblock)
    who = unblock.add_mutually_exclusive_group(required=True)
    who.add_argument("addresses", metavar="ADDRESS", nargs="*", default=[])
    who.add_argument("--all", action="store_true", help="all of them")
    unblock.set_defaults(command=_unblock)


def _add_place(command: argparse.ArgumentParser) -> None:
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--rules",
        metavar="FILE",
        default=str(default_rules()),
        help="rule file with the key block",
    )
    where.add_argument("--folder", metavar="DIR", type=Path, help="its folder")


def _blocker(arguments: argparse.Namespace) -> FolderBlocker:
    if arguments.folder is not None:
        if not arguments.folder.is_dir():
            raise BlockError(f"{arguments.folder}: no such folder")
        return FolderBlocker(BlockSettings(str(arguments.folder)))
    rules = policy.load(arguments.rules, read_file)
    if rules.block is None:
        raise BlockError(f"{arguments.rules}: has no key block")
    return FolderBlocker(rules.block)


def _blocked(arguments: argparse.Namespace) -> int:
    for block in _blocker(arguments).blocks():
        since, until = _moment(block.since), _moment(block.until)
        if arguments.json:
            print(json.dumps({**asdict(block), "since": since, "until": until}))
        else:
            words = (block.network, f"until {until}", block.rule, block.transaction)
            print(visible("  ".join(filter(None, words))))
    return _FINE


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _unblock(arguments: argparse.Namespace) -> int:
    blocker = _blocker(arguments)
    addresses = arguments.addresses
    if arguments.all:
        addresses = [block.network for block in blocker.blocks()]
    status = _FINE
    for address in addresses:
        try:
            there = blocker.forget(address)
        except BlockError as error:
            print(visible(f"smtpguard: {error}"), file=sys.stderr)
            status = _USAGE
            continue
        print(visible(f"{'unblocked' if there else 'not blocked'}: {address}"))
        status = max(status, _FINE if there else _FINDING)
    return status
