"""The options of the addon: one table for mitmproxy, the README and the command line.

Everything that belongs to mail is in the rule file; options say where it is and how
this process behaves. Values are checked here as a whole and handed on as one frozen
value, so that a session sees one state of them from its beginning to its end.
"""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mitmproxy import exceptions

from smtpguard.loading import default_rules
from smtpguard.ports import parse_address


if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitmproxy.options import Options


type Record = Literal["none", "envelope", "full"]
type Addresses = Literal["full", "hashed", "none"]
type Form = Literal["text", "json"]

DEFAULT_PORTS = frozenset({25, 465, 587, 2525})
RECORD: tuple[Record, ...] = ("none", "envelope", "full")
ADDRESSES: tuple[Addresses, ...] = ("full", "hashed", "none")
FORMS: tuple[Form, ...] = ("text", "json")


@dataclass(frozen=True, slots=True)
class Option:
    """One option, as ``add_option`` takes it."""

    name: str
    type: type
    default: Any
    help: str


OPTIONS = (
    Option(
        "smtpguard_rules",
        str,
        "",
        "Rule file (YAML). Empty: the rules/default.yaml that comes with smtpguard, "
        "which accepts no recipient until it is told the own domains.",
    ),
    Option(
        "smtpguard_ports",
        str,
        ",".join(str(port) for port in sorted(DEFAULT_PORTS)),
        "Destination ports that are SMTP in transparent, socks5, wireguard and local "
        "mode; other ports are left to mitmproxy. In reverse mode (tcp and tls) every "
        "connection is SMTP.",
    ),
    Option(
        "smtpguard_name",
        str,
        "",
        "Host name that smtpguard calls itself by. Empty: the name of this machine.",
    ),
    Option(
        "smtpguard_record",
        str,
        "full",
        "What flows keep of a session: full (dialogue and messages), envelope (the "
        "dialogue without messages) or none (the outcome alone).",
    ),
    Option(
        "smtpguard_record_limit",
        int,
        1024 * 1024,
        "Octets of each message that a flow keeps; 0 keeps none of them.",
    ),
    Option(
        "smtpguard_record_auth",
        bool,
        False,
        "Keep the secrets of AUTH in flows. For research with accounts made for it.",
    ),
    Option(
        "smtpguard_log_addresses",
        str,
        "full",
        "Mail addresses in the log: full, hashed or none.",
    ),
    Option(
        "smtpguard_log_form",
        str,
        "text",
        "The log's line of a transaction: text (name=value) or json.",
    ),
    Option(
        "smtpguard_metrics",
        str,
        "",
        "Where Prometheus reads metrics: PORT on loopback, or HOST:PORT; of several "
        "workers each has the next port. Empty: nowhere.",
    ),
    Option(
        "smtpguard_max_connections",
        int,
        500,
        "SMTP connections at the same time; further clients are greeted 421 4.7.0.",
    ),
    Option(
        "smtpguard_max_connections_per_network",
        int,
        50,
        "The same for one client network (IPv4 address, IPv6 /64). Trusted clients "
        "(PROXY, XCLIENT) stand for many and are not counted.",
    ),
    Option(
        "smtpguard_spool_dir",
        str,
        "",
        "Folder for messages that are too large to wait in memory (over 4 MiB, or "
        "beyond 96 MiB of all together) while they are judged. Files there have no "
        "name. Empty: /var/tmp.",
    ),
)


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """The options' values, checked."""

    rules: Path
    ports: frozenset[int] = DEFAULT_PORTS
    own_name: str = "localhost"
    record: Record = "full"
    record_limit: int = 1024 * 1024
    record_auth: bool = False
    log_addresses: Addresses = "full"
    log_form: Form = "text"
    metrics: tuple[str, int] | None = None
    """Host and port; None: nobody reads them."""
    max_connections: int = 500
    max_connections_per_network: int = 50
    spool_dir: str = ""


