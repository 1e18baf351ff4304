"""The mitmproxy addon: wires rules, hooks, options and the process's life together.

Decides nothing itself. ``policy`` and ``pipeline`` judge, ``proxy`` talks, and
``proxy.sentinel`` keeps clients out while this addon is not there with valid rules. An
instance may be replaced at any time (mitmproxy makes a new one whenever the script
changes), so whatever must last longer lives in the sentinel.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from datetime import datetime
from logging import getLogger
from typing import TYPE_CHECKING

from mitmproxy import ctx, exceptions

from smtpguard import alarms, contentview, options
from smtpguard.commands import Commands
from smtpguard.errors import RulesError, os_text
from smtpguard.heap import settle_memory
from smtpguard.judges import Judges
from smtpguard.keeping import kept_of, settle
from smtpguard.loading import CertificatesError, check_certificates, load_for_clients
from smtpguard.monitoring import Monitoring
from smtpguard.proxy.maillog import describe
from smtpguard.proxy.sentinel import Guard, Sentinel
from smtpguard.proxy.spool import BUDGET_OCTETS
from smtpguard.proxy.watch import FileWatch


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from collections.abc import Set as AbstractSet

    from mitmproxy.addonmanager import Loader

    from smtpguard.dialogue import TransactionRecord
    from smtpguard.options import GuardOptions
    from smtpguard.pipeline import Pipeline
    from smtpguard.proxy.hooks import SmtpMessageData, SmtpStartData
    from smtpguard.proxy.maillog import Addresses
    from smtpguard.scanning import Scanners


logger = getLogger(__name__)

WATCH_SECONDS = 1.0
TIDY_SECONDS = 3600.0
"""Between two looks for what is too old in the quarantine."""
SETTLE_SECONDS = 10.0
STOP_SECONDS = 60.0
"""How long replies in flight are awaited after SIGTERM (contract 3)."""


class SmtpGuard:
    """An SMTP gateway with TLS deep inspection."""

    def __init__(self) -> None:
        self.addons = [Commands(self)]
        """Come and go with this one."""
        self._options: GuardOptions | None = None
        self._pipeline: Pipeline | None = None
        self._loaded_at = datetime.now().astimezone()
        self._watch = FileWatch()
        self._monitoring = Monitoring(lambda: self.scanners, self._now)
        self._judges = Judges(self._monitoring.scanned)
        self._watcher: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._settling: set[asyncio.Task[None]] = set()
        """Work beside the loop that nobody waits for; kept so that it is done."""
        self._tidied = 0.0
        self._asked: asyncio.Task[None] | None = None
        """The reload that was asked for last; kept so that it is not collected."""

    # -- life --------------------------------------------------------------------------

    def load(self, loader: Loader) -> None:
        """Set the sentinel up, then declare the options.

        In this order: a value that does not fit its option (``--set`` of a word for a
        number) has mitmproxy give the script up without a word, and go on as a relay.
        The sentinel must be there by then, and the word must be said.
        """
        Sentinel.get()
        contentview.register()
        for option in options.OPTIONS:
            loader.add_option(option.name, option.type, option.default, option.help)
        try:
            ctx.options.process_deferred()
        except exceptions.OptionsError as error:
            logger.error("%s", error)  # noqa: TRY400 - one line; ends the start
            raise

    def configure(self, updated: AbstractSet[str]) -> None:
        """Take over options and rules, or neither.

        At the start every problem is logged as a line of its own, which ends mitmproxy;
        later the change is refused, also one of the ciphers that clients are offered,
        if a certificate of the rules is of no use with them.
        """
        try:
            if self._pipeline is not None and "ciphers_client" in updated:
                check_certificates(self._pipeline.rules, _ciphers())
            if any(name.startswith("smtpguard_") for name in updated):
                self._take(options.read_options(ctx.options))
        except exceptions.OptionsError as error:
            self._refuse(str(error).splitlines())
        except RulesError as error:
            self._watch_faults(error)
            self._refuse([str(problem) for problem in error.problems])

    def running(self) -> None:
        """Go on duty, if there are rules to judge by; watch the rule files."""
        settle_memory()
        if self._options is not None:
            try:
                self._serve_metrics(self._options)
            except exceptions.OptionsError as error:
                self._refuse([str(error)])
        self._judges.start()
        loop = asyncio.get_running_loop()
        self._watcher = loop.create_task(self._keep_watch(), name="smtpguard rules")
        # Not in the main thread, or no such signal: the watcher sees changes anyway.
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(signal.SIGHUP, self.reload)
        self._on_duty()
        if self._pipeline is not None:
            logger.info("smtpguard is ready")

    def done(self) -> Awaitable[None] | None:
        """Go off duty; at the end of the process, let what is under way end first.

        A plain function: mitmproxy's script loader calls it where nothing can be
        awaited, and an ``async def`` there would end the reloading for good.
        """
        if self._watcher is None:
            return None  # never on duty
        self._watcher.cancel()
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
            if ctx.master.should_exit.is_set():
                # It would end the process, under what is under way.
                signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if ctx.master.should_exit.is_set():
            return self._stop()
        self._off_duty()
        if self._pipeline is not None:
            # Of whoever comes on duty next there are others.
            if self._pipeline.scanners is not None:
                self._pipeline.scanners.keep(frozenset())
            if self._pipeline.notifier is not None:
                self._pipeline.notifier.retire()
        return None

    async def _stop(self) -> None:
        try:
            await Sentinel.get().stop(STOP_SECONDS)
            if self._settling:
                await asyncio.wait(self._settling, timeout=SETTLE_SECONDS)
        finally:
            # What waits for a judge has no client any more, and Python waits for what
            # is judged: no longer than for an archive, which ends here.
            self._judges.stop(at_once=True)
            self._off_duty()
            if self._pipeline is not None:
                self._pipeline.stop()

    def _on_duty(self) -> None:
        if self._options is not None and self._pipeline is not None:
            asked = self._judge_at_once, self._transaction_ended
            guard = Guard(self, self._options, self._pipeline, *asked)
            Sentinel.get().on_duty(guard)
            notifier = self._pipeline.notifier
            alarms.listen(notifier.alarm if notifier is not None else None)

    def _off_duty(self) -> None:
        self._monitoring.stop()
        alarms.listen(None)
        Sentinel.get().off_duty(self)
        self._judges.stop()

    # -- hooks -------------------------------------------------------------------------

    def smtp_start(self, data: SmtpStartData) -> None:
        """Answer for the rules in a new session."""
        if data.decider is None and self._pipeline is not None:
            data.decider = Sentinel.get().rules

    async def smtp_message(self, data: SmtpMessageData) -> None:
        """Judge a message by the rules its transaction began under.

        Whatever goes wrong leaves it undecided, which is 451.
        """
        if data.disposition is not None or self._judge_at_once(data):
            return
        try:
            data.disposition = await self._judges.judge(data)
        except Exception as error:  # noqa: BLE001 - undecided; the log says why
            undecided(data, error, self._log_addresses())

    def _judge_at_once(self, data: SmtpMessageData) -> bool:
        """Judge a message now, False where that may take long. Never raises."""
        try:
            return self._judges.judge_at_once(data)
        except Exception as error:  # noqa: BLE001 - undecided; the log says why
            undecided(data, error, self._log_addresses())
        return True

    def _transaction_ended(self, record: TransactionRecord) -> None:
        """Have what was kept of a message settled beside the loop, and those told who
        are to be told. Never raises.

        Also when another instance is on duty by now.
        """
        self._monitoring.transaction_ended(record)
        if kept_of(record.report):
            self._beside(settle, record)
        if self._pipeline is not None and self._pipeline.notifier is not None:
            self._pipeline.notifier.notify(record)

    def _beside[*A](self, work: Callable[[*A], None], *about: *A) -> None:
        """Have something done beside the loop that nobody waits for."""
        self.begin(asyncio.to_thread(work, *about))

    def begin(self, work: Coroutine[object, object, None]) -> None:
        """Begin something that nobody waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("beside the loop: %s", describe(error, self._log_addresses()))

    # -- rules -------------------------------------------------------------------------

    def reload(self) -> None:
        """Read the rule files again; the old rules stay if they have errors."""
        loop = asyncio.get_running_loop()
        self._asked = loop.create_task(self._reload_or_log(), name="smtpguard reload")

    @property
    def rules_file(self) -> str:
        """The rule file that is in force."""
        # Looked at by mitmproxy before there are options, as all attributes are.
        return str(self._options.rules) if self._options is not None else ""

    @property
    def scanners(self) -> Scanners | None:
        """Who is asked, None where nobody is."""
        return self._pipeline.scanners if self._pipeline is not None else None

    def _take(self, new: GuardOptions) -> None:
        """Take options over, with their rules. Raises RulesError; then nothing changed.

        Rules are not read again for an option that has nothing to do with them.
        """
        old = self._options
        same = old is not None and (old.rules, old.own_name) == (
            new.rules,
            new.own_name,
        )
        pipeline = None
        if self._pipeline is None or not same:
            self._watch.watch([str(new.rules)])
            pipeline = load_for_clients(*self._asked_for(new))
        if self._watcher is not None:
            self._serve_metrics(new)
        if pipeline is not None:
            self._use(pipeline)
        self._options = new
        if self._watcher is not None:
            self._on_duty()

    def _asked_for(self, new: GuardOptions) -> tuple[str, str, Pipeline | None, str]:
        """Return what ``load_for_clients`` is asked with."""
        return str(new.rules), new.own_name, self._pipeline, _ciphers()

    def _use(self, pipeline: Pipeline) -> None:
        old = self._pipeline.notifier if self._pipeline is not None else None
        if old is not None and old is not pipeline.notifier:
            old.retire()
        self._pipeline = pipeline
        self._loaded_at = datetime.now().astimezone()
        self._watch.watch(pipeline.rules.files)
        for warning in pipeline.rules.warnings:
            logger.warning("%s", warning)
            if warning.slug == "list-shrank":
                alarms.raise_alarm("lists", str(warning))
        names = ", ".join(policy.name for policy in pipeline.rules.policies[:10])
        digest = pipeline.rules.digest[:12]
        logger.info("rules loaded, digest %s, policies: %s", digest, names)

    def _watch_faults(self, error: RulesError) -> None:
        """Watch what has to be mended, beside what is in force."""
        wanted = options.rules_path(ctx.options.smtpguard_rules)
        in_force = self._pipeline.rules.files if self._pipeline is not None else ()
        faulty = [problem.file for problem in error.problems]
        if isinstance(error, CertificatesError):
            faulty += error.files
        self._watch.watch([str(wanted), *in_force, *faulty])

    def _refuse(self, problems: list[str]) -> None:
        """Tell what is wrong with the options or the rules."""
        if self._watcher is not None:
            raise exceptions.OptionsError("\n".join(problems))
        for problem in problems:
            logger.error("%s", problem)

    async def _reload(self) -> None:
        async with self._reloading:
            new = options.read_options(ctx.options)
            asked = self._asked_for(new)
            try:
                self._use(await self._judges.beside(load_for_clients, *asked))
            except RulesError as error:
                self._watch_faults(error)
                for problem in error.problems:
                    logger.error("%s", problem)  # noqa: TRY400 - the problem says it
                logger.error(  # noqa: TRY400 - the text says it
                    "rules not loaded: %s", self._still_active()
                )
                alarms.raise_alarm("rules", f"{new.rules} is not loaded")
                return
            self._options = new
            self._on_duty()

    def _still_active(self) -> str:
        if self._pipeline is None:
            return "no rules are active and no client is served"
        return f"the rules loaded at {self._loaded_at:%H:%M:%S} stay active"

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._tidy()
            if self._watch.look():
                await self._reload_or_log()

    async def _reload_or_log(self) -> None:
        try:
            await self._reload()
        except Exception as error:  # noqa: BLE001 - the watch must go on
            trace = describe(error, self._log_addresses())
            logger.error("rules not reloaded: %s", trace)  # noqa: TRY400 - the text says it

    def _tidy(self) -> None:
        """Have the quarantine tidied, now and then."""
        now = asyncio.get_running_loop().time()
        keeper = self._pipeline.keeper if self._pipeline is not None else None
        if keeper is not None and now - self._tidied >= TIDY_SECONDS:
            self._tidied = now
            self._beside(keeper.tidy)

    # -- metrics -----------------------------------------------------------------------

    def _serve_metrics(self, new: GuardOptions) -> None:
        """Have metrics served as the options say. Raises OptionsError."""
        address = new.metrics
        if address is not None:
            host, port = address
            address = host, port + Sentinel.get().registry.worker
        try:
            self._monitoring.serve(address)
        except (OSError, OverflowError) as error:
            why = os_text(error) if isinstance(error, OSError) else str(error)
            told = f"smtpguard_metrics: cannot listen on {address}: {why}"
            raise exceptions.OptionsError(told) from None

    def _now(self) -> dict[str, int]:
        """Return what there is at this moment, by name; for any thread."""
        registry = Sentinel.get().registry
        return {
            "sessions": len(registry.entries),
            "messages_waiting": self._judges.waiting,
            "message_octets_in_memory": BUDGET_OCTETS - registry.memory.left,
        }

    def _log_addresses(self) -> Addresses:
        """How addresses are logged; not at all while the options are not known."""
        return self._options.log_addresses if self._options is not None else "none"


def _ciphers() -> str:
    """Return the ciphers that clients are offered, "" for OpenSSL's own choice."""
    # Of mitmproxy's TLS addon; without it there are no handshakes to judge for.
    return getattr(ctx.options, "ciphers_client", None) or ""


def undecided(data: SmtpMessageData, error: Exception, addresses: Addresses) -> None:
    """Log why a message has no verdict; escaped, since it may stand in the error."""
    trace = describe(error, addresses)
    logger.error("tx=%s is undecided: %s", data.transaction.id, trace)
