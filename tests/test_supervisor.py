"""``smtpguard run --workers``, in processes of its own."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import select
import signal
import smtplib
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtpguard.demoupstream import Upstream
from smtpguard.errors import SmtpGuardError
from smtpguard.supervisor import (
    AGAIN_SECONDS,
    MAX_WORKERS,
    _numbered,
    _Supervisor,
    _Worker,
)
from smtpguard.workers import Place, Setup
from tests.commands import children, run, runs, wait_for
from tests.test_monitoring import transactions
from tests.test_saving import recorded
from tests.test_workers import MAIL, RULES, Worker, ended, free_port, trusting


if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.slow


class Gateway(Worker):
    """Two workers on one port."""

    def __init__(
        self,
        folder: Path,
        upstream: int,
        *more: str,
        number: int = 0,
        output: Path | None = None,
    ) -> None:
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        self.number = number or free_port()
        mode = f"reverse:tcp://127.0.0.1:{upstream}@127.0.0.1:{self.number}"
        workers = ("--workers", "2")
        super().__init__(
            folder, rules, upstream, *workers, *more, mode=mode, output=output
        )

    def pids(self) -> list[int]:
        """Return the workers' processes, the newest of each."""
        found = dict(re.findall(r"worker (\d) is process (\d+)", self.log()))
        return [int(pid) for pid in found.values()]

    def ready(self, times: int = 2) -> None:
        wait_for(lambda: self.log().count("is ready") >= times, f"{times} workers")

    def connect(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.number, "c.test", 20)

    def send(self, count: int) -> set[str]:
        """Send mails, each on its own connection; return the workers' letters."""
        before = len(self.log())
        for _ in range(count):
            with self.connect() as client:
                client.starttls(context=trusting(self.confdir))
                client.sendmail("a@x.test", ["b@demo.test"], MAIL)
        wait_for(
            lambda: self.log()[before:].count("disposition=relayed") == count, "mails"
        )
        return set(re.findall(r"tx=([g-z])", self.log()[before:]))


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path) as server:
        yield server


@pytest.fixture
def gateway(tmp_path: Path, upstream: Upstream) -> Iterator[Gateway]:
    made = Gateway(tmp_path, upstream.port)
    with ended(made):
        made.ready()
        yield made


def test_workers_share_the_clients_and_record_each_into_its_own_file(
    gateway: Gateway, upstream: Upstream, tmp_path: Path
) -> None:
    # By the kernel's hash of the client's port: all to one is 1 of 2 ** 31.
    assert gateway.send(32) == {"g", "h"}
    assert gateway.end() == 0
    assert [one.content for one in upstream.arrived] == [MAIL] * 32
    recordings = [str(tmp_path / f"mail.{number}.mitm") for number in (1, 2)]
    rules = str(tmp_path / "rules.yaml")
    replayed = run("replay", *recordings, "--rules", rules)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert replayed.stdout.count("relayed") == 32
    assert "Traceback" not in gateway.log()


def test_each_worker_has_metrics_of_its_own_at_the_next_port(
    upstream: Upstream, tmp_path: Path
) -> None:
    port = free_port()
    options = ("--set", f"smtpguard_metrics={port}")
    gateway = Gateway(tmp_path, upstream.port, *options)
    with ended(gateway):
        gateway.ready()
        gateway.send(16)
        counted = [transactions(("127.0.0.1", each)) for each in (port, port + 1)]
        assert gateway.end() == 0
    assert sum(counted) == 16
    assert all(counted)  # else one has not served: 1 of 2 ** 15


def test_limits_are_those_of_all_workers_together(
    tmp_path: Path, upstream: Upstream
) -> None:
    limit = ("--set", "smtpguard_max_connections_per_network=6")
    gateway = Gateway(tmp_path, upstream.port, *limit)
    with ended(gateway), ExitStack() as open_ones:
        gateway.ready()
        for _ in range(6):
            open_ones.enter_context(gateway.connect())
        for _ in range(4):
            with pytest.raises(smtplib.SMTPConnectError) as refused:
                gateway.connect()
            assert refused.value.smtp_code == 421
        open_ones.close()
        assert gateway.send(1)