def read_options(options: Options) -> GuardOptions:
    """Check mitmproxy's options and return ours.

    Raises:
        OptionsError: with every fault, one a line.
    """
    faults: list[str] = []
    ports = _ports(options.smtpguard_ports, faults)
    record = _one_of("smtpguard_record", options.smtpguard_record, RECORD, faults)
    addresses = _one_of(
        "smtpguard_log_addresses", options.smtpguard_log_addresses, ADDRESSES, faults
    )
    form = _one_of("smtpguard_log_form", options.smtpguard_log_form, FORMS, faults)
    for name, least in (
        ("smtpguard_record_limit", 0),
        ("smtpguard_max_connections", 1),
        ("smtpguard_max_connections_per_network", 1),
    ):
        if getattr(options, name) < least:
            faults.append(f"{name}: must be {least} or more")
    metrics = _metrics(options.smtpguard_metrics, faults)
    own_name = options.smtpguard_name or socket.gethostname()
    if not own_name.isascii() or not own_name.isprintable() or " " in own_name:
        faults.append(f"smtpguard_name: not a host name: {own_name!r}")
    rules = _expanded("smtpguard_rules", options.smtpguard_rules, faults)
    spool_dir = _expanded("smtpguard_spool_dir", options.smtpguard_spool_dir, faults)
    if options.smtpguard_spool_dir and not spool_dir.is_dir():
        faults.append(f"smtpguard_spool_dir: not a folder: {str(spool_dir)!r}")
    else:
        _check_spool(options.smtpguard_spool_dir and str(spool_dir), faults)
    if faults:
        raise exceptions.OptionsError("\n".join(faults))
    return GuardOptions(
        rules=rules if options.smtpguard_rules else default_rules(),
        ports=ports,
        own_name=own_name,
        record=cast("Record", record),
        record_limit=options.smtpguard_record_limit,
        record_auth=options.smtpguard_record_auth,
        log_addresses=cast("Addresses", addresses),
        log_form=cast("Form", form),
        metrics=metrics,
        max_connections=options.smtpguard_max_connections,
        max_connections_per_network=options.smtpguard_max_connections_per_network,
        spool_dir=str(spool_dir) if options.smtpguard_spool_dir else "",
    )


def default_directory() -> str | None:
    """Return where large messages go unless an option says otherwise.

    Not the usual temporary folder if it can be helped: that is memory on many systems,
    and messages are moved out of memory on purpose.
    """
    if os.path.isdir("/var/tmp") and os.access("/var/tmp", os.W_OK):  # noqa: S108, PTH112
        return "/var/tmp"  # noqa: S108
    return None


def rules_path(given: str) -> Path:
    """Return the rule file that was asked for, or the one that comes with smtpguard.

    A ``~`` of whose home nothing is known stays: there will be no such file.
    """
    return _expanded("", given, []) if given else default_rules()


def _expanded(name: str, given: str, faults: list[str]) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # no home, or nobody of that name
        faults.append(f"{name}: {given!r}: {error}")
        return Path(given)


def _check_spool(given: str, faults: list[str]) -> None:
    """Make a file where large messages will lie: better known now than at the first."""
    try:
        with tempfile.TemporaryFile(dir=given or default_directory()) as file:
            file.write(b"x")
    except OSError as error:
        folder = repr(given or default_directory() or tempfile.tempdir or "any folder")
        why = error.strerror or str(error)
        faults.append(f"smtpguard_spool_dir: no file can be made in {folder}: {why}")


def misspelt(deferred: Iterable[str]) -> list[str]:
    """Return what ``--set`` was given in our name and no option is called.

    mitmproxy keeps such values silently for addons that may come; for a gateway that
    means running with a default that nobody asked for.
    """
    known = {option.name for option in OPTIONS}
    return sorted(
        name for name in deferred if name.startswith("smtpguard") and name not in known
    )


def _metrics(text: str, faults: list[str]) -> tuple[str, int] | None:
    try:
        return parse_address(text) if text else None
    except ValueError:
        faults.append(f"smtpguard_metrics: not PORT or HOST:PORT: {text!r}")
        return None


def _ports(text: str, faults: list[str]) -> frozenset[int]:
    try:
        ports = frozenset(int(port) for port in text.replace(",", " ").split())
    except ValueError:
        ports = frozenset()
    if not ports or not all(0 < port < 65536 for port in ports):
        faults.append(f"smtpguard_ports: not a list of ports: {text!r}")
    return ports


def _one_of(name: str, value: str, known: tuple[str, ...], faults: list[str]) -> str:
    if value not in known:
        faults.append(f"{name}: {value!r} is none of {', '.join(known)}")
    return value
