"""The command ``smtpguard quarantine``: its arguments and printing, as in ``cli``.

What others have written reaches a terminal through ``visible`` alone; ``show
--message`` is for a pipe or a file. An item that cannot be dealt with does not keep the
command from the others.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from smtpguard import policy
from smtpguard.errors import NotReleasedError, SmtpGuardError, os_text
from smtpguard.loading import default_rules
from smtpguard.policy.deliveryreader import DeliverySettings
from smtpguard.policy.files import read_file
from smtpguard.policy.quarantinereader import QuarantineSettings
from smtpguard.quarantine.delivery import Fate
from smtpguard.quarantine.digest import held_for, send_digest
from smtpguard.quarantine.ids import is_id
from smtpguard.quarantine.index import Index, Query
from smtpguard.quarantine.record import Kind, State
from smtpguard.quarantine.recordfile import to_octets
from smtpguard.quarantine.release import release
from smtpguard.quarantine.store import Store
from smtpguard.quarantine.survey import whole
from smtpguard.quarantine.upkeep import purge, reindex
from smtpguard.quarantineshown import described, row_json, row_line, state_shown
from smtpguard.terminal import visible
from smtpguard.wholefile import appear
from smtpguard.wire import parse_mailbox


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from smtpguard.model.mailbox import Mailbox
    from smtpguard.quarantine.delivery import Result


_FINE, _FINDING, _USAGE = 0, 1, 2
_AGO: Final = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_VIA: Final = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")

type _Actions = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_command(commands: _Actions) -> None:
    """Have the parser of all commands read this one."""
    command = commands.add_parser(
        "quarantine", help="list, show, release, delete what was kept"
    )
    actions = command.add_subparsers(metavar="ACTION", required=True)
    _add_list(actions)
    _add_show(actions)
    _add_release(actions)
    ids = _action(actions, "delete", "delete items", _delete)
    ids.add_argument("ids", metavar="ID", nargs="+", type=item_id)
    _action(actions, "purge", "delete what is old, as the rules say", _purge)
    _action(actions, "reindex", "make the index again from the files", _reindex)
    export = _action(actions, "export", "write octets into files", _export)
    export.add_argument("ids", metavar="ID", nargs="+", type=item_id)
    export.add_argument(
        "-o", "--output", metavar="DIR", type=Path, required=True, help="where to"
    )
    told = _action(actions, "digest", "mail each recipient what is held", _digest)
    told.add_argument(
        "--from",
        dest="sender",
        metavar="ADDRESS",
        type=address,
        help="not as delivery says",
    )
    told.add_argument("--since", metavar="WHEN", type=when, help="as in list")


def _action(
    actions: _Actions, name: str, text: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add an action with what all of them take."""
    action = actions.add_parser(name, help=text)
    where = action.add_mutually_exclusive_group()
    where.add_argument(
        "--rules",
        metavar="FILE",
        default=str(default_rules()),
        help="rule file that names quarantine and delivery",
    )
    where.add_argument("--folder", metavar="DIR", type=Path, help="the quarantine")
    action.add_argument("--json", action="store_true", help="one object a line")
    action.set_defaults(command=run)
    return action


def _add_list(actions: _Actions) -> None:
    action = _action(actions, "list", "tell what is kept", _list)
    action.add_argument("--state", choices=[*State], type=State)
    action.add_argument("--kind", choices=[*Kind], type=Kind)
    action.add_argument("--recipient", metavar="ADDRESS", help="or @domain")
    action.add_argument("--sender", metavar="ADDRESS", help="or @domain, or <>")
    action.add_argument(
        "--since", metavar="WHEN", type=when, help="2026-11-24, or 30m, 12h, 7d ago"
    )


def _add_show(actions: _Actions) -> None:
    action = _action(actions, "show", "tell all that is known of an item", _show)
    action.add_argument("id", metavar="ID", type=item_id)
    action.add_argument(
        "--message", action="store_true", help="write its octets instead"
    )


def _add_release(actions: _Actions) -> None:
    action = _action(actions, "release", "send messages on", _release)
    action.add_argument("ids", metavar="ID", nargs="+", type=item_id)
    several = partial(
        action.add_argument, action="append", default=[], metavar="ADDRESS"
    )
    several("--recipient", type=address, help="to this recipient alone")
    several("--to", type=address, help="to this address instead")
    action.add_argument(
        "--via", metavar="HOST:PORT", type=server, help="not as the rules say"
    )
    action.add_argument(
        "--force", action="store_true", help="also to whom it may have gone already"
    )


# -- actions -------------------------------------------------------------------------


def _list(arguments: argparse.Namespace) -> int:
    wanted = arguments.state
    query = Query(
        # Whether a release is in doubt stands in no record.
        None if wanted in {State.RELEASING, State.IN_DOUBT} else wanted,
        arguments.kind,
        arguments.recipient,
        arguments.sender,
        arguments.since,
    )
    store = _Place(arguments).store
    if not store.stamps():  # whatever folder it is, nothing is made in it
        return _FINE
    with Index(store) as index:
        problems = index.refresh()
        rows = index.rows(query)
    for row in rows:
        shown = replace(row, state=state_shown(store, row.id, row.state))
        if wanted in {None, shown.state}:
            as_json = arguments.json
            print(json.dumps(row_json(shown)) if as_json else visible(row_line(shown)))
    return max([_FINE, *map(_complain, problems)])


