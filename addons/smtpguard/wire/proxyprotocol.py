"""The PROXY protocol, versions 1 and 2 (HAProxy, ``proxy-protocol.txt``).

Owns the first octets of a TCP connection that tell who it stands for. Whom to believe
is decided elsewhere. Type-length-value fields of version 2 are skipped unread.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from smtpguard.errors import ProtocolError
from smtpguard.model.addresses import Ip, parse_ip, unmapped
from smtpguard.wire import replies
from smtpguard.wire.command import printable


if TYPE_CHECKING:
    from smtpguard.wire.receiver import Receiver

type Address = tuple[str, int]

MAX_V1: Final = 107
"""Octets of a version 1 line with its CRLF, as the specification counts them."""
MAX_V2: Final = 536
"""Octets behind the version 2 head that everybody must be able to take."""

_SIGNATURE_V1: Final = b"PROXY "
_SIGNATURE_V2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD_V2: Final = struct.Struct(">12sBBH")
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_LAYOUT: Final = {_TCP4: struct.Struct(">4s4sHH"), _TCP6: struct.Struct(">16s16sHH")}
_LINE_V1: Final = re.compile(
    rb"PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+)"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4})\Z"
)


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who the connection stands for."""

    source: Address | None
    """The real client; None: nobody but the peer itself (LOCAL, UNKNOWN)."""


def build_v1(src: Address, dst: Address) -> bytes:
    """Return the version 1 line for a client at ``src`` that went to ``dst``."""
    source, destination = _same_family(src, dst)
    line = f"PROXY TCP{source.version} {source} {destination} {src[1]} {dst[1]}\r\n"
    return line.encode("ascii")


def build_v2(src: Address, dst: Address) -> bytes:
    """Return the version 2 header for a client at ``src`` that went to ``dst``."""
    source, destination = _same_family(src, dst)
    family = _TCP4 if source.version == 4 else _TCP6
    addresses = _LAYOUT[family].pack(source.packed, destination.packed, src[1], dst[1])
    head = _HEAD_V2.pack(_SIGNATURE_V2, 0x21, family, len(addresses))
    return head + addresses


def parse(receiver: Receiver) -> ProxyHeader | None:
    """Remove a header of either version and return it; None: not all there yet.

    Raises ``ProtocolError`` with ``closes`` if what is there is no header.
    """
    first = receiver.peek(_HEAD_V2.size)
    if first.startswith(_SIGNATURE_V2):
        return _parse_v2(receiver, first)
    if first.startswith(_SIGNATURE_V1):
        return _parse_v1(receiver)
    if not (_SIGNATURE_V1.startswith(first) or _SIGNATURE_V2.startswith(first)):
        _fail(f"no PROXY header: {printable(first)}")
    return None


def _parse_v1(receiver: Receiver) -> ProxyHeader | None:
    window = receiver.peek(MAX_V1)
    line, end, _ = window.partition(b"\r\n")
    if not end:
        if len(window) == MAX_V1:
            _fail("PROXY line too long")
        return None
    receiver.take(len(line) + 2)
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(None)
    found = _LINE_V1.match(line)
    if found is None:
        _fail(f"bad PROXY line: {printable(line)}")
    kind = ipaddress.IPv4Address if found[1] == b"4" else ipaddress.IPv6Address
    try:
        source, _ = (kind(found[n].decode("ascii")) for n in (2, 3))
    except ValueError as error:
        _fail(f"bad PROXY line: {error}")
    port, destination_port = int(found[4]), int(found[5])
    if max(port, destination_port) > 65535:
        _fail(f"bad PROXY port {max(port, destination_port)}")
    return ProxyHeader((str(unmapped(source)), port))


def _parse_v2(receiver: Receiver, first: bytes) -> ProxyHeader | None:
    if len(first) < _HEAD_V2.size:
        return None
    _, command, family, length = _HEAD_V2.unpack(first)
    if command not in {0x20, 0x21}:
        _fail(f"bad PROXY version or command {command:#04x}")
    if length > MAX_V2:
        _fail(f"PROXY header of {length} octets")
    if len(receiver) < _HEAD_V2.size + length:
        return None
    addresses = receiver.take(_HEAD_V2.size + length)[_HEAD_V2.size :]
    if command == 0x20 or family == 0:
        return ProxyHeader(None)
    layout = _LAYOUT.get(family)
    if layout is None or length < layout.size:
        _fail(f"bad PROXY family {family:#04x} or length {length}")
    source, _, port, _ = layout.unpack_from(addresses)
    return ProxyHeader((str(unmapped(ipaddress.ip_address(source))), port))


def _same_family(src: Address, dst: Address) -> tuple[Ip, Ip]:
    """Return both addresses, as IPv6 if one of them is (IPv4-mapped, RFC 4291)."""
    source, destination = (parse_ip(address) for address, _ in (src, dst))
    if source.version == destination.version:
        return source, destination
    return _mapped(source), _mapped(destination)


def _mapped(address: Ip) -> Ip:
    if address.version == 6:
        return address
    return ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)


def _fail(text: str) -> NoReturn:
    raise ProtocolError(text, replies.SYNTAX, closes=True) from None
