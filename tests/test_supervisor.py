"""``smtpguard run --workers``, in processes of its own."""

from __future__ import annotations

import os
import re
import signal
import smtplib
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpguard.demoupstream import Upstream
from smtpguard.supervisor import MAX_WORKERS, _numbered
from tests.commands import children, run, runs, wait_for
from tests.test_workers import MAIL, RULES, Worker, ended, trusting


if TYPE_CHECKING:
    from collections.abc import Iterator


pytestmark = pytest.mark.slow


class Gateway(Worker):
    """Two workers on one port."""

    def __init__(self, folder: Path, upstream: int, *more: str) -> None:
        rules = folder / "rules.yaml"
        rules.write_text(RULES)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.number = free.getsockname()[1]
        mode = f"reverse:tcp://127.0.0.1:{upstream}@127.0.0.1:{self.number}"
        super().__init__(folder, rules, upstream, "--workers", "2", *more, mode=mode)

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
        (["--workers", "2", "--set", "smtpguard_record=most"], "could not start"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_start_is_told_and_nothing_is_left(
    tmp_path: Path, upstream: Upstream, arguments: list[str], told: str
) -> None:
    gateway = Gateway(tmp_path, upstream.port, *arguments)
    with ended(gateway):
        assert gateway.process.wait(30) == 2
        assert told in gateway.log()
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


def test_a_port_of_the_systems_choice_cannot_be_shared(
    tmp_path: Path, upstream: Upstream
) -> None:
    mode = f"reverse:tcp://127.0.0.1:{upstream.port}@127.0.0.1:0"
    gateway = Gateway(tmp_path, upstream.port, "--mode", mode)
    with ended(gateway):
        assert gateway.process.wait(30) == 2
        assert "several workers need a port to share" in gateway.log()


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
