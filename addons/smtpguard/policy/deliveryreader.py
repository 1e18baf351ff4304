"""``delivery`` of a rule file: the server for all mail that smtpguard itself sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from smtpguard.policy.kinds import (
    MAILBOX,
    TEXT,
    Context,
    Kind,
    choice,
    duration,
    integer,
)
from smtpguard.policy.kinds import scalar as read_scalar
from smtpguard.policy.networks import parse_host
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Fields, Key, Shape
from smtpguard.policy.sources import beside
from smtpguard.wire.domain import normalise_domain


if TYPE_CHECKING:
    from smtpguard.model.mailbox import Mailbox
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.yamlsource import Node


PORT, TLS_PORT = 25, 465

type DeliveryTls = Literal["none", "starttls", "starttls_required", "tls"]


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """How mail is handed to a server."""

    host: str
    port: int = PORT
    tls: DeliveryTls = "starttls"
    """``starttls`` is in clear where the server offers none; the last two never are."""
    verify: bool = False
    """Whether the server's certificate must be that of ``host``."""
    ca: str = ""
    """PEM file of who may have issued it; "" is whom the system trusts."""
    user: str = ""
    """For AUTH; "" does without."""
    password_file: str = ""
    timeout: float = 60.0
    """Seconds for each command; the answer to a message is awaited longer."""
    sender: Mailbox | None = None
    """From whom the mail is that smtpguard itself writes."""
    mark: Mark | None = field(default=None, compare=False)
    """Where it stands."""


def _read_host(node: Node, context: Context) -> str | None:
    found = read_scalar(node, context, "a host name or address")
    if found is None:
        return None
    if (address := parse_host(found.text)) is not None:
        return str(address)
    try:
        return normalise_domain(found.text)
    except ValueError as error:
        text = f"{shown(found.text)} is no host name or address: {error}"
        context.error(found.mark, text, "bad-domain")
        return None


_HOST = Key(
    "host",
    Kind(_read_host, {"type": "string", "minLength": 1, "maxLength": 255}),
    "Name or address of the server.",
    required=True,
)
_PORT = Key("port", integer(1, 65535), "25 by default; with tls: tls it is 465.")
_TLS = Key(
    "tls",
    choice("none", "starttls", "starttls_required", "tls"),
    "starttls (the default) goes on in clear where none is offered.",
)
_CA = Key("ca", TEXT, "PEM file of who may have issued the server's certificate.")
_USER = Key("user", TEXT, "Name for AUTH.")
_PASSWORD_FILE = Key("password_file", TEXT, "File whose first line is the password.")
_FROM = Key("from", MAILBOX, "From whom notices, alarms and digests are.")
_TIMEOUT = Key("timeout", duration(1, 600), "For each command; 60s by default.")
_SHAPE = Shape((_HOST, _PORT, _TLS, _CA, _USER, _PASSWORD_FILE, _TIMEOUT, _FROM))


def _read(node: Node, context: Context) -> DeliverySettings | None:
    fields = _SHAPE.read(node, context)
    host = fields.get(_HOST) if fields else None
    if fields is None or host is None or not _fits(fields, context):
        return None
    default = DeliverySettings(host)
    tls = cast("DeliveryTls", fields.get(_TLS, default.tls))
    file = fields.mark.file
    ca, password = fields.get(_CA, ""), fields.get(_PASSWORD_FILE, "")
    return DeliverySettings(
        host,
        fields.get(_PORT, TLS_PORT if tls == "tls" else PORT),
        tls,
        bool(ca) or tls in _SURE,
        beside(file, ca) if ca else "",
        fields.get(_USER, ""),
        beside(file, password) if password else "",
        fields.get(_TIMEOUT, default.timeout),
        fields.get(_FROM),
        fields.mark,
    )


_SURE = ("starttls_required", "tls")


def _fits(fields: Fields, context: Context) -> bool:
    """Note keys that do not go together."""
    before = context.sink.errors
    if (_USER in fields) != (_PASSWORD_FILE in fields):
        context.error(
            fields.mark, "user and password_file belong together", "missing-key"
        )
    if _USER in fields and fields.get(_TLS) not in _SURE:
        text = "user needs tls: starttls_required or tls, not to tell the password"
        context.error(fields.mark_of(_USER), text, "key-not-allowed-here")
    if _CA in fields and fields.get(_TLS) == "none":
        text = "ca has no meaning with tls: none"
        context.error(fields.mark_of(_CA), text, "key-not-allowed-here")
    return context.sink.errors == before


DELIVERY = Key(
    "delivery",
    Kind(_read, _SHAPE.schema()),
    "The server for mail that smtpguard itself sends: releases, copies, notices.",
)