def test_a_worker_that_dies_is_replaced_and_its_clients_count_no_more(
    tmp_path: Path, upstream: Upstream
) -> None:
    limit = ("--set", "smtpguard_max_connections_per_network=8")
    gateway = Gateway(tmp_path, upstream.port, *limit)
    with ended(gateway):
        gateway.ready()
        # Until one of them has been there for long enough to be worth replacing.
        wait_for(lambda: _age(gateway.pids()[0]) > 11.0, "a worker of some age")
        clients = [gateway.connect() for _ in range(8)]
        os.kill(gateway.pids()[0], signal.SIGKILL)
        os.kill(gateway.pids()[1], signal.SIGKILL)
        wait_for(lambda: "worker 2 has ended (status -9)" in gateway.log(), "the end")
        assert "worker 1 has ended (status -9), another one begins\n" in gateway.log()
        gateway.ready(4)
        assert gateway.send(2)
        for client in clients:
            client.close()
        assert gateway.end() == 0


def test_one_that_dies_young_is_replaced_too_and_its_recording_stays(
    gateway: Gateway, upstream: Upstream, tmp_path: Path
) -> None:
    """It has listened: that is no failure to start."""
    paths = [tmp_path / f"mail.{number}.mitm" for number in (1, 2)]
    assert gateway.send(32) == {"g", "h"}
    wait_for(lambda: sum(len(recorded(path)) for path in paths) == 32, "sessions")
    os.kill(gateway.pids()[0], signal.SIGKILL)
    told = "worker 1 has ended (status -9), another one begins in 10 s\n"
    wait_for(lambda: told in gateway.log(), "the end of one")
    assert gateway.send(4) == {"h"}
    gateway.ready(3)
    assert gateway.send(32) == {"g", "h"}
    assert gateway.end() == 0
    assert sum(len(recorded(path)) for path in paths) == 68


def test_what_a_replaced_one_could_not_record_is_told_at_the_end(
    tmp_path: Path, upstream: Upstream
) -> None:
    (tmp_path / "mail.1.mitm").symlink_to("/dev/full")
    gateway = Gateway(tmp_path, upstream.port)
    with ended(gateway):
        gateway.ready()
        assert gateway.send(32) == {"g", "h"}
        os.kill(gateway.pids()[0], signal.SIGTERM)
        told = "worker 1 has ended (status 2), another one begins in 10 s\n"
        wait_for(lambda: told in gateway.log(), "its end")
        assert gateway.end() == 2


