"""``identity``, ``session`` and ``tls`` of a policy -> ``model.settings.Settings``."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from smtpguard.model.settings import Settings
from smtpguard.policy.kinds import choice
from smtpguard.policy.sessionreader import SESSION, with_session
from smtpguard.policy.shapes import Key
from smtpguard.policy.tlsreader import TLS, with_tls


if TYPE_CHECKING:
    from smtpguard.model.settings import Identity
    from smtpguard.policy.kinds import Context
    from smtpguard.policy.shapes import Fields


IDENTITY = Key(
    "identity",
    choice("none", "xclient", "proxy_v1", "proxy_v2"),
    "How the upstream learns who the client is.",
)
SETTINGS = (IDENTITY, SESSION, TLS)
"""The keys of a policy that are read here."""


def read_settings(fields: Fields, name: str, context: Context) -> Settings:
    """Return the settings of a policy from the values that could be read."""
    default = Settings()
    identity = cast("Identity", fields.get(IDENTITY, default.identity))
    settings = Settings(policy=name, identity=identity)
    if (session := fields.get(SESSION)) is not None:
        settings = with_session(settings, session, context)
    if (tls := fields.get(TLS)) is not None:
        settings = with_tls(settings, tls)
    return settings
