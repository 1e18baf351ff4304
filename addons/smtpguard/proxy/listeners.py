"""Who listens to which hook: a hook that nobody hears need not be raised.

Each hook is a task that walks some forty addons, 0.1 ms in mitmproxy 12: a session with
all of TLS's would spend more time on them than on its handshakes. Addons that come with
mitmproxy and do nothing with a hook in our sessions do not count.
"""

from __future__ import annotations

import logging
import operator
import time
from typing import TYPE_CHECKING, Any

from mitmproxy import addonmanager, ctx, log
from mitmproxy.addons import dumper, intercept, save, tlsconfig


if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitmproxy.proxy import commands


_DEAF: dict[str, tuple[type, ...]] = {
    # What it would set is set already, by ``tlspolicy``.
    "tls_clienthello": (tlsconfig.TlsConfig,),
    "tls_start_client": (tlsconfig.TlsConfig,),
    "tls_start_server": (tlsconfig.TlsConfig,),
    # Prints and stops single TCP messages; a session has its own log line.
    "tcp_message": (dumper.Dumper, intercept.Intercept),
}
_NAMES = (
    "add_log",
    "smtp_command",
    "smtp_end",
    "smtp_message",
    "smtp_start",
    "tcp_end",
    "tcp_message",
    "tcp_start",
    "tls_clienthello",
    "tls_established_client",
    "tls_established_server",
    "tls_failed_client",
    "tls_failed_server",
    "tls_start_client",
    "tls_start_server",
)
"""The hooks that are left out where nobody hears them; all others are raised."""


LOOK_AGAIN_SECONDS = 1.0
"""How long it may take until an addon that came later gets log events."""


class Listeners:
    """Which of these hooks have a listener; looked up again when addons change."""

    def __init__(self) -> None:
        self.own: tuple[object, ...] = ()
        """Our own addons: they are asked directly."""
        self._known: list[object] = []
        self._heard: frozenset[str] = frozenset()
        self._log_heard = True
        self._look_again = 0.0

    def heard(self) -> frozenset[str]:
        """Return the names of the hooks that somebody else hears now."""
        addons = list(addonmanager.traverse(ctx.master.addons.chain))
        recording = [addon for addon in addons if _records(addon)]
        now = [*addons, *recording, *self.own]
        if not _same(now, self._known):
            self._known = now
            others = [addon for addon in addons if not _among(addon, self.own)]
            self._heard = frozenset(name for name in _NAMES if _has(others, name))
        return self._heard

    def spare_log_events(self) -> None:
        """Have log lines not handed to forty addons of which none listens.

        mitmproxy tells all addons of each line, in case one still has ``add_log``
        (deprecated since mitmproxy 9): 0.1 ms a line, and five lines a session.
        """
        for handler in logging.getLogger().handlers:
            if isinstance(handler, log.LegacyLogEvents) and not handler.filters:
                handler.addFilter(self._is_log_heard)

    def _is_log_heard(self, _: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now >= self._look_again:
            self._look_again = now + LOOK_AGAIN_SECONDS
            self._log_heard = "add_log" in self.heard()
        return self._log_heard


def is_quiet(hook: commands.StartHook, heard: frozenset[str]) -> bool:
    """Whether nobody hears this hook."""
    return hook.name in _NAMES and hook.name not in heard


def _has(addons: list[Any], name: str) -> bool:
    deaf = _DEAF.get(name, ())
    return any(
        callable(getattr(addon, name, None))
        and not isinstance(addon, deaf)
        and (not isinstance(addon, save.Save) or _records(addon))
        for addon in addons
    )


def _records(addon: object) -> bool:
    """Whether this is mitmproxy's Save with a file to write to."""
    return isinstance(addon, save.Save) and addon.stream is not None


def _among(addon: object, some: Iterable[object]) -> bool:
    return any(addon is one for one in some)


def _same(some: list[object], others: list[object]) -> bool:
    return len(some) == len(others) and all(map(operator.is_, some, others))
