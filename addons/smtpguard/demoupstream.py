"""The demo's upstream: aiosmtpd with STARTTLS and a certificate made a moment ago.

Keeps what arrives; says no to one recipient, so that a refusal of the next server can
be seen on its way through.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


if TYPE_CHECKING:
    from pathlib import Path

    from aiosmtpd.smtp import SMTP, Envelope, Session


REFUSED = "refused-by-upstream@demo.test"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A mail that reached the upstream."""

    mail_from: str
    """ "" is the null reverse-path."""
    rcpt_to: tuple[str, ...]
    content: bytes
    tls: str


class Upstream:
    """A mail server on the loopback that keeps what arrives."""

    def __init__(self, folder: Path) -> None:
        self.arrived: list[Arrived] = []
        self._controller = _Controller(
            self,
            hostname="127.0.0.1",
            port=0,
            tls_context=_context(folder),
            server_hostname="mx.demo.test",
        )

    @property
    def port(self) -> int:
        """The port it listens on, once it does."""
        return self._controller.port

    def __enter__(self) -> Self:
        """Start it."""
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._controller.stop()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        _server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        """Accept every recipient but one."""
        if address == REFUSED:
            return "550 5.2.1 Mailbox disabled"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep a message."""
        cipher = (session.ssl or {}).get("cipher")
        content = envelope.original_content or b""
        self.arrived.append(
            Arrived(
                (envelope.mail_from or "").removeprefix("<>"),
                tuple(envelope.rcpt_tos),
                content,
                str(cipher[1]) if cipher else "clear",
            )
        )
        return "250 2.0.0 Queued"


class _Controller(Controller):
    """Listens on whatever port is free."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        # asyncio's abstract type has no sockets, its servers have.
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        super()._trigger_server()  # type: ignore[no-untyped-call]


def _context(folder: Path) -> ssl.SSLContext:
    """Return a context with a certificate of its own, valid for a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mx.demo.test")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("mx.demo.test")])
    certificate = (
        x509.CertificateBuilder()
        .serial_number(x509.random_serial_number())
        .subject_name(name)
        .issuer_name(name)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .public_key(key.public_key())
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "upstream.pem"
    path.touch(mode=0o600)
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