def _show(arguments: argparse.Namespace) -> int:
    store = _Place(arguments).store
    record = store.read(arguments.id)
    if arguments.message:
        for chunk in whole(store, record).chunks():
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    elif arguments.json:
        print(json.dumps(json.loads(to_octets(record))))
    else:
        print(*map(visible, described(store, record)), sep="\n")
    return _FINE


def _release(arguments: argparse.Namespace) -> int:
    place = _Place(arguments)

    def one(item: str) -> int:
        results = release(
            place.store,
            item,
            arguments.via or place.delivery,
            _now,
            recipients=arguments.recipient,
            to=arguments.to,
            force=arguments.force,
        )
        return max(
            _tell(arguments, item, str(whom), result)
            for whom, result in results.items()
        )

    return _each(arguments.ids, one)


def _delete(arguments: argparse.Namespace) -> int:
    store = _Place(arguments).store

    def one(item: str) -> int:
        store.delete(item)
        return _done(arguments, "deleted", item)

    return _each(arguments.ids, one)


def _purge(arguments: argparse.Namespace) -> int:
    place = _Place(arguments)
    for item in purge(place.store, place.settings, _now()):
        _done(arguments, "purged", item)
    return _FINE


def _reindex(arguments: argparse.Namespace) -> int:
    number, problems = reindex(_Place(arguments).store)
    if arguments.json:
        print(json.dumps({"items": number, "damaged": len(problems)}))
    else:
        print(f"{number} item{'' if number == 1 else 's'}")
    return max([_FINE, *map(_complain, problems)])


def _export(arguments: argparse.Namespace) -> int:
    store, folder = _Place(arguments).store, arguments.output
    folder.mkdir(parents=True, exist_ok=True)

    def one(item: str) -> int:
        record = store.read(item)
        ending = "part" if record.kind is Kind.PART else "eml"
        path = folder / f"{item}.{ending}"
        octets = b"".join(whole(store, record).chunks())
        if not appear(path, octets, os.link, mode=0o600):
            raise SmtpGuardError(f"{path}: is there already")
        return _done(arguments, "exported", item, file=str(path))

    return _each(arguments.ids, one)


def _digest(arguments: argparse.Namespace) -> int:
    place = _Place(arguments)
    if place.delivery is None:
        raise SmtpGuardError("a digest needs delivery in the rules")
    sender = arguments.sender or place.delivery.sender
    if sender is None:
        raise SmtpGuardError("a digest needs --from, or delivery.from in the rules")
    with Index(place.store) as index:
        status = max([_FINE, *map(_complain, index.refresh())])
        rows = index.rows(Query(State.HELD, Kind.MESSAGE, since=arguments.since))
    held = held_for(place.store.read(row.id) for row in rows)
    for recipient, records in held.items():
        result = send_digest(place.delivery, recipient, records, sender, _now())
        status = max(status, _tell(arguments, "digest", str(recipient), result))
    return status


def _each(ids: Iterable[str], run: Callable[[str], int]) -> int:
    """Do it for every item; return the worst status."""
    status = _FINE
    for item in ids:
        try:
            status = max(status, run(item))
        except NotReleasedError as error:
            status = max(status, _complain(error, _FINDING))
        except SmtpGuardError as error:
            status = _complain(error)
        except OSError as error:
            status = _complain(os_text(error))
    return status


# -- what arguments mean -------------------------------------------------------------


class _Place:
    """Where the quarantine is, and what the rules say of it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.delivery: DeliverySettings | None = None
        if arguments.folder is not None:
            self.settings = QuarantineSettings(str(arguments.folder))
        else:
            rules = policy.load(arguments.rules, read_file)
            if rules.quarantine is None:
                raise SmtpGuardError(f"{arguments.rules}: names no quarantine")
            self.settings, self.delivery = rules.quarantine, rules.delivery
        self.store = Store(Path(self.settings.folder))


def _now() -> datetime:
    return datetime.now(UTC)


def item_id(text: str) -> str:
    """Return an id as it is listed; small letters are the same ones."""
    return text.upper() if is_id(text.upper()) else text


def address(text: str) -> Mailbox:
    """Return a mailbox; raises ValueError."""
    return parse_mailbox(text)


def when(text: str) -> datetime:
    """Return a moment; raises ValueError. Without a zone it is this machine's."""
    if ago := _AGO.fullmatch(text):
        try:
            return _now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            raise ValueError(text) from None
    return datetime.fromisoformat(text).astimezone()


def server(text: str) -> DeliverySettings:
    """Return how to reach ``HOST:PORT``; raises ValueError."""
    found = _VIA.fullmatch(text)
    if found is None or not 0 < int(found[3] or 25) < 2**16:
        raise ValueError(text)
    return DeliverySettings(found[1] or found[2], int(found[3] or 25))


# -- printing ------------------------------------------------------------------------


def _complain(problem: Exception | str, status: int = _USAGE) -> int:
    print(visible(f"smtpguard: {problem}"), file=sys.stderr)
    return status


def _done(arguments: argparse.Namespace, word: str, item: str, **more: str) -> int:
    if arguments.json:
        print(json.dumps({"id": item, "result": word, **more}))
    else:
        print(visible(": ".join((word, item, *more.values()))))
    return _FINE


def _tell(arguments: argparse.Namespace, item: str, whom: str, result: Result) -> int:
    if arguments.json:
        told = {"id": item, "recipient": whom, "result": result.fate.value}
        print(json.dumps({**told, "text": result.text}))
    else:
        print(visible(f"{result.fate.value}: {item}: {whom}: {result.text}"))
    return _FINE if result.fate is Fate.SENT else _FINDING
