"""``smtpguard run``: the gateway in a lean mitmproxy.

The same core as mitmdump's, with only those of its addons that mail needs: each hook
walks fewer handlers, nothing watches a script, and the addon cannot be unloaded while
the proxy goes on.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import signal
import sys
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from mitmproxy import exceptions, master, options
from mitmproxy.addons import (
    core,
    errorcheck,
    next_layer,
    proxyserver,
    script,
    termlog,
    tlsconfig,
)

from smtpguard.addon import SmtpGuard
from smtpguard.authority import ensure_authority
from smtpguard.errors import SmtpGuardError
from smtpguard.loading import load_pipeline
from smtpguard.options import OPTIONS, rules_path
from smtpguard.policy.problems import did_you_mean
from smtpguard.ports import LOOPBACK
from smtpguard.proxy.sentinel import NAME
from smtpguard.proxy.tally import Tally
from smtpguard.saving import Saving
from smtpguard.terminal import say


if TYPE_CHECKING:
    from collections.abc import Buffer, Callable, Iterable

    from smtpguard.proxy.sentinel import Sentinel


BACKLOG: Final = 1024
"""Connections that wait to be taken, where asyncio would have 100."""
_OURS = "smtpguard"
_REDIRECTED = ("transparent", "wireguard", "local")
"""Modes whose clients never come by the loopback."""
_CARRYING_MAIL = ("reverse:tcp://", "reverse:tls://", "socks5", *_REDIRECTED)
"""Other modes would be proxies for something else, which nobody asks of a gateway."""
_ASKED_FOR_BY_NAME = {
    "mode": "--mode",
    "confdir": "--confdir",
    "listen_host": "--listen-host",
    "listen_port": "--listen-port",
    "save_stream_file": "--save",
}
"""Options that are looked at before mitmproxy has them, or that workers differ in."""


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


class _LineLog(termlog.TermLogHandler):
    """Writes each entry of the log in one piece, unlike ``print``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry; a gateway without a log ends, as mitmproxy does."""
        try:
            say(self.file, self.format(record))
        except OSError:
            sys.exit(1)


class _TermLog(termlog.TermLog):
    def __init__(self) -> None:
        self.logger = _LineLog()
        self.logger.install()


class _StartCheck(errorcheck.ErrorCheck):
    """Ends a start at the first error, and tells when there was none."""

    name = "errorcheck"  # by which mitmproxy finds it

    def __init__(self, started: Callable[[], None]) -> None:
        super().__init__()
        self._started = started

    def finish(self) -> None:
        """Note that the gateway listens, and that no addon complained."""
        super().finish()  # type: ignore[no-untyped-call]
        self._started()


class LeanMaster(master.Master):
    """A mitmproxy master with what mail needs."""

    def __init__(
        self, opts: options.Options, saving: Saving, started: Callable[[], None]
    ) -> None:
        super().__init__(opts)
        self._termlog_addon = _TermLog()
        self.addons.add(
            self._termlog_addon,
            core.Core(),
            proxyserver.Proxyserver(),
            script.ScriptLoader(),
            next_layer.NextLayer(),
            SmtpGuard(),
            saving,
            tlsconfig.TlsConfig(),
            _StartCheck(started),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's place among several."""

    index: int
    memory: Buffer
    """What they count connections in (``proxy.tally``)."""
    secret: bytes
    ready: Any
    """A shared byte: 1 once it listens and has rules to judge by."""


class SharedPortLoop(asyncio.SelectorEventLoop):
    """Listens on ports on which other workers listen too (SO_REUSEPORT)."""

    async def create_server(
        self,
        *arguments: Any,  # noqa: ANN401 - handed on
        **settings: Any,  # noqa: ANN401
    ) -> asyncio.Server:
        """Listen as asyncio does."""
        shared = {**settings, "reuse_port": True, "backlog": BACKLOG}
        return await super().create_server(*arguments, **shared)


