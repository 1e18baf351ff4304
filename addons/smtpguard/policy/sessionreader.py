"""``session`` of a policy: the dialogue, its limits and deadlines (contract 3).

Every default is that of ``Settings``: a key that is not in the file changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from smtpguard.policy.kinds import (
    BOOL,
    DOMAIN,
    Context,
    Kind,
    choice,
    duration,
    integer,
    list_of,
    scalar,
    size,
)
from smtpguard.policy.problems import shown
from smtpguard.policy.shapes import Fields, Key, Shape, later, shaped
from smtpguard.policy.yamlsource import Scalar
from smtpguard.wire.capabilities import KNOWN_KEYWORDS
from smtpguard.wire.commandspec import COMMANDS


if TYPE_CHECKING:
    from smtpguard.model.settings import (
        BareNewlines,
        Deadlines,
        Differing,
        Limits,
        Settings,
    )
    from smtpguard.policy.problems import Mark
    from smtpguard.policy.yamlsource import Node


_KIB, _GIB = 1024, 1024**3
_MAX_COUNT = 100_000
_MAX_BANNER = 400
"""Octets: fits a reply line (RFC 5321 4.5.3.1.5) with code and our name."""

_CLIENT_PATIENCE = 600
"""Seconds a client waits for the reply to its final dot (RFC 5321 4.5.3.2.6)."""

UPSTREAM = "upstream"
"""``max_recipients: upstream``: as many as the upstream takes."""

_KEYWORD = re.compile("[A-Z0-9][A-Z0-9-]{0,63}")
# Exchange's AUTH and sendmail's "one mail a session", verbs that we do not parse.
NEVER_PASSED = KNOWN_KEYWORDS | COMMANDS.keys() | {"ONEX", "X-EXPS"}
"""Keywords that the dialogue itself decides about, and those that announce a verb; a
list cannot overrule it."""


def _read_banner(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "a greeting")
    if found is None:
        return None
    text = found.text
    if text.isascii() and text.isprintable() and len(text) <= _MAX_BANNER:
        return text
    words = f"{shown(text)} is not printable ASCII of at most {_MAX_BANNER} characters"
    context.error(found.mark, words, "bad-value")
    return None


def _read_keyword(node: Node, context: Context) -> str | None:
    found = scalar(node, context, "an EHLO keyword")
    if found is None:
        return None
    keyword = found.text.upper()
    if not _KEYWORD.fullmatch(keyword):
        text = f"{shown(found.text)} is not an EHLO keyword"
    elif keyword in NEVER_PASSED:
        text = f"{shown(keyword)} is the dialogue's own business, not for this list"
    else:
        return keyword
    context.error(found.mark, text, "bad-value")
    return None


_RECIPIENTS = integer(1, _MAX_COUNT)


def _read_recipients(node: Node, context: Context) -> int | str | None:
    if isinstance(node, Scalar) and node.text == UPSTREAM:
        return UPSTREAM
    return _RECIPIENTS.read(node, context)


_ETRN = Key("etrn", choice("strip", "allow"), "Whether ETRN is passed.")
_ALLOW = Key(
    "allow",
    list_of(Kind(_read_keyword, {"type": "string", "pattern": "^[A-Za-z0-9-]+$"})),
    "Unknown EHLO keywords that only add MAIL or RCPT parameters.",
)
_ESMTP = Shape((_ALLOW, _ETRN))


def _deadline(name: str, doc: str, high: float = 3600) -> Key[float]:
    return Key(name, duration(0.01, high), doc)


_DEADLINES = Shape(
    (
        _deadline("connect", "To connect to the upstream."),
        _deadline("greeting", "For the upstream's greeting."),
        _deadline("tls", "For one TLS handshake."),
        _deadline("command", "Until the client's next whole command."),
        _deadline("data", "Until the client's next block of a message."),
        _deadline("reply", "For the upstream's reply to a command."),
        _deadline("data_reply", "For the upstream's reply to DATA."),
        _deadline(
            "verdict", "From the final dot to the verdict, else 451.", _CLIENT_PATIENCE
        ),
        _deadline(
            "final_reply",
            "From the final dot to the upstream's reply, else 451.",
            _CLIENT_PATIENCE,
        ),
        _deadline("keepalive", "Between two NOOPs to a waiting upstream."),
        _deadline("auto_tls", "How long implicit: auto waits for a ClientHello."),
        _deadline("stop", "How long replies in flight are awaited at the end."),
    )
)

_MAX_RECIPIENTS = Key(
    "max_recipients",
    Kind(_read_recipients, {"anyOf": [_RECIPIENTS.schema, {"const": UPSTREAM}]}),
    "Recipients of one transaction; upstream: as many as it takes.",
)
_MAX_MESSAGE = Key("max_message", size(_KIB, 2 * _GIB), "Size of one message.")
_MAX_HEADER = Key(
    "max_header", size(_KIB, 64 * _KIB * _KIB), "Size of one header section."
)
_MAX_ERRORS = Key(
    "max_errors", integer(1, 1000), "Syntax and sequence errors of one session."
)
_MAX_COMMANDS = Key(
    "max_commands",
    integer(10, _MAX_COUNT),
    "Commands without a message; as many are forgotten in five minutes.",
)
_HIDE_SERVER = Key("hide_server", BOOL, "Hide the upstream's name and texts.")
_BANNER = Key(
    "banner",
    Kind(_read_banner, {"type": "string", "minLength": 1, "maxLength": _MAX_BANNER}),
    "Text of our greeting.",
)
_HELO = Key("helo", DOMAIN, "Name to greet the upstream with.")
_RECEIVED = Key("received", choice("none", "add"), "Whether a Received field is added.")
_BARE_NEWLINES = Key(
    "bare_newlines",
    choice("refuse", "normalise"),
    "What is done about bare CR, bare LF and NUL in messages.",
)
_DIFFERING = Key(
    "differing",
    choice("strictest", "separate"),
    "What happens where rules on content depend on the recipient.",
)
_ESMTP_KEY = Key("esmtp", shaped(_ESMTP), "EHLO keywords.")
_DEADLINES_KEY = Key("deadlines", shaped(_DEADLINES), "How long is waited for what.")
_SHAPE = Shape(
    (
        _MAX_RECIPIENTS,
        _MAX_MESSAGE,
        _MAX_HEADER,
        _MAX_ERRORS,
        _MAX_COMMANDS,
        _HIDE_SERVER,
        _BANNER,
        _HELO,
        _RECEIVED,
        _BARE_NEWLINES,
        _DIFFERING,
        _ESMTP_KEY,
        _DEADLINES_KEY,
    ),
    later("rates", "max_connections", "max_parts", "max_depth", "record"),
)
SESSION = Key("session", shaped(_SHAPE), "The dialogue and its limits.")


def etrn_mark(fields: Fields) -> Mark | None:
    """Return where a policy allows ETRN, None if it does not."""
    session = fields.get(SESSION)
    esmtp = session.get(_ESMTP_KEY) if session else None
    if esmtp is None or esmtp.get(_ETRN) != "allow":
        return None
    return esmtp.mark_of(_ETRN)


def with_session(settings: Settings, fields: Fields, context: Context) -> Settings:
    """Return the settings with the values of ``session`` that could be read."""
    esmtp = fields.get(_ESMTP_KEY)
    bare = fields.get(_BARE_NEWLINES, settings.bare_newlines)
    return replace(
        settings,
        limits=_limits(settings.limits, fields),
        deadlines=_deadlines(settings.deadlines, fields, context),
        bare_newlines=cast("BareNewlines", bare),
        received=fields.get(_RECEIVED) == "add",
        hide_server=fields.get(_HIDE_SERVER, settings.hide_server),
        banner=fields.get(_BANNER, settings.banner),
        helo=fields.get(_HELO, settings.helo),
        esmtp_allow=frozenset(esmtp.get(_ALLOW, ()) if esmtp else ()),
        etrn=esmtp is not None and esmtp.get(_ETRN) == "allow",
        differing=cast("Differing", fields.get(_DIFFERING, settings.differing)),
    )


def _limits(limits: Limits, fields: Fields) -> Limits:
    recipients: Any = fields.get(_MAX_RECIPIENTS, limits.recipients)
    return replace(
        limits,
        recipients=None if recipients == UPSTREAM else recipients,
        message=fields.get(_MAX_MESSAGE, limits.message),
        header_section=fields.get(_MAX_HEADER, limits.header_section),
        errors=fields.get(_MAX_ERRORS, limits.errors),
        commands=fields.get(_MAX_COMMANDS, limits.commands),
    )


def _deadlines(deadlines: Deadlines, fields: Fields, context: Context) -> Deadlines:
    found = fields.get(_DEADLINES_KEY)
    if found is None:
        return deadlines
    given: dict[str, Any] = {key.name: found.get(key) for key in _DEADLINES.keys}
    new = replace(
        deadlines, **{name: value for name, value in given.items() if value is not None}
    )
    if new.verdict >= new.final_reply:
        text = (
            "verdict must be shorter than final_reply, which counts from the same dot"
        )
        context.error(found.mark, f"session.deadlines: {text}", "bad-value")
    return new
