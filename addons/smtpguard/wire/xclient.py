"""The arguments of XCLIENT (Postfix, ``XCLIENT_README``).

Owns how a client's identity is spelt towards an upstream, and read from a trusted
client. Whom to trust is decided elsewhere.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from smtpguard.errors import ProtocolError
from smtpguard.model.addresses import parse_ip, unmapped
from smtpguard.wire import replies
from smtpguard.wire.command import printable
from smtpguard.wire.parameters import decode_xtext, encode_xtext


MAX_VALUE: Final = 255
"""Octets of HELO that are passed on; a longer one is unavailable."""

_UNAVAILABLE: Final = "[UNAVAILABLE]"
_UNKNOWN: Final = frozenset({_UNAVAILABLE, "[TEMPUNAVAIL]"})
_NAMES: Final = frozenset(
    {"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"}
)
_PORT: Final = re.compile("[0-9]{1,5}")


def build(
    offered: tuple[str, ...],
    *,
    addr: str,
    port: int,
    helo: str,
    proto: str,
) -> bytes | None:
    """Return the XCLIENT line, CRLF included, with the attributes that are offered.

    ``offered`` is what stands behind XCLIENT in the reply to EHLO. None if ADDR is not
    among it: then the identity cannot be delivered. What we do not know is sent as
    unavailable, or the upstream would take it from our own connection.
    """
    known = {name.upper() for name in offered}
    if "ADDR" not in known:
        return None
    values = {
        "NAME": _UNAVAILABLE,
        "ADDR": _spelt(addr),
        "PORT": str(port),
        "PROTO": proto,
        "HELO": _text(helo),
        "LOGIN": _UNAVAILABLE,
        "DESTADDR": _UNAVAILABLE,
        "DESTPORT": _UNAVAILABLE,
    }
    sent = (f"{name}={value}" for name, value in values.items() if name in known)
    return f"XCLIENT {' '.join(sent)}\r\n".encode("ascii")


def parse(argument: bytes) -> dict[str, str | None]:
    """Return the attributes of a trusted client's XCLIENT.

    Names are upper case; an address has no ``IPV6:`` before it; None: unavailable.
    Raises ``ProtocolError`` 501 for unknown or repeated names and for bad values.
    """
    attributes: dict[str, str | None] = {}
    for written in argument.split():
        name, _, value = written.partition(b"=")
        key = name.decode("latin-1").upper()
        if key not in _NAMES or key in attributes or not value:
            raise _refusal(written)
        try:
            attributes[key] = _meaning(key, decode_xtext(value))
        except ValueError:
            raise _refusal(written) from None
    if not attributes:
        raise _refusal(argument)
    return attributes


def _meaning(name: str, value: str) -> str | None:
    """Return what a value stands for; raises ValueError."""
    if value.upper() in _UNKNOWN:
        return None
    if name in {"ADDR", "DESTADDR"}:
        return _address(value)
    if name in {"PORT", "DESTPORT"}:
        sound = _PORT.fullmatch(value) is not None and int(value) <= 65535
    elif name == "PROTO":
        value = value.upper()
        sound = value in {"SMTP", "ESMTP"}
    else:
        sound = value.isprintable()
    if not sound:
        raise ValueError(name)
    return value


def _address(value: str) -> str:
    if value[:5].upper() != "IPV6:":
        return str(ipaddress.IPv4Address(value))
    address = ipaddress.IPv6Address(value[5:])
    # A scope names an interface of the machine that sent it.
    if address.scope_id is not None:
        raise ValueError(value)
    return str(unmapped(address))


def _spelt(address: str) -> str:
    ip = parse_ip(address)
    return f"IPV6:{ip}" if ip.version == 6 else str(ip)


def _text(value: str) -> str:
    encoded = encode_xtext(value).decode("ascii")
    return encoded if 0 < len(encoded) <= MAX_VALUE else _UNAVAILABLE


def _refusal(written: bytes) -> ProtocolError:
    shown = printable(written[:64])
    return ProtocolError(f"bad XCLIENT attribute {shown}", replies.SYNTAX)
