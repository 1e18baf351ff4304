"""``smtpguard run``: the gateway in a lean mitmproxy.

The same core as mitmdump's, with only those of its addons that mail needs: each hook
walks fewer handlers, nothing watches a script, and the addon cannot be unloaded while
the proxy goes on.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from mitmproxy import exceptions, master, options
from mitmproxy.addons import (
    core,
    errorcheck,
    next_layer,
    proxyserver,
    save,
    script,
    tlsconfig,
)

from smtpguard.addon import SmtpGuard
from smtpguard.authority import ensure_authority
from smtpguard.errors import SmtpGuardError
from smtpguard.loading import load_pipeline


LOOPBACK = "127.0.0.1"
_REDIRECTED = ("transparent", "wireguard", "local")
"""Modes whose clients never come by the loopback."""
_CARRYING_MAIL = ("reverse:tcp://", "reverse:tls://", "socks5", *_REDIRECTED)
"""Other modes would be proxies for something else, which nobody asks of a gateway."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the command line asks for."""

    rules: str
    modes: tuple[str, ...]
    """As mitmdump takes them, one at least."""
    listen_host: str | None = None
    """None: the loopback, or every address where a mode needs it."""
    listen_port: int | None = None
    confdir: str | None = None
    save: str | None = None
    """File to record sessions into; ``+FILE`` appends."""
    options: tuple[str, ...] = ()
    """``NAME=VALUE`` of any option."""

    @property
    def host(self) -> str:
        """Where to listen, for modes that do not say it; "" is everywhere."""
        if self.listen_host is not None:
            return self.listen_host
        is_redirected = any(mode.startswith(_REDIRECTED) for mode in self.modes)
        return "" if is_redirected else LOOPBACK


COLLECT_AFTER = (10_000, 20, 20)
"""Objects and rounds until garbage is looked for: a session makes a thousand, few in
cycles, and Python's own 2,000 (or 700) would have it look through them all the time."""


class LeanMaster(master.Master):
    """A mitmproxy master with what mail needs."""

    def __init__(self, opts: options.Options) -> None:
        super().__init__(opts, with_termlog=True)
        self.addons.add(
            core.Core(),
            proxyserver.Proxyserver(),
            script.ScriptLoader(),
            next_layer.NextLayer(),
            SmtpGuard(),
            save.Save(),
            tlsconfig.TlsConfig(),
            errorcheck.ErrorCheck(),
        )


def run_worker(setup: Setup) -> None:
    """Run one gateway until SIGTERM or SIGINT, and until what is under way has ended.

    Raises RulesError, and SmtpGuardError for any other fault of ``setup``; SystemExit
    where the gateway cannot start (its log says why).
    """
    for mode in setup.modes:
        if not mode.startswith(_CARRYING_MAIL):
            known = ", ".join(_CARRYING_MAIL)
            raise SmtpGuardError(f"mode {mode!r} carries no SMTP, these do: {known}")
    # Told before anything else, and without a log around it.
    load_pipeline(setup.rules)
    opts = options.Options()
    confdir = Path(setup.confdir or opts.confdir).expanduser()
    try:
        ensure_authority(confdir)
    except OSError as error:
        raise SmtpGuardError(f"{confdir}: no CA can be kept there: {error}") from None
    opts.update(confdir=str(confdir))
    asyncio.run(_run(opts, setup))


async def _run(opts: options.Options, setup: Setup) -> None:
    _prepare_log()
    gateway: master.Master = LeanMaster(opts)
    try:
        opts.update(
            mode=list(setup.modes),
            listen_host=setup.host,
            listen_port=setup.listen_port,
        )
        # On its own: a fault beside it would have the addon load its default first.
        opts.update(smtpguard_rules=setup.rules)
        opts.update(save_stream_file=setup.save)
        opts.set(*setup.options)
    except exceptions.OptionsError as error:
        raise SmtpGuardError(str(error)) from None
    loop = asyncio.get_running_loop()

    def stop() -> None:
        gateway.shutdown()
        # A second Ctrl-C does not wait for what is under way.
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    gc.set_threshold(*COLLECT_AFTER)
    await gateway.run()


def _prepare_log() -> None:
    """Have the log be read as it is written, by a pipe too, whatever is in it."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