def test_without_its_log_it_ends_and_leaves_nothing(
    tmp_path: Path, upstream: Upstream
) -> None:
    """What it wants to say last goes nowhere: an exception of its own."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    gateway = Gateway(tmp_path, upstream.port, output=pipe)
    with ended(gateway):
        log = b""
        while log.count(b"is ready") < 2:
            wait_for(lambda: select.select([reader], [], [], 0)[0], "the log")
            log += os.read(reader, 65536)
        pids = [int(pid) for pid in re.findall(rb"is process (\d+)", log)]
        assert all(map(runs, pids))
        os.close(reader)
        os.kill(pids[0], signal.SIGKILL)
        assert gateway.process.wait(20) == 141
        assert len(pids) == 2
        assert not any(runs(pid) for pid in pids)


def _age(pid: int) -> float:
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return up - started / os.sysconf("SC_CLK_TCK")


def test_a_hangup_has_every_worker_read_its_rules(gateway: Gateway) -> None:
    rules = gateway.log_file.parent / "rules.yaml"
    rules.write_text(RULES.replace("name: only", "name: other"))
    before = len(gateway.log())
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(
        lambda: gateway.log()[before:].count("policies: other") >= 2, "both workers"
    )
    assert gateway.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_all_of_them(gateway: Gateway, number: signal.Signals) -> None:
    pids = gateway.pids()
    assert len(set(pids)) == 2
    # What a terminal sends comes to them once, by the first process.
    assert {os.getpgid(pid) for pid in pids} == set(pids)
    assert gateway.end(number) == 0
    assert not any(runs(pid) for pid in pids)
    assert "Traceback" not in gateway.log()


def test_workers_do_not_outlive_the_process_that_started_them(
    gateway: Gateway,
) -> None:
    pids = gateway.pids()
    gateway.process.kill()
    gateway.process.wait()
    wait_for(lambda: not any(runs(pid) for pid in pids), "the workers' end")


def test_one_worker_is_the_process_itself(tmp_path: Path, upstream: Upstream) -> None:
    gateway = Gateway(tmp_path, upstream.port, "--workers", "1")
    with ended(gateway):
        gateway.ready(1)
        assert not children(gateway.process.pid)
        with gateway.connect() as client:
            assert client.noop()[0] == 250
        assert gateway.end() == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "-1"], f"--workers -1: 1 to {MAX_WORKERS}, or 0"),
        (["--workers", "21"], "--workers 21: 1 to 20, or 0"),
        (["--workers", "2", "--mode", "local"], "'local' can have one worker only"),
        (["--mode", "reverse:tcp://mx.test:port"], "mx.test:port': "),
        (["--mode", "reverse:tcp://mx.test:25@70000"], "invalid port: 70000"),
        (["--mode", "socks5", "--listen-host", "x" * 70], "label"),
        (["--set", "smtpguard_record=most"], "worker 1 could not start (status 1)"),
        (["--set", "sll_insecure"], 'did you mean "ssl_insecure"?\n'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_start_is_told_and_nothing_is_left(
    tmp_path: Path, upstream: Upstream, arguments: list[str], told: str
) -> None:
    gateway = Gateway(tmp_path, upstream.port, *arguments)
    with ended(gateway):
        assert gateway.process.wait(30) == 2
        assert gateway.log().count(told) == 1
        assert "Traceback" not in gateway.log()
        assert not any(runs(pid) for pid in gateway.pids())


def test_a_port_of_others_is_not_shared_with_them(
    gateway: Gateway, tmp_path: Path, upstream: Upstream
) -> None:
    folder = tmp_path / "second"
    folder.mkdir()
    mode = f"reverse:tcp://127.0.0.1:{upstream.port}@127.0.0.1:{gateway.number}"
    second = Gateway(folder, upstream.port, "--mode", mode)
    with ended(second):
        assert second.process.wait(30) == 2
        assert f"cannot listen on 127.0.0.1:{gateway.number}" in second.log()
    assert gateway.send(1)


def test_of_two_that_start_in_the_same_moment_one_is_refused(
    tmp_path: Path, upstream: Upstream
) -> None:
    port = free_port()
    mode = f"reverse:tcp://127.0.0.1:{upstream.port}@127.0.0.1:{port}"
    gateways = []
    with ExitStack() as stack:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            made = Gateway(tmp_path / name, upstream.port, number=port)
            stack.enter_context(ended(made))
            gateways.append(made)
        wait_for(lambda: any(each.process.poll() for each in gateways), "a refusal")
        refused, other = sorted(gateways, key=lambda each: each.process.poll() is None)
        assert refused.process.wait() == 2
        assert f"cannot listen on 127.0.0.1:{port}" in refused.log()
        other.ready()
        assert other.send(1)
        # Nor does one without workers get in, not even while ours are replaced.
        for pid in other.pids():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: other.log().count("has ended") == 2, "the end of both")
        single = Worker(
            refused.log_file.parent, tmp_path / "a" / "rules.yaml", 9, mode=mode
        )
        with ended(single):
            assert single.process.wait(30) == 2
            assert "in use" in single.log()
        other.ready(4)
        assert other.send(1)


def test_a_port_of_one_without_workers_is_not_shared(
    tmp_path: Path, upstream: Upstream
) -> None:
    gateway = Gateway(tmp_path, upstream.port, "--workers", "1")
    with ended(gateway):
        gateway.ready(1)
        (tmp_path / "second").mkdir()
        second = Gateway(tmp_path / "second", upstream.port, number=gateway.number)
        with ended(second):
            assert second.process.wait(30) == 2
            assert f"cannot listen on 127.0.0.1:{gateway.number}" in second.log()


def test_a_port_of_the_systems_choice_cannot_be_shared(
    tmp_path: Path, upstream: Upstream
) -> None:
    mode = f"reverse:tcp://127.0.0.1:{upstream.port}@127.0.0.1:0"
    gateway = Gateway(tmp_path, upstream.port, "--mode", mode)
    with ended(gateway):
        assert gateway.process.wait(30) == 2
        assert "several workers need a port to share" in gateway.log()


class Unstartable:
    """Stands for ``multiprocessing`` on a machine that has no processes left."""

    def __getattr__(self, name: str) -> Any:
        return getattr(multiprocessing.get_context("spawn"), name)

    def Process(self, **_: Any) -> Any:
        return self

    def start(self) -> None:
        raise BlockingIOError(errno.EAGAIN, "no room for a process")


@pytest.fixture
def supervisor() -> _Supervisor:
    return _Supervisor(Setup("rules.yaml", ("socks5",)), 2, ExitStack())


def test_a_first_worker_that_cannot_be_started_ends_the_gateway(
    supervisor: _Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_context", Unstartable())
    with signals_kept(), pytest.raises(SmtpGuardError) as told:
        supervisor.run()
    assert str(told.value) == (
        f"worker 1 could not start ([Errno {errno.EAGAIN}] no room for a process)"
    )


def test_one_that_cannot_be_replaced_is_tried_again(
    supervisor: _Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(supervisor, "_context", Unstartable())
    supervisor._proven.update((0, 1))
    before = time.monotonic()
    supervisor._start_due()
    assert not supervisor._stopping
    assert sorted(supervisor._due) == [0, 1]
    assert min(supervisor._due.values()) >= before + AGAIN_SECONDS
    said = capsys.readouterr().out.splitlines()
    assert [line.partition("] ")[2] for line in said] == [
        f"worker {number} could not start ([Errno {errno.EAGAIN}] no room for a "
        "process), another one begins in 10 s"
        for number in (1, 2)
    ]


def test_a_hangup_for_one_that_has_just_ended_goes_nowhere(
    supervisor: _Supervisor,
) -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0,))
    process.start()
    os.waitid(os.P_PID, process.pid or 0, os.WEXITED | os.WNOWAIT)
    # The start of another process has this one reaped.
    assert process not in multiprocessing.active_children()
    assert process.pid is not None
    assert not Path(f"/proc/{process.pid}").exists()
    place = Place(0, b"", b"", None)
    supervisor._workers[0] = _Worker(process, place, time.monotonic())
    supervisor._take(signal.SIGHUP)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Have no signal handled otherwise afterwards."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize(
    ("save", "wanted"),
    [
        (None, None),
        ("mail.mitm", "mail.2.mitm"),
        ("+/var/a.b/%Y-%m-%d.mitm", "+/var/a.b/%Y-%m-%d.2.mitm"),
        ("/var/a.b/mail", "/var/a.b/mail.2"),
        ("+mail", "+mail.2"),
        (".mitm", ".mitm.2"),
        ("+.mitm", "+.mitm.2"),
    ],
)
def test_each_worker_has_a_file_of_its_own(
    save: str | None, wanted: str | None
) -> None:
    assert _numbered(save, 2) == wanted
