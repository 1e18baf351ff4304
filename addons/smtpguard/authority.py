"""A certificate authority with P-256 keys, where mitmproxy would make an RSA one.

mitmproxy signs every minted certificate with its CA's key and gives it that same key;
an RSA-2048 handshake costs four times the CPU of a P-256 one. An authority that is
there already is never touched, and several processes that start at once end up with
the same one.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtpguard.errors import SmtpGuardError
from smtpguard.wholefile import appear


if TYPE_CHECKING:
    from pathlib import Path


BASENAME = "mitmproxy"
"""mitmproxy looks for its CA under this name."""
_VALID = timedelta(days=3650)
_SKEW = timedelta(days=2)
"""How far back the certificate is dated, for peers whose clocks are behind."""


def ensure_authority(confdir: Path) -> Path:
    """Make a CA in ``confdir`` unless one is there; return its certificate's path.

    Raises OSError, and SmtpGuardError where the file that is there holds no CA.
    """
    confdir.mkdir(parents=True, exist_ok=True)
    secret = confdir / f"{BASENAME}-ca.pem"
    public = confdir / f"{BASENAME}-ca-cert.pem"
    # A certificate that lies there alone belongs to a key that is lost.
    is_new = not secret.exists() and appear(secret, _authority(), os.link, 0o600)
    certificate = _certificate_of(secret)
    if is_new:
        appear(public, certificate, os.replace, 0o644)
    elif not public.exists():
        appear(public, certificate, os.link, 0o644)
    return public


def _authority() -> bytes:
    """Return key and certificate of a new CA as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "smtpguard"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "smtpguard"),
        ]
    )
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    server = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(name)
        .issuer_name(name)
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _VALID)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_signing_only(), critical=True)
        .add_extension(server, critical=False)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return secret + certificate.public_bytes(serialization.Encoding.PEM)


def _signing_only() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate_of(secret: Path) -> bytes:
    try:
        certificates = x509.load_pem_x509_certificates(secret.read_bytes())
    except ValueError:
        raise SmtpGuardError(f"{secret}: holds no certificate") from None
    return certificates[0].public_bytes(serialization.Encoding.PEM)
