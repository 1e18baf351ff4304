"""``dns`` of a rule file: whom to ask, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smtpguard.policy.kinds import Context, Kind, duration, list_of, scalar
from smtpguard.policy.networks import parse_host
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Key, Shape, shaped


if TYPE_CHECKING:
    from smtpguard.policy.shapes import Fields
    from smtpguard.policy.yamlsource import Node


PORT = 53
MAX_SERVERS = 8
_SERVER = re.compile(r"\[([^\]]*)\](?::([0-9]{1,5}))?|([0-9.]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """How the DNS is asked."""

    servers: tuple[tuple[str, int], ...] = ()
    """Addresses and ports, in order; none: those of the system."""
    timeout: float = 5.0
    """Seconds for all that one message makes us ask."""


def _read_server(node: Node, context: Context) -> tuple[str, int] | None:
    found = scalar(node, context, "an address such as 127.0.0.1 or 127.0.0.1:5353")
    if found is None:
        return None
    host, port = found.text, str(PORT)
    if match := _SERVER.fullmatch(found.text):
        host, port = match[1] or match[3], match[2] or match[4] or port
    if parse_host(host) is None or not 0 < int(port) < 2**16:
        text = f"{shown(found.text)} is no address such as 127.0.0.1 or [::1]:5353"
        context.error(found.mark, text, "bad-value")
        return None
    return host, int(port)


def _read_servers(node: Node, context: Context) -> tuple[tuple[str, int], ...] | None:
    found = _SERVERS_OF.read(node, context)
    if found is not None and len(found) > MAX_SERVERS:
        context.error(node.mark, f"more than {MAX_SERVERS} servers", "bad-value")
        return None
    return found


_SERVERS_OF = list_of(Kind(_read_server, {"type": "string", "minLength": 2}))
_SERVERS = Key(
    "servers",
    Kind(_read_servers, {**_SERVERS_OF.schema, "maxItems": MAX_SERVERS}),
    "Name servers, in order; those of the system by default.",
)
_TIMEOUT = Key(
    "timeout",
    duration(0.1, 30),
    "For all that one message makes us ask; 5s by default.",
)
DNS = Key("dns", shaped(Shape((_SERVERS, _TIMEOUT))), "How the DNS is asked.")


def read_dns(fields: Fields | None) -> DnsSettings:
    """Return the settings from the values that could be read."""
    default = DnsSettings()
    if fields is None:
        return default
    servers = fields.get(_SERVERS, default.servers)
    return DnsSettings(servers, fields.get(_TIMEOUT, default.timeout))
