"""What a policy asks of the dialogue: TLS, limits, deadlines, identity.

Values only, all with safe defaults; ``policy`` fills them from YAML, ``dialogue`` and
``proxy`` obey them. Octets and seconds throughout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal


if TYPE_CHECKING:
    from smtpguard.model.reply import Reply


type ClientStarttls = Literal["required", "allowed", "none"]
type ServerStarttls = Literal["required", "preferred", "follow", "none"]
type Implicit = Literal["port", "true", "false", "auto"]
type Identity = Literal["none", "xclient", "proxy_v1", "proxy_v2"]
type BareNewlines = Literal["refuse", "normalise"]
type Differing = Literal["", "strictest", "separate"]
type TrustedProtocol = Literal["proxy", "xclient"]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """``tls.client`` of a policy."""

    starttls: ClientStarttls = "allowed"
    implicit: Implicit = "port"
    """``port``: true on port 465 only."""
    certificate: tuple[tuple[str, str], ...] = ()
    """Pairs of (server name pattern, PEM path); () mints from the mitmproxy CA."""
    min_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class ServerTls:
    """``tls.server`` of a policy."""

    starttls: ServerStarttls = "preferred"
    verify: Literal["none", "webpki"] = "none"
    name: str = ""
    """To send and to verify; "" takes the reverse target, else the client's SNI."""
    min_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds; RFC 5321 4.5.3.2 unless said otherwise."""

    connect: float = 30.0
    """To the upstream; well inside the client's five minutes for our greeting."""
    greeting: float = 120.0
    """The upstream's; the client waits five minutes for ours."""
    tls: float = 30.0
    """One handshake."""
    command: float = 300.0
    """Until the client's next whole command."""
    data: float = 180.0
    """Until the client's next block of message octets."""
    reply: float = 300.0
    """The upstream's reply to a command."""
    data_reply: float = 120.0
    """The upstream's reply to DATA."""
    verdict: float = 240.0
    """From the client's final dot to our verdict, else 451."""
    final_reply: float = 570.0
    """From the client's final dot to the upstream's reply to it, else 451, in doubt;
    the client itself gives up after 600."""
    keepalive: float = 120.0
    """Between two NOOPs to an upstream that waits for DATA."""
    auto_tls: float = 0.3
    """How long ``implicit: auto`` waits for a ClientHello."""
    stop: float = 60.0
    """How long replies in flight are awaited after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one session and its messages. What is beyond has its reply in
    ``wire.replies``, or is a defect of the message (``mime.defects``)."""

    command_line: int = 2048
    auth_line: int = 12288
    message: int = 50 * 1024 * 1024
    header_section: int = 256 * 1024
    mime_depth: int = 50
    mime_parts: int = 1000
    recipients: int | None = 100
    """None: as many as the upstream takes."""
    errors: int = 10
    """Syntax and sequence errors until the session is closed."""
    commands: int = 100
    """Commands without a message until the session is closed; as many are forgotten in
    five minutes."""
    rejected_recipients: int = 50
    """Rejections after which every RCPT gets 452, after a delay."""
    body_rate: int = 512
    """Octets a second a message must come in with, over any ``Deadlines.data``."""
    received_fields: int = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the dialogue must know of one policy."""

    policy: str = "default"
    identity: Identity = "none"
    client_tls: ClientTls = field(default_factory=ClientTls)
    server_tls: ServerTls = field(default_factory=ServerTls)
    inspect: bool = True
    limits: Limits = field(default_factory=Limits)
    deadlines: Deadlines = field(default_factory=Deadlines)
    bare_newlines: BareNewlines = "refuse"
    received: bool = False
    """Whether a Received field of our own is added."""
    hide_server: bool = False
    banner: str = ""
    """Text of our greeting; "" passes the upstream's."""
    helo: str = ""
    """Name to greet the upstream with; "" passes the client's."""
    esmtp_allow: frozenset[str] = frozenset()
    """Upper-case keywords, unknown to us, that only add MAIL/RCPT parameters."""
    etrn: bool = False
    differing: Differing = ""
    """What recipients get whom rules on content treat differently: all the most severe
    answer, or those of one class at a time. "" is separate for mail from outside."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The client is not served at all."""

    reply: Reply
    reason: str


@dataclass(frozen=True, slots=True)
class TrustedClient:
    """A client that may tell us who the real client is, and must."""

    protocol: TrustedProtocol
