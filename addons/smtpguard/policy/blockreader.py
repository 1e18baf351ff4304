"""``block`` of a rule file: where blocked clients are remembered, and how long."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from smtpguard.policy.kinds import (
    TEXT,
    Context,
    Kind,
    choice,
    duration,
    integer,
    scalar,
)
from smtpguard.policy.matching import NETWORKS
from smtpguard.policy.networks import NetworkSet
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Key, Shape, shaped
from smtpguard.policy.sources import beside


if TYPE_CHECKING:
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


_LONGEST = 30 * 86400.0
_NFT_NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,63}")
"""Less than nft takes: it reads its arguments as a language."""


@dataclass(frozen=True, slots=True)
class NftSets:
    """Sets of nftables that blocked clients are put into."""

    family: str = "inet"
    table: str = "smtpblock"
    set: str = "blocked"
    """Of IPv4 addresses."""
    set6: str = "blocked6"
    """Of IPv6 networks."""


@dataclass(frozen=True, slots=True)
class BlockSettings:
    """What the action ``block`` does beyond closing the session."""

    folder: str
    """As the rule file names it, from that file's folder."""
    time: float = 20 * 60.0
    """Seconds that a client is refused for."""
    exempt: NetworkSet = field(default_factory=lambda: NetworkSet(()))
    """Whom it never happens to, beside ``trusted_clients``."""
    nftables: NftSets | None = None
    """None: the firewall is told nothing."""
    anomalies: int = 0
    """Sessions in which a client broke SMTP, after which it is blocked; 0: none are
    counted."""
    within: float = 10 * 60.0
    """Seconds in which they are counted."""


def _read_name(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "a name")
    if found is None:
        return None
    if _NFT_NAME.fullmatch(found.text):
        return found.text
    text = f"{shown(found.text)} is no name of letters, digits and _"
    context.error(found.mark, text, "bad-value")
    return None


_NAME = Kind(_read_name, {"type": "string", "pattern": f"^{_NFT_NAME.pattern}$"})
_FAMILY = Key(
    "family",
    choice("inet", "ip", "ip6", "netdev", "bridge"),
    "Family of the table; inet by default.",
)
_TABLE = Key("table", _NAME, "The table; smtpblock by default.")
_SET = Key("set", _NAME, "Its set of IPv4 addresses; blocked by default.")
_SET6 = Key("set6", _NAME, "Its set of IPv6 networks; blocked6 by default.")
_FOLDER = Key("folder", TEXT, "Where blocked clients are remembered.", required=True)
_TIME = Key("time", duration(1, _LONGEST), "How long they are refused; 20m by default.")
_EXEMPT = Key("exempt", NETWORKS, "Networks of clients that are never blocked.")
_NFTABLES = Key(
    "nftables",
    shaped(Shape((_FAMILY, _TABLE, _SET, _SET6))),
    "Sets of nftables that they are put into as well.",
)
_SESSIONS = Key("sessions", integer(1, 1000), "How many block a client.", required=True)
_WITHIN = Key("within", duration(1, 86400), "In which time; 10m by default.")
_ANOMALIES = Key(
    "anomalies",
    shaped(Shape((_SESSIONS, _WITHIN))),
    "Sessions that end since the client breaks SMTP; none are counted without it.",
)
_SHAPE = Shape((_FOLDER, _TIME, _EXEMPT, _NFTABLES, _ANOMALIES))


def _read(node: Node, context: Context) -> BlockSettings | None:
    fields = _SHAPE.read(node, context)
    folder = fields.get(_FOLDER) if fields else None
    if fields is None or folder is None:
        return None
    default = BlockSettings("")
    return BlockSettings(
        beside(fields.mark.file, folder),
        fields.get(_TIME, default.time),
        fields.get(_EXEMPT, default.exempt),
        _sets(fields.get(_NFTABLES)),
        *_limit(fields.get(_ANOMALIES)),
    )


def _limit(fields: Fields | None) -> tuple[int, float]:
    default = BlockSettings("")
    if fields is None:
        return default.anomalies, default.within
    return fields.get(_SESSIONS, 0), fields.get(_WITHIN, default.within)


def _sets(fields: Fields | None) -> NftSets | None:
    if fields is None:
        return None
    default = NftSets()
    return NftSets(
        fields.get(_FAMILY, default.family),
        fields.get(_TABLE, default.table),
        fields.get(_SET, default.set),
        fields.get(_SET6, default.set6),
    )


BLOCK = Key(
    "block",
    Kind(_read, _SHAPE.schema()),
    "Where blocked clients are remembered, and how long.",
)
