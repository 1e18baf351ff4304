"""Real TLS peers in memory, and certificates for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(
        self, name: str, *, days: int = 30, file: str = "", key: Key | None = None
    ) -> Path:
        """Write a PEM with certificate and key for a host name or address."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(name, key, self.certificate.subject)
            .not_valid_before(NOW - 60 * DAY)
            .not_valid_after(NOW + days * DAY)
            .add_extension(x509.SubjectAlternativeName([_general_name(name)]), False)
            .sign(self.key, hashes.SHA256())
        )
        path = self.folder / (file or f"{name}.pem")
        path.write_bytes(_key_pem(key) + _pem(certificate))
        return path


def make_authority(folder: Path, name: str = "Test CA") -> Authority:
    """Make an authority whose certificate is ``ca.pem`` in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, key, subject)
        .not_valid_before(NOW - 60 * DAY)
        .not_valid_after(NOW + 60 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(_pem(certificate))
    return Authority(folder, key, certificate)


class TlsPeer:
    """One end of a TLS connection: octets in, octets out."""

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, name: str | None = None
    ) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.ssl = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=name
        )
        self.established = False
        self.received = bytearray()
        self.ended = False
        """The other side said close_notify."""

    def handshake(self) -> bytes:
        """Go on with the handshake; return what is to be sent."""
        try:
            self.ssl.do_handshake()
            self.established = True
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def feed(self, data: bytes) -> bytes:
        """Take octets in; return what is to be sent."""
        self.incoming.write(data)
        out = b"" if self.established else self.handshake()
        while self.established and not self.ended:
            try:
                read = self.ssl.read(65536)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                read = b""
            if not read:
                self.ended = True
            self.received += read
        return out + self.outgoing.read()

    def write(self, data: bytes) -> bytes:
        """Encrypt octets."""
        self.ssl.write(data)
        return self.outgoing.read()

    def unwrap(self) -> bytes:
        """Say close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl.unwrap()
        return self.outgoing.read()


def client_peer(
    ca_file: Path | None = None,
    name: str | None = "mx.example",
    **limits: ssl.TLSVersion,
) -> TlsPeer:
    """Return a client; it verifies only if it is given an authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca_file)
    for attribute, version in limits.items():
        setattr(context, attribute, version)
    return TlsPeer(context, server_side=False, name=name)


def server_peer(pem: Path) -> TlsPeer:
    """Return a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return TlsPeer(context, server_side=True)


def _builder(name: str, key: Key, issuer: x509.Name) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
