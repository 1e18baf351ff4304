"""The addon: options and rules in, hooks answered, one life after the other."""

# ruff: noqa: ASYNC240 - files are a few lines

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import exceptions
from mitmproxy.test import taddons

from smtpguard import addon as addon_module
from smtpguard import alarms
from smtpguard.addon import SmtpGuard
from smtpguard.dialogue import TransactionRecord
from smtpguard.errors import QuarantineError
from smtpguard.judges import INLINE_OCTETS, JUDGES
from smtpguard.keeping import KEPT
from smtpguard.loading import load_for_clients
from smtpguard.mime.effort import HEADER_OCTETS
from smtpguard.model.content import MemorySpool
from smtpguard.model.decider import Decider
from smtpguard.model.disposition import Disposition, Outcome
from smtpguard.model.session import SessionFacts
from smtpguard.model.settings import Settings
from smtpguard.pipeline import TransactionJudge
from smtpguard.proxy.hooks import SmtpMessageData, SmtpStartData
from smtpguard.proxy.moment import NobodyOnDutyError
from smtpguard.proxy.sentinel import Sentinel
from smtpguard.quarantine.store import Store
from tests import judging
from tests.integration.bed.process import free_port
from tests.proxy.peers import make_authority
from tests.quarantine.making import kept
from tests.test_metrics import read as read_metrics
from tests.test_ownmail import RECORD
from tests.waiting import until


RULES = """\
version: 1
domains: [example.org]
policies:
  - name: {name}
    mail_from: [{{match: "*", action: allow}}]
    rcpt_to: [{{match: "*@own", action: allow}}, {{match: "*", action: deny}}]
    content_types: [{{match: "*", action: allow}}]
    filenames: [{{match: "*", action: allow}}]
"""


UNUSABLE = "second\n    tls: {client: {certificate: none.pem}}"
"""The name of a policy, and a certificate that is not there."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES.format(name="first"))
    return path


@pytest.fixture
def guard() -> SmtpGuard:
    return SmtpGuard()


@pytest.fixture
def mitm(guard: SmtpGuard) -> Iterator[taddons.context]:
    with taddons.context(guard) as tctx:
        tctx.master.should_exit = asyncio.Event()
        yield tctx


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the guard look at its files often."""
    monkeypatch.setattr(addon_module, "WATCH_SECONDS", 0.01)


def policies(guard: SmtpGuard) -> list[str]:
    assert guard._pipeline is not None
    return [policy.name for policy in guard._pipeline.rules.policies]


def on_duty() -> bool:
    return Sentinel.get()._guard is not None


# -- options and rules -----------------------------------------------------------------


