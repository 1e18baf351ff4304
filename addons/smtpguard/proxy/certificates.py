"""SSL contexts with our own certificates: kept while their files stay as they are.

A certificate that a rule names and that cannot be used ends the handshake. Nothing is
minted in its place: a sender that checks it (MTA-STS, DANE) would see a forgery, and
the administrator would not see the fault.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmproxy.net import tls as net_tls
from OpenSSL import SSL

from smtpguard.proxy.tlsfacts import reason
from smtpguard.proxy.upgrade import TlsRefusedError


if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


MAX_CONTEXTS = 256
"""Contexts that are kept; one is made in 1 to 30 ms and takes up to 1 MiB."""
MAX_AGE = 6 * 3600.0
"""Seconds after which a context is made anew, and with it the key of its session
tickets: who steals it later can read less of what went before."""

_VERSIONS = {
    "1.0": net_tls.Version.TLS1,
    "1.1": net_tls.Version.TLS1_1,
    "1.2": net_tls.Version.TLS1_2,
    "1.3": net_tls.Version.TLS1_3,
}
OP_LEGACY_SERVER_CONNECT = 0x4
"""SSL_OP_LEGACY_SERVER_CONNECT: servers without RFC 5746, where nothing is verified."""
_OLD = frozenset({"1.0", "1.1"})


class ContextCache:
    """Contexts by what they were made from, the least used ones forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[float, SSL.Context]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], SSL.Context]) -> SSL.Context:
        """Return the context of that key, made now if there is none."""
        kept = self._kept.get(key)
        if kept is not None and self._clock() - kept[0] < MAX_AGE:
            self._kept.move_to_end(key)
            return kept[1]
        made = make()
        self._kept[key] = (self._clock(), made)
        self._kept.move_to_end(key)
        while len(self._kept) > MAX_CONTEXTS:
            self._kept.popitem(last=False)
        return made


@dataclass(frozen=True, slots=True)
class ContextKind:
    """What two contexts must have in common to be one."""

    server: bool
    """True for the client's leg, where we are the server."""
    min_version: str
    """``1.0`` to ``1.3``."""
    ciphers: str
    """In OpenSSL's syntax; "" for OpenSSL's own choice."""
    lenient: bool = False
    """Nothing is verified and the alternative is clear text: weak keys are taken."""


def new_context(kind: ContextKind) -> SSL.Context:
    """Make a context without a certificate and without trust anchors."""
    method = SSL.TLS_SERVER_METHOD if kind.server else SSL.TLS_CLIENT_METHOD
    context = SSL.Context(method)
    context.set_min_proto_version(_VERSIONS[kind.min_version].value)
    context.set_options(net_tls.DEFAULT_OPTIONS | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(_ciphers(kind).encode("ascii"))
    # Tickets resume sessions without any memory of ours.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if net_tls.log_master_secret is not None:
        context.set_keylog_callback(net_tls.log_master_secret)
    if kind.lenient:
        context.set_options(OP_LEGACY_SERVER_CONNECT)
    return context


def _ciphers(kind: ContextKind) -> str:
    if kind.ciphers:
        return kind.ciphers
    if kind.min_version in _OLD:
        # OpenSSL 3 has no TLS 1.0 and 1.1 above this level.
        return "DEFAULT:@SECLEVEL=0"
    return "DEFAULT:@SECLEVEL=1" if kind.lenient else "DEFAULT"


def own_context(cache: ContextCache, path: str, kind: ContextKind) -> SSL.Context:
    """Return a context with certificate, chain and key of a PEM file as it is now.

    Raises:
        TlsRefusedError: the file cannot be read, or holds no certificate and key that
            fit together.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - once a handshake
    except OSError as error:
        raise TlsRefusedError(
            f"certificate {path}: {error.strerror or error}"
        ) from error
    key = (path, found.st_mtime_ns, found.st_size, found.st_ino, kind)
    return cache.get(key, lambda: _load(path, kind))


def _load(path: str, kind: ContextKind) -> SSL.Context:
    context = new_context(kind)
    # An encrypted key would have OpenSSL ask on the terminal and wait.
    context.set_passwd_cb(lambda *_: b"")
    try:
        context.use_certificate_chain_file(path)
        context.use_privatekey_file(path)
        context.check_privatekey()
    except SSL.Error as error:
        raise TlsRefusedError(f"certificate {path}: {reason(error)}") from error
    return context


def pick(certificates: tuple[tuple[str, str], ...], name: str) -> str:
    """Return the PEM path for the name a client asked for (SNI).

    The first pattern that matches wins: a name, ``*.domain`` for one label, or ``*``.
    A client that asked for none of them gets the first certificate, as from any server.
    """
    wanted = name.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    for pattern, path in certificates:
        plain = pattern.lower().rstrip(".")
        if plain in ("*", wanted) or (parent and plain == f"*.{parent}"):
            return path
    return certificates[0][1]
