"""Certificates of mitmproxy's CA for clients: its own, and one with a P-256 key.

mitmproxy signs all its leaf certificates with the key of its CA, RSA 2048 as it comes.
A signature with that key is the dearest part of a session; with P-256 it takes a tenth
of the time. So a context gets both, and OpenSSL takes what the client can verify: P-256
nearly always, RSA for what is very old.
"""

from __future__ import annotations

from functools import cache
from logging import getLogger
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from mitmproxy import ctx

from smtpguard.proxy.upgrade import TlsRefusedError


if TYPE_CHECKING:
    from mitmproxy.certs import CertStoreEntry
    from mitmproxy.proxy.context import Context
    from OpenSSL import SSL


logger = getLogger(__name__)


def mint(session: Context) -> CertStoreEntry:
    """Have mitmproxy make a certificate after the upstream's names.

    An upstream's certificate may hold names that cannot be copied (no host names at
    all, labels of 100 octets): then the name that was asked for has to do.

    Raises:
        TlsRefusedError: mitmproxy has no addon that could.
    """
    tlsconfig = ctx.master.addons.get("tlsconfig")
    if tlsconfig is None:
        raise TlsRefusedError("mitmproxy's tlsconfig addon is missing")
    try:
        return cast("CertStoreEntry", tlsconfig.get_cert(session))
    except Exception as error:  # noqa: BLE001 - UnicodeError, ValueError, x509's own
        logger.warning(
            "upstream's certificate cannot be followed (%s)", type(error).__name__
        )
    plain = SimpleNamespace(
        client=session.client,
        server=SimpleNamespace(certificate_list=(), address=session.server.address),
    )
    return cast("CertStoreEntry", tlsconfig.get_cert(plain))


def use_minted(context: SSL.Context, entry: CertStoreEntry) -> None:
    """Have a context serve a minted certificate, and its P-256 twin where one helps."""
    context.use_certificate(entry.cert.to_cryptography())
    context.use_privatekey(entry.privatekey)
    if entry.chain_file is not None:
        context.load_verify_locations(str(entry.chain_file))
    authority = ctx.master.addons.get("tlsconfig").certstore
    own_key = authority.default_privatekey
    # Only for what mitmproxy made itself: certificates that the user has given it
    # (option certs) are signed by somebody else.
    if entry.privatekey is own_key and isinstance(own_key, rsa.RSAPrivateKey):
        twin = twin_of(entry.cert.to_cryptography(), own_key)
        context.use_certificate(twin)
        context.use_privatekey(leaf_key())


def twin_of(minted: x509.Certificate, key: rsa.RSAPrivateKey) -> x509.Certificate:
    """Return the same certificate for our P-256 key, signed by the same authority."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(minted.subject)
        .issuer_name(minted.issuer)
        .public_key(leaf_key().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(minted.not_valid_before_utc)
        .not_valid_after(minted.not_valid_after_utc)
    )
    for extension in minted.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256())


@cache
def leaf_key() -> ec.EllipticCurvePrivateKey:
    """Return the process's key for these twins; it is never written anywhere."""
    return ec.generate_private_key(ec.SECP256R1())