def test_rules_are_loaded_when_options_are_set(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    mitm.configure(guard, smtpguard_rules=str(rules))

    assert policies(guard) == ["first"]


def test_an_option_that_is_not_ours_reads_nothing(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    mitm.configure(guard, smtpguard_rules=str(rules))
    before = guard._pipeline
    guard.configure({"listen_port"})

    assert guard._pipeline is before


def test_an_option_beside_the_rules_does_not_read_them_again(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    mitm.configure(guard, smtpguard_rules=str(rules))
    before = guard._pipeline
    mitm.configure(guard, smtpguard_max_connections=7)

    assert guard._pipeline is before
    assert guard._options is not None
    assert guard._options.max_connections == 7


def test_at_the_start_every_problem_is_a_clean_line(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An OptionsError would add a traceback; errors at the start end mitmproxy."""
    rules.write_text(
        RULES.format(name="x").replace("allow", "alow").replace("deny", "no")
    )
    mitm.configure(guard, smtpguard_rules=str(rules))

    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) >= 2
    assert all(record.exc_info is None for record in errors)
    assert all(str(rules) in record.getMessage() for record in errors)
    assert guard._pipeline is None


def test_a_missing_rule_file_is_a_problem_like_any_other(
    mitm: taddons.context,
    guard: SmtpGuard,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mitm.configure(guard, smtpguard_rules=str(tmp_path / "none.yaml"))

    assert "none.yaml" in caplog.text
    assert guard._pipeline is None


def test_a_certificate_that_cannot_be_used_is_a_problem_like_any_other(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rules.write_text(RULES.format(name=UNUSABLE))
    mitm.configure(guard, smtpguard_rules=str(rules))

    assert "cannot use the certificate none.pem" in caplog.text
    assert guard._pipeline is None


def test_options_that_make_no_sense_are_told_at_the_start(
    mitm: taddons.context, guard: SmtpGuard, caplog: pytest.LogCaptureFixture
) -> None:
    mitm.configure(guard, smtpguard_record="all")

    assert "smtpguard_record: 'all' is none of" in caplog.text
    assert guard._options is None


def test_the_ciphers_of_the_clients_decide_what_certificate_is_of_use(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Level 4 takes no P-256 key: every handshake would fail."""
    pem = make_authority(tmp_path).issue("mx.own.test")
    name = f"second\n    tls: {{client: {{certificate: {pem}}}}}"
    rules.write_text(RULES.format(name=name))
    ciphers = "DEFAULT:@SECLEVEL=4"
    mitm.options.add_option("ciphers_client", str | None, ciphers, "")
    mitm.configure(guard, smtpguard_rules=str(rules))

    assert f"cannot use the certificate {pem}: ee key too small" in caplog.text
    assert guard._pipeline is None


# -- duty ------------------------------------------------------------------------------


def test_a_guard_with_rules_goes_on_duty(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    async def scene() -> tuple[bool, bool, bool]:
        mitm.configure(guard, smtpguard_rules=str(rules))
        before = on_duty()
        guard.running()
        during = on_duty()
        assert guard.done() is None
        return before, during, on_duty()

    assert asyncio.run(scene()) == (False, True, False)


def test_a_guard_without_rules_stays_off_duty_until_they_are_mended(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(addon_module, "WATCH_SECONDS", 0.01)
    good = rules.read_text()
    rules.write_text("version: 1\n")

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        assert not on_duty()
        rules.write_text(good)
        await until(on_duty)
        guard.done()

    asyncio.run(scene())


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("before", [True, False], ids=["reload", "start"])
def test_a_certificate_that_is_mended_is_noticed(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    before: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The rules themselves stay as they are: nothing is wrong with them."""
    pem = rules.parent / "served.pem"
    name = f"second\n    tls: {{client: {{certificate: {pem}}}}}"
    if not before:
        rules.write_text(RULES.format(name=name))

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        if before:
            rules.write_text(RULES.format(name=name))
            await until(lambda: "stay active" in caplog.text)
        assert on_duty() is before
        make_authority(rules.parent).issue("mx.own.test").replace(pem)
        await until(
            lambda: guard._pipeline is not None and policies(guard) == ["second"]
        )
        await until(on_duty)
        guard.done()

    asyncio.run(scene())


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("before", [True, False], ids=["reload", "start"])
def test_a_file_of_the_rules_that_is_mended_is_noticed(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    before: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is not the main file that is wrong, nor one that is in force."""
    good = RULES.format(name="second").replace("domains: [example.org]\n", "")
    part = rules.parent / "part.yaml"
    part.write_text(good.replace("allow", "alow"))
    including = RULES.format(name="first") + "include: [part.yaml]\n"
    if not before:
        rules.write_text(including)

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        if before:
            rules.write_text(including)
            await until(lambda: "stay active" in caplog.text)
        assert on_duty() is before
        part.write_text(good)
        await until(lambda: on_duty() and "second" in policies(guard))
        guard.done()

    asyncio.run(scene())


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("mended", ["rules.yaml", "first.yaml"])
def test_a_fault_may_be_mended_where_nothing_was_found(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    mended: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two files have a policy of the same name: the second of them is named."""

    def part(name: str) -> str:
        return RULES.format(name=name).replace("domains: [example.org]\n", "")

    main = RULES.format(name="main") + "include: [first.yaml, second.yaml]\n"
    in_force = mended == "first.yaml"
    rules.write_text(main)
    (rules.parent / "first.yaml").write_text(part("one"))
    (rules.parent / "second.yaml").write_text(part("two" if in_force else "one"))

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        assert on_duty() is in_force
        if in_force:
            (rules.parent / "second.yaml").write_text(part("one"))
            await until(lambda: "stay active" in caplog.text)
            (rules.parent / "first.yaml").write_text(part("mended"))
        else:
            rules.write_text(RULES.format(name="mended"))
        await until(lambda: guard._pipeline is not None and "mended" in policies(guard))
        guard.done()

    asyncio.run(scene())


def test_a_change_of_options_is_on_duty_at_once(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    async def scene() -> int:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        mitm.configure(guard, smtpguard_max_connections=3)
        found = Sentinel.get()._guard
        guard.done()
        assert found is not None
        return found.options.max_connections

    assert asyncio.run(scene()) == 3


def test_a_bad_value_while_running_is_refused_and_nothing_changes(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        with pytest.raises(exceptions.OptionsError, match="is none of"):
            mitm.configure(guard, smtpguard_record="all")
        assert guard._options is not None
        assert guard._options.record == "full"
        assert on_duty()
        guard.done()

    asyncio.run(scene())


def test_ciphers_that_make_a_certificate_useless_are_refused_while_running(
    mitm: taddons.context, guard: SmtpGuard, rules: Path, tmp_path: Path
) -> None:
    """Every handshake would fail; the rules themselves have not changed."""
    pem = make_authority(tmp_path).issue("mx.own.test")
    name = f"second\n    tls: {{client: {{certificate: {pem}}}}}"
    rules.write_text(RULES.format(name=name))
    mitm.options.add_option("ciphers_client", str | None, None, "")

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        before = guard._pipeline
        with pytest.raises(exceptions.OptionsError, match="ee key too small"):
            mitm.configure(guard, ciphers_client="DEFAULT:@SECLEVEL=4")
        assert mitm.options.ciphers_client is None
        mitm.configure(guard, ciphers_client="DEFAULT:@SECLEVEL=3")
        assert before is not None
        assert guard._pipeline is before
        assert on_duty()
        guard.done()

    asyncio.run(scene())


def test_the_end_of_the_process_is_awaited(
    mitm: taddons.context, guard: SmtpGuard, rules: Path, sighup: object
) -> None:
    """mitmproxy awaits what ``done`` returns, at the end only (traps 3)."""

    async def scene() -> bool:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        mitm.master.should_exit.set()
        ending = guard.done()
        assert ending is not None
        await ending
        return on_duty()

    assert asyncio.run(scene()) is False


@pytest.fixture
def sighup() -> Iterator[Callable[[], Any]]:
    """What becomes of SIGHUP; as before when the test is over."""
    before = signal.getsignal(signal.SIGHUP)
    try:
        yield lambda: signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("stopping", [True, False])
def test_sighup_ends_nothing_that_a_stop_waits_for(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    sighup: Callable[[], Any],
    stopping: bool,
) -> None:
    """Under way is what has not ended, and then the end of the process itself."""

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        if stopping:
            mitm.master.should_exit.set()
        ending = guard.done()
        assert sighup() == (signal.SIG_IGN if stopping else signal.SIG_DFL)
        if ending is not None:
            await ending

    asyncio.run(scene())
    # The loop gives back what it took.
    assert sighup() == (signal.SIG_IGN if stopping else signal.SIG_DFL)


def test_done_and_running_are_plain_functions() -> None:
    """``async def`` would end mitmproxy's script reloading for good (traps 3)."""
    import inspect

    assert not inspect.iscoroutinefunction(SmtpGuard.done)
    assert not inspect.iscoroutinefunction(SmtpGuard.running)


# -- reload ----------------------------------------------------------------------------


@pytest.fixture
def live(
    mitm: taddons.context,
    guard: SmtpGuard,
    rules: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Any], None]:
    """Run a scene while the guard is on duty and watches its files often."""
    monkeypatch.setattr(addon_module, "WATCH_SECONDS", 0.01)

    def run(scene: Callable[[], Any]) -> None:
        async def played() -> None:
            mitm.configure(guard, smtpguard_rules=str(rules))
            guard.running()
            await scene()
            # A command that has done its work may not have ended yet.
            await until(lambda: not guard._settling)
            guard.done()

        asyncio.run(played())

    return run


def test_changed_rules_are_taken(live: Any, guard: SmtpGuard, rules: Path) -> None:
    async def scene() -> None:
        rules.write_text(RULES.format(name="second"))
        await until(lambda: policies(guard) == ["second"])
        found = Sentinel.get()._guard
        assert found is not None
        assert policy_of(found.decider) == "second"

    live(scene)


@pytest.mark.parametrize(
    "wrong",
    [
        RULES.format(name="second").replace("allow", "alow"),
        RULES.format(name=UNUSABLE),
    ],
    ids=["action", "certificate"],
)
def test_rules_with_errors_leave_the_old_ones(
    live: Any,
    guard: SmtpGuard,
    rules: Path,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
) -> None:
    async def scene() -> None:
        rules.write_text(wrong)
        await until(lambda: "stay active" in caplog.text)
        assert policies(guard) == ["first"]
        assert on_duty()
        rules.write_text(RULES.format(name="third"))
        await until(lambda: policies(guard) == ["third"])

    live(scene)


def test_rules_that_went_away_leave_the_old_ones(
    live: Any, guard: SmtpGuard, rules: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        rules.unlink()
        await until(lambda: "stay active" in caplog.text)
        assert policies(guard) == ["first"]

    live(scene)


def test_a_client_can_be_unblocked(
    live: Any, mitm: taddons.context, guard: SmtpGuard, rules: Path, tmp_path: Path
) -> None:
    block = f"block: {{folder: {tmp_path / 'blocked'}}}\npolicies:"
    rules.write_text(RULES.format(name="first").replace("policies:", block))

    async def scene() -> None:
        assert guard._pipeline is not None
        blocker = guard._pipeline.blocker
        assert blocker is not None
        blocker.block("192.0.2.1", "r:1", "a.1", firewall=True)
        mitm.master.commands.execute("smtpguard.unblock 192.0.2.1")
        await until(lambda: not blocker.refusal("192.0.2.1"))

    live(scene)


def test_the_quarantine_is_dealt_with_by_commands(
    live: Any,
    mitm: taddons.context,
    rules: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    settings = f"quarantine: {{folder: {tmp_path / 'held'}}}\npolicies:"
    rules.write_text(RULES.format(name="first").replace("policies:", settings))
    store = Store(tmp_path / "held")
    item = kept(store).id

    async def scene() -> None:
        mitm.master.commands.execute("smtpguard.quarantine list --state held")
        await until(lambda: item in caplog.text)
        mitm.master.commands.execute(f"smtpguard.quarantine delete {item}")
        await until(lambda: f"deleted: {item}" in caplog.text)
        mitm.master.commands.execute("smtpguard.blocked")
        await until(lambda: "has no key block" in caplog.text)
        caplog.clear()
        mitm.master.commands.execute(f"smtpguard.quarantine show {item}")
        await until(lambda: bool(errors(caplog)))

    live(scene)
    assert item in errors(caplog)[0]
    with pytest.raises(QuarantineError):
        store.read(item)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.message for one in caplog.records if one.levelno == logging.ERROR]


def test_a_reload_can_be_asked_for(
    live: Any, guard: SmtpGuard, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addon_module, "WATCH_SECONDS", 1000)

    async def scene() -> None:
        rules.write_text(RULES.format(name="second"))
        guard.reload()
        await until(lambda: policies(guard) == ["second"])

    live(scene)


def test_who_is_told_of_alarms_is_as_the_rules_say_now(
    live: Any, guard: SmtpGuard, rules: Path
) -> None:
    delivery = "delivery: {host: mx.test, from: guard@own.test}\n"
    alarm = "alarm: {notify: root@own.test}\n"
    first = RULES.format(name="first").replace(
        "policies:", f"{delivery}{alarm}policies:"
    )
    rules.write_text(first)

    async def scene() -> None:
        assert guard._pipeline is not None
        old: Any = guard._pipeline.notifier
        assert [old.alarm] == alarms._LISTENERS
        rules.write_text(first.replace("root@", "boss@"))
        await until(lambda: guard._pipeline.notifier is not old)  # type: ignore[union-attr]
        await until(lambda: old._is_ended)
        new: Any = guard._pipeline.notifier
        assert [str(one) for one in new.alarmed] == ["boss@own.test"]
        await until(lambda: [new.alarm] == alarms._LISTENERS)

    live(scene)
    assert alarms._LISTENERS == []


def test_the_health_of_scanners_can_be_asked_for(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    assert guard.scanners is None
    mitm.configure(guard, smtpguard_rules=str(rules))
    assert guard.scanners is None
    assert guard._pipeline is not None
    scanners = judging.PreparedScanners()
    guard._pipeline = replace(guard._pipeline, scanners=scanners)
    assert mitm.master.commands.execute("smtpguard.health") == [
        "v unix:/v is not asked gone"
    ]


# -- metrics ---------------------------------------------------------------------------


def test_metrics_are_served_where_the_options_say(
    live: Any, mitm: taddons.context, guard: SmtpGuard
) -> None:
    first, second = free_port(), free_port()

    async def scene() -> None:
        assert guard._monitoring._exporter is None
        mitm.configure(guard, smtpguard_metrics=str(first))
        found = await asyncio.to_thread(read_metrics, first)
        assert found["smtpguard_now", "sessions"] == 0
        mitm.configure(guard, smtpguard_metrics=f"127.0.0.1:{second}")
        guard._transaction_ended(RECORD)
        found = await asyncio.to_thread(read_metrics, second)
        names = [key[0] for key in found]
        assert "smtpguard_transactions_total" in names
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            with pytest.raises(exceptions.OptionsError, match="cannot listen on"):
                mitm.configure(guard, smtpguard_metrics=str(taken))
        await asyncio.to_thread(read_metrics, second)

    live(scene)
    assert guard._monitoring._exporter is None
    with pytest.raises(OSError, match="refused"):
        read_metrics(second)


def test_a_port_that_is_taken_is_an_error_at_the_start(
    live: Any, mitm: taddons.context, guard: SmtpGuard, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        mitm.configure(guard, smtpguard_metrics=str(port))

        async def scene() -> None:
            """Nothing more is needed."""

        live(scene)
    assert "smtpguard_metrics: cannot listen on" in errors(caplog)[0]


def test_what_is_kept_is_settled_beside_the_loop_and_tidied(
    live: Any,
    guard: SmtpGuard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(addon_module, "TIDY_SECONDS", 0.0)
    told: list[tuple[str, threading.Thread]] = []

    def settle(record: TransactionRecord) -> None:
        told.append((record.id, threading.current_thread()))
        if record.id == "broken":
            raise RuntimeError("a bug")

    monkeypatch.setattr(addon_module, "settle", settle)

    class Keeper:
        def tidy(self) -> None:
            told.append(("tidy", threading.current_thread()))

        def stop(self) -> None:
            """Nothing runs."""

    def record(name: str, *kept: str) -> TransactionRecord:
        report = {KEPT: list(kept)} if kept else {}
        empty = ("t", "p", Outcome.MODIFIED, "", "", (), 0, "")
        return TransactionRecord(name, *empty, report=report)

    async def scene() -> None:
        assert guard._pipeline is not None
        guard._pipeline = replace(guard._pipeline, keeper=Keeper())  # type: ignore[arg-type]
        guard._on_duty()
        sentinel = Sentinel.get()
        for one in (record("nothing"), record("a", "1"), record("broken", "2")):
            sentinel._transaction_ended(one)
        await until(lambda: {"a", "broken", "tidy"} <= {name for name, _ in told})
        await until(lambda: "a bug" in caplog.text)

    live(scene)
    assert "nothing" not in [name for name, _ in told]
    assert all(thread is not threading.main_thread() for _, thread in told)


def test_sighup_asks_for_a_reload(
    live: Any, guard: SmtpGuard, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    monkeypatch.setattr(addon_module, "WATCH_SECONDS", 1000)

    async def scene() -> None:
        rules.write_text(RULES.format(name="second"))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: policies(guard) == ["second"])

    live(scene)


def test_a_fault_while_reloading_does_not_end_the_watch(
    live: Any,
    guard: SmtpGuard,
    rules: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:

    def broken(*_: Any) -> Any:
        raise MemoryError

    async def scene() -> None:
        monkeypatch.setattr("smtpguard.addon.load_for_clients", broken)
        rules.write_text(RULES.format(name="second"))
        await until(lambda: "rules not reloaded" in caplog.text)
        monkeypatch.setattr("smtpguard.addon.load_for_clients", load_for_clients)
        rules.write_text(RULES.format(name="a-third"))
        await until(lambda: policies(guard) == ["a-third"])

    live(scene)


@pytest.mark.parametrize("known", [True, False], ids=["options", "no options"])
def test_the_log_of_a_reloads_fault_shows_no_address(
    live: Any,
    guard: SmtpGuard,
    mitm: taddons.context,
    *,
    known: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While the options are not known, neither is that addresses may be shown."""

    def broken(*_: Any) -> Any:
        raise ValueError("list of <anna@d.example>")

    async def scene() -> None:
        mitm.configure(guard, smtpguard_log_addresses="none" if known else "full")
        monkeypatch.setattr("smtpguard.addon.load_for_clients", broken)
        if not known:
            guard._options = None
        guard.reload()
        await until(lambda: "rules not reloaded" in caplog.text)

    live(scene)
    assert "ValueError: list of <hidden>" in caplog.text
    assert "anna" not in caplog.text


# -- hooks -----------------------------------------------------------------------------

SESSION = SessionFacts("s1", ("192.0.2.1", 4242), ("192.0.2.25", 25))


def decider_of(guard: SmtpGuard) -> Decider:
    """Return who answers for the rules in a session that begins now."""
    data = SmtpStartData(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    guard.smtp_start(data)
    assert data.decider is not None
    return data.decider


def policy_of(decider: Decider) -> str:
    """Return the policy of a session and of its transactions, which are one."""
    settings = decider.connect(SESSION)
    judge = decider.begin(SESSION)
    assert isinstance(settings, Settings)
    assert isinstance(judge, TransactionJudge)
    assert judge.policy.name == settings.policy
    return settings.policy


def test_a_session_is_answered_for(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        assert policy_of(decider_of(guard)) == "first"
        guard.done()

    asyncio.run(scene())


def test_a_session_asks_the_rules_of_the_moment(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    """A connection may be kept for hours; only a transaction keeps its rules."""

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        decider = decider_of(guard)
        begun = decider.begin(SESSION)
        rules.with_name("second.yaml").write_text(RULES.format(name="second"))
        mitm.configure(guard, smtpguard_rules=str(rules.with_name("second.yaml")))
        assert policy_of(decider) == "second"
        assert isinstance(begun, TransactionJudge)
        assert begun.policy.name == "first"
        guard.done()

    asyncio.run(scene())


def test_a_session_outlasts_the_addon_it_began_under(
    mitm: taddons.context, guard: SmtpGuard, rules: Path
) -> None:
    """mitmproxy makes a new addon when the script changes; the old one is dead."""

    async def scene() -> None:
        mitm.configure(guard, smtpguard_rules=str(rules))
        guard.running()
        decider = decider_of(guard)
        guard.done()
        with pytest.raises(NobodyOnDutyError):
            decider.connect(SESSION)
        rules.write_text(RULES.format(name="second"))
        heir = SmtpGuard()
        heir.configure({"smtpguard_rules"})
        heir.running()
        assert policy_of(decider) == "second"
        heir.done()

    asyncio.run(scene())


def test_without_rules_no_session_is_answered_for(guard: SmtpGuard) -> None:
    data = SmtpStartData(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    guard.smtp_start(data)

    assert data.decider is None


def test_another_addons_decider_stays(guard: SmtpGuard) -> None:
    other: Any = object()
    data = SmtpStartData(SimpleNamespace(), SimpleNamespace(), other)  # type: ignore[arg-type]
    guard.smtp_start(data)

    assert data.decider is other


def text(size: int) -> bytes:
    """Return octets that take no time to judge."""
    return (b"plain text, and nothing else in sight\r\n" * (size // 39 + 1))[:size]


def message(size: int, judge: Callable[..., Disposition]) -> SmtpMessageData:
    return message_of(text(size), judge)


def message_of(octets: bytes, judge: Callable[..., Disposition]) -> SmtpMessageData:
    transaction: Any = SimpleNamespace(
        id="5f3a.1", judge=SimpleNamespace(message=judge), ended=False
    )
    content = MemorySpool()
    content.write(octets)
    session: Any = SimpleNamespace(client=("192.0.2.1", 25))
    envelope: Any = "envelope"
    return SmtpMessageData(session, transaction, envelope, content)


RELAYED = Disposition(Outcome.RELAYED)


@pytest.mark.parametrize(
    ("octets", "beside"),
    [
        pytest.param(b"X: y\r\n\r\n" + text(INLINE_OCTETS - 8), False, id="text"),
        pytest.param(text(INLINE_OCTETS + 1), True, id="large"),
        pytest.param(b"X: " + b"a," * HEADER_OCTETS, True, id="slow"),
    ],
)
def test_messages_are_judged_slow_ones_beside_the_loop(
    live: Any, guard: SmtpGuard, octets: bytes, beside: bool
) -> None:
    asked: list[tuple[Any, ...]] = []
    threads: list[threading.Thread] = []

    def judge(*what: Any) -> Disposition:
        asked.append(what)
        threads.append(threading.current_thread())
        return RELAYED

    async def scene() -> None:
        data = message_of(octets, judge)
        await guard.smtp_message(data)
        assert data.disposition is RELAYED
        assert asked == [(data.session, "envelope", data.content)]

    live(scene)
    assert (threads[0] is not threading.main_thread()) is beside


FIELDS = b"X: y\r\n" * 700
"""4,200 octets: 420 fields as they are counted."""


@pytest.mark.parametrize(
    ("count", "when", "recipients", "beside"),
    [
        (40, "", 1, False),
        (60, "", 1, True),
        (20, "", 3, False),
        (20, ', when: {to: "u@own.test"}', 1, False),
        (20, ', when: {to: "u@own.test"}', 3, True),
    ],
)
def test_many_questions_about_header_fields_are_asked_beside_the_loop(
    live: Any,
    guard: SmtpGuard,
    monkeypatch: pytest.MonkeyPatch,
    *,
    count: int,
    when: str,
    recipients: int,
    beside: bool,
) -> None:
    """420 fields, 40 rules: 16,800 questions; each recipient may be a class."""
    threads: list[threading.Thread] = []

    examine = TransactionJudge.examine

    def watched(*asked: Any, **how: Any) -> Any:
        threads.append(threading.current_thread())
        return examine(*asked, **how)

    monkeypatch.setattr(TransactionJudge, "examine", watched)
    strip = f'{{match: "X: *z", action: strip{when}}}, '
    text = judging.rules(f"headers: [{strip * (count - 1)}{judging.ALLOW}]")
    session = judging.make_session()

    async def scene() -> None:
        data = message_of(FIELDS + b"\r\n" + b"x" * 9000, watched)
        data.transaction.judge = judging.make_pipeline(text).begin(session)
        to = [f"u{number}@own.test" for number in range(recipients)]
        data.envelope = judging.make_envelope("a@out.test", *to)
        await guard.smtp_message(data)
        assert data.disposition is not None
        assert data.disposition.outcome is Outcome.RELAYED

    live(scene)
    assert (threads[0] is not threading.main_thread()) is beside


@pytest.mark.parametrize("size", [1, INLINE_OCTETS + 1], ids=["small", "large"])
def test_a_judge_that_raises_leaves_the_message_undecided(
    live: Any, guard: SmtpGuard, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(*_: Any) -> Disposition:
        raise RuntimeError("\x1b[31mpeer's words\r\n")

    async def scene() -> None:
        data = message(size, judge)
        await guard.smtp_message(data)
        assert data.disposition is None

    live(scene)
    assert "tx=5f3a.1 is undecided" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("size", [1, INLINE_OCTETS + 1], ids=["small", "large"])
def test_the_log_of_a_judges_fault_shows_no_address(
    live: Any,
    guard: SmtpGuard,
    mitm: taddons.context,
    size: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def judge(*_: Any) -> Disposition:
        raise RuntimeError("<anna@d.example>")

    async def scene() -> None:
        mitm.configure(guard, smtpguard_log_addresses="none")
        await guard.smtp_message(message(size, judge))

    live(scene)
    assert "RuntimeError: <hidden>" in caplog.text
    assert "anna" not in caplog.text


def test_another_addons_disposition_stays(live: Any, guard: SmtpGuard) -> None:
    def judge(*_: Any) -> Disposition:
        raise AssertionError("asked all the same")

    async def scene() -> None:
        data = message(1, judge)
        data.disposition = RELAYED
        await guard.smtp_message(data)
        assert data.disposition is RELAYED

    live(scene)


def test_the_loop_goes_on_while_a_large_message_is_judged(
    live: Any, guard: SmtpGuard
) -> None:
    judged = threading.Event()

    def judge(*_: Any) -> Disposition:
        assert judged.wait(10)
        return RELAYED

    async def scene() -> None:
        data = message(INLINE_OCTETS + 1, judge)
        judging = asyncio.create_task(guard.smtp_message(data))
        await asyncio.sleep(0)
        assert not judging.done()
        judged.set()
        await judging

    live(scene)


def test_what_nobody_waits_for_any_more_is_not_judged(
    live: Any, guard: SmtpGuard
) -> None:
    """Its client is gone, or heard 451 when its time was over."""
    asked: list[object] = []
    may_end = threading.Event()

    def slow(*_: Any) -> Disposition:
        assert may_end.wait(10)
        return RELAYED

    def judge(*_: Any) -> Disposition:
        asked.append(None)
        return RELAYED

    async def scene() -> None:
        large = INLINE_OCTETS + 1
        busy = [guard.smtp_message(message(large, slow)) for _ in range(JUDGES)]
        judging = [asyncio.create_task(one) for one in busy]
        await asyncio.sleep(0)
        left = [message(large, judge) for _ in range(5)]
        judging += [asyncio.create_task(guard.smtp_message(one)) for one in left]
        await asyncio.sleep(0)
        for one in left[1:]:
            one.transaction.ended = True
        may_end.set()
        await asyncio.gather(*judging)
        assert [one.disposition for one in left] == [RELAYED, *[None] * 4]

    live(scene)
    assert len(asked) == 1


def test_who_has_much_to_be_judged_waits_behind_itself(
    live: Any, guard: SmtpGuard
) -> None:
    """Thirty slow mails of one network hold up another's by those in work alone."""
    order: list[str] = []
    begun = itertools.count()
    other_is_judged = threading.Event()

    def judge(session: Any, *_: Any) -> Disposition:
        is_other = session.client[0] != "192.0.2.1"
        # In two threads, turns that are given in order need not be taken in order.
        if not is_other and next(begun) > JUDGES:
            assert other_is_judged.wait(5)
        order.append(session.client[0])
        if is_other:
            other_is_judged.set()
        return RELAYED

    async def scene() -> None:
        large = INLINE_OCTETS + 1
        clients = ["192.0.2.1"] * 30 + ["198.51.100.1"]
        asked = [message(large, judge) for _ in clients]
        for data, client in zip(asked, clients, strict=True):
            data.session = SimpleNamespace(client=(client, 1))  # type: ignore[assignment]
        await asyncio.gather(*map(guard.smtp_message, asked))
        assert [one.disposition for one in asked] == [RELAYED] * 31

    live(scene)
    assert order.index("198.51.100.1") <= JUDGES + 1
