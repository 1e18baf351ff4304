"""TLS as the rules want it: what each handshake is begun with (contract 4).

Called by the TLS layers themselves, before mitmproxy's ``tls_start_*`` hooks: other
addons may still replace what is offered here, but an exception here ends the handshake
and never leaves it to somebody who knows the rules less (mitmproxy would go on with its
own settings if a hook of ours failed). No ALPN is offered or chosen: mail has none.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import certifi
from mitmproxy import ctx
from OpenSSL import SSL

from smtpguard.proxy.certificates import ContextCache, own_context, pick
from smtpguard.proxy.minting import mint, use_minted
from smtpguard.proxy.tlsfacts import is_address
from smtpguard.proxy.upgrade import TlsRefusedError
from smtpguard.tlscontext import ContextKind, new_context


if TYPE_CHECKING:
    from collections.abc import Callable

    from mitmproxy.proxy.context import Context
    from mitmproxy.tls import TlsData

    from smtpguard.model.settings import Settings


_HOSTFLAGS = SSL._lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS  # type: ignore[attr-defined]  # noqa: SLF001


class TlsPolicy:
    """Begins the handshakes of one session by its policy's settings."""

    def __init__(self, settings: Callable[[], Settings], cache: ContextCache) -> None:
        self._settings = settings
        self._cache = cache

    def client(self, offer: TlsData) -> None:
        """Fill in the client's side: our own certificate, or one minted now."""
        wanted = self._settings().client_tls
        kind = ContextKind(
            server=True,
            min_version=wanted.min_version,
            ciphers=ctx.options.ciphers_client or "",
        )
        if wanted.certificate:
            path = pick(wanted.certificate, offer.conn.sni or "")
            context = own_context(self._cache, path, kind)
        else:
            context = self._minted(offer.context, kind)
        offer.ssl_conn = SSL.Connection(context)
        offer.ssl_conn.set_accept_state()

    def server(self, offer: TlsData) -> None:
        """Fill in the upstream's side: the name asked for, and whether it must hold."""
        wanted = self._settings().server_tls
        verified = wanted.verify != "none"
        kind = ContextKind(
            server=False,
            min_version=wanted.min_version,
            ciphers=ctx.options.ciphers_server or "",
            lenient=not verified,
        )
        anchors = (
            ctx.options.ssl_verify_upstream_trusted_ca,
            ctx.options.ssl_verify_upstream_trusted_confdir,
        )
        context = self._cache.get(
            (kind, anchors, verified),
            lambda: _trusting(kind, anchors, verified=verified),
        )
        offer.ssl_conn = SSL.Connection(context)
        _set_name(offer.ssl_conn, offer.conn.sni or "", required=verified)
        offer.ssl_conn.set_connect_state()

    def _minted(self, session: Context, kind: ContextKind) -> SSL.Context:
        """Return a context with a certificate of mitmproxy's CA.

        By all that mitmproxy makes the certificate's names from.
        """
        client, server = session.client, session.server
        upstream = [cert.fingerprint() for cert in server.certificate_list[:1]]
        key = (kind, *upstream, client.sni, client.sockname[0], server.address)

        def make() -> SSL.Context:
            context = new_context(kind)
            use_minted(context, mint(session))
            return context

        return self._cache.get(key, make)


def _trusting(
    kind: ContextKind, anchors: tuple[str | None, str | None], *, verified: bool
) -> SSL.Context:
    """Make a context for the upstream's leg.

    The anchors are loaded where nothing is required too: the result is recorded.
    """
    file, folder = anchors
    context = new_context(kind)
    if file is None and folder is None:
        file = certifi.where()
    try:
        context.load_verify_locations(file, folder)
    except SSL.Error as error:
        raise TlsRefusedError(
            f"trust anchors cannot be loaded ({file or folder})"
        ) from error
    context.set_verify(SSL.VERIFY_PEER if verified else SSL.VERIFY_NONE)
    return context


def _set_name(connection: SSL.Connection, name: str, *, required: bool) -> None:
    """Send the name, and have the certificate checked for it (RFC 6125 6)."""
    if not name:
        if required:
            raise TlsRefusedError("no name to verify the upstream's certificate for")
        return
    lib = SSL._lib  # type: ignore[attr-defined]  # noqa: SLF001
    param = lib.SSL_get0_param(connection._ssl)  # noqa: SLF001
    lib.X509_VERIFY_PARAM_set_hostflags(param, _HOSTFLAGS)
    if is_address(name):
        packed = ipaddress.ip_address(name.strip("[]")).packed
        done = lib.X509_VERIFY_PARAM_set1_ip(param, packed, len(packed))
    else:
        try:
            host = name.rstrip(".").encode("idna")
        except UnicodeError as error:
            if required:
                raise TlsRefusedError(f"not a host name: {name!r}") from error
            return
        connection.set_tlsext_host_name(host)
        done = lib.X509_VERIFY_PARAM_set1_host(param, host, len(host))
    if done != 1:
        raise TlsRefusedError(f"OpenSSL does not take the name {name!r}")
