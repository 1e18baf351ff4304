"""Ports: one for several processes of ours to share and nobody else, and their names.

With SO_REUSEPORT alone whoever asks for it gets a share of the clients: a second
gateway, unnoticed. Owns how a port is held, not who listens there.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from typing import Any


LOOPBACK = "127.0.0.1"
_NOT_HERE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def hold(host: str, port: int) -> ExitStack:
    """Hold a port for our sockets with SO_REUSEPORT, until the result is closed.

    No client comes in by what holds it. ``host`` is "" for every address; as with
    asyncio, an address that this machine does not have is passed over while there is
    another one (no IPv6). Raises OSError where somebody listens there or holds it, or
    no address is left; ValueError for what cannot be a host's name.
    """
    found = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    addresses = {(family, address) for family, *_, address in found}
    missing: list[OSError] = []
    with ExitStack() as held:
        for family, address in addresses:
            try:
                held.enter_context(_holder(family, address))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing.append(error)
        if len(missing) == len(addresses):
            raise missing[0]
        return held.pop_all()


def _holder(family: int, address: Any) -> socket.socket:  # noqa: ANN401 - of any family
    """Return a bound socket that listens no more; its family and address are given.

    It is bound as servers are, beside connections of before that have not ended. That
    it could listen proves that nobody else does; then only SO_REUSEPORT passes it.
    """
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        holder.bind(address)
        holder.listen()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.shutdown(socket.SHUT_RD)
    except BaseException:
        holder.close()
        raise
    return holder


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``PORT``, ``HOST:PORT`` or ``[IPv6]:PORT``.

    Raises ValueError. Without a host it is the loopback.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host or (colon and not host):
        raise ValueError(text)
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(text)
    return host or LOOPBACK, int(port)
