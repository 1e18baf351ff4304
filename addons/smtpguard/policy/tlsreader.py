"""``tls`` of a policy: how both legs are encrypted (contract 4).

Every default is that of ``Settings``: a key that is not in the file changes nothing.
Certificates are named here and read where they are used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from smtpguard.model.settings import ClientTls, ServerTls
from smtpguard.policy.addresses import domain_pattern
from smtpguard.policy.kinds import BOOL, DOMAIN, TEXT, Context, Kind, choice, list_of
from smtpguard.policy.patterns import PatternError
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Fields, Key, Shape, later, shaped
from smtpguard.policy.yamlsource import Scalar


if TYPE_CHECKING:
    from typing import Literal

    from smtpguard.model.settings import (
        ClientStarttls,
        Implicit,
        ServerStarttls,
        Settings,
    )
    from smtpguard.policy.yamlsource import Node


_NAME = Key("name", TEXT, "Server name (SNI) or pattern.", required=True)
_FILE = Key("file", TEXT, "PEM file with certificate and key.", required=True)
_CERTIFICATE_ENTRY = Shape((_NAME, _FILE))
MINT = "mint"


def _read_named(node: Node, context: Context) -> tuple[str, str] | None:
    fields = _CERTIFICATE_ENTRY.read(node, context)
    name = fields and fields.get(_NAME)
    file = fields and fields.get(_FILE)
    if not fields or not name or not file:
        return None
    try:
        return (name if name == "*" else domain_pattern(name), file)
    except PatternError as error:
        context.error(fields.mark_of(_NAME), f"{shown(name)}: {error}", error.slug)
        return None


_NAMED = list_of(Kind(_read_named, _CERTIFICATE_ENTRY.schema()))


def _read_certificate(
    node: Node, context: Context
) -> tuple[tuple[str, str], ...] | None:
    if not isinstance(node, Scalar):
        return _NAMED.read(node, context)
    text = TEXT.read(node, context)
    if text is None:
        return None
    return () if text == MINT else (("*", text),)


_MIN_VERSION = Key(
    "min_version", choice("1.0", "1.1", "1.2", "1.3"), "The oldest TLS version."
)
_CLIENT_STARTTLS = Key(
    "starttls",
    choice("required", "allowed", "none"),
    "Whether clients must, may or cannot encrypt.",
)
_IMPLICIT = Key(
    "implicit",
    choice("465", "true", "false", "auto"),
    "Whether TLS begins with the first octet; 465: on that port.",
)
_CERTIFICATE = Key(
    "certificate",
    Kind(_read_certificate, {"anyOf": [TEXT.schema, _NAMED.schema]}),
    "A PEM file, a list of them by server name, or mint.",
)
_SERVER_STARTTLS = Key(
    "starttls",
    choice("required", "preferred", "follow", "none"),
    "How the upstream leg is encrypted.",
)
_VERIFY = Key(
    "verify",
    choice("none", "webpki", later=("pin", "dane", "mta-sts")),
    "How the upstream's certificate is verified.",
)
_SERVER_NAME = Key("name", DOMAIN, "Name to send and to verify.")
_CLIENT = Key(
    "client",
    shaped(Shape((_CLIENT_STARTTLS, _IMPLICIT, _CERTIFICATE, _MIN_VERSION))),
    "TLS towards clients.",
)
_SERVER = Key(
    "server",
    shaped(
        Shape((_SERVER_STARTTLS, _VERIFY, _SERVER_NAME, _MIN_VERSION), later("pin"))
    ),
    "TLS towards the upstream.",
)
_INSPECT = Key("inspect", BOOL, "false tunnels the connection unread, and logs it.")
TLS = Key(
    "tls", shaped(Shape((_CLIENT, _SERVER, _INSPECT))), "Encryption of both legs."
)


def with_tls(settings: Settings, fields: Fields) -> Settings:
    """Return the settings with the values of ``tls`` that could be read."""
    client, server = fields.get(_CLIENT), fields.get(_SERVER)
    return replace(
        settings,
        client_tls=_client_tls(client) if client else settings.client_tls,
        server_tls=_server_tls(server) if server else settings.server_tls,
        inspect=fields.get(_INSPECT, settings.inspect),
    )


def _client_tls(fields: Fields) -> ClientTls:
    default = ClientTls()
    starttls = fields.get(_CLIENT_STARTTLS, default.starttls)
    implicit = fields.get(_IMPLICIT, "465")
    return ClientTls(
        cast("ClientStarttls", starttls),
        cast("Implicit", "port" if implicit == "465" else implicit),
        fields.get(_CERTIFICATE, default.certificate),
        fields.get(_MIN_VERSION, default.min_version),
    )


def _server_tls(fields: Fields) -> ServerTls:
    default = ServerTls()
    return ServerTls(
        cast("ServerStarttls", fields.get(_SERVER_STARTTLS, default.starttls)),
        cast("Literal['none', 'webpki']", fields.get(_VERIFY, default.verify)),
        fields.get(_SERVER_NAME, default.name),
        fields.get(_MIN_VERSION, default.min_version),
    )