def run_worker(setup: Setup, place: Place | None = None) -> bool:
    """Run one gateway until SIGTERM or SIGINT, and until what is under way has ended.

    Returns False where sessions that were to be recorded could not be written (what is
    cut off with the process is not among them). As one of several it ends with the
    process that has started it, too.

    Raises RulesError, and SmtpGuardError for any other fault of ``setup``; SystemExit
    where the gateway cannot start (its log says why), or cannot write its log.
    """
    opts = prepare(setup)
    loop = SharedPortLoop if place is not None else None
    return asyncio.run(_run(opts, setup, place), loop_factory=loop)


def prepare(setup: Setup) -> options.Options:
    """Check what can be checked before anything runs, and make the CA.

    Raises RulesError, and SmtpGuardError for any other fault of ``setup``.
    """
    for mode in setup.modes:
        if not mode.startswith(_CARRYING_MAIL):
            known = ", ".join(_CARRYING_MAIL)
            raise SmtpGuardError(f"mode {mode!r} carries no SMTP, these do: {known}")
    if not 0 <= (setup.listen_port or 0) < 65536:  # it would be taken modulo that
        raise SmtpGuardError(f"--listen-port {setup.listen_port}: no such port")
    for option in setup.options:
        name = option.partition("=")[0]
        if name in _ASKED_FOR_BY_NAME:
            by_name = _ASKED_FOR_BY_NAME[name]
            raise SmtpGuardError(f"--set {option}: say it with {by_name}")
        if name.startswith(_OURS):
            _check_name(name, (known.name for known in OPTIONS))
    # Told before anything else, and without a log around it.
    load_pipeline(str(rules_path(setup.rules)))
    opts = options.Options()
    given = setup.confdir or opts.confdir
    try:
        confdir = Path(given).expanduser()
        ensure_authority(confdir)
    except (OSError, RuntimeError) as error:  # the latter: nobody's home
        raise SmtpGuardError(f"{given}: no CA can be kept there: {error}") from None
    opts.update(confdir=str(confdir))
    return opts


async def _run(opts: options.Options, setup: Setup, place: Place | None) -> bool:
    _prepare_log()
    saving = Saving()
    gateway: master.Master = LeanMaster(opts, saving, partial(_tell_ready, place))
    ours: list[str] = []
    others: list[str] = []
    for option in setup.options:
        name = option.partition("=")[0]
        _check_name(name, opts.keys())
        (ours if name.startswith(_OURS) else others).append(option)
    try:
        opts.update(
            mode=list(setup.modes),
            listen_host=setup.host,
            listen_port=setup.listen_port,
        )
        # First: certificates that rules name are judged by ``ciphers_client``.
        opts.set(*others)
        # On its own: a fault beside it would have the addon load its default first.
        opts.update(smtpguard_rules=setup.rules)
        opts.update(save_stream_file=setup.save)
        opts.set(*ours)
    except exceptions.OptionsError as error:
        raise SmtpGuardError(str(error)) from None
    if place is not None:
        tally = Tally(place.memory, place.index, place.secret)
        cast("Sentinel", gateway.addons.get(NAME)).registry.share(tally, place.index)
    _stop_when_told(gateway.shutdown)
    gc.set_threshold(*COLLECT_AFTER)
    await gateway.run()
    return saving.lost == 0


def _check_name(name: str, known: Iterable[str]) -> None:
    """Raise SmtpGuardError where no option is called so."""
    names = list(known)
    if name not in names:
        hint = did_you_mean(name, names)
        raise SmtpGuardError(f"--set {name}: no option is called so{hint}")


def _tell_ready(place: Place | None) -> None:
    if place is not None:
        place.ready.value = 1


def _stop_when_told(shutdown: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    parent = multiprocessing.parent_process()

    def stop() -> None:
        shutdown()
        # A second Ctrl-C does not wait for what is under way.
        loop.remove_signal_handler(signal.SIGINT)
        if parent is not None:
            loop.remove_reader(parent.sentinel)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if parent is not None:
        loop.add_reader(parent.sentinel, stop)


def _prepare_log() -> None:
    """Have the log be read as it is written, by a pipe too, whatever is in it."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    # Nobody prints these, and each line would ask for them.
    logging.logThreads = logging.logProcesses = False
