from __future__ import annotations

import asyncio
import re
import signal
import smtplib
import socket
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from smtpguard.demoupstream import Upstream
from smtpguard.workers import Setup
from tests.commands import run, start, wait_for


if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


RULES = """\
version: 1
domains: [demo.test]
policies:
  - name: only
    identity: none
    tls: {server: {starttls: required}}
    rcpt_to: [{match: "*@own", action: allow}, {match: "*", action: deny}]
"""
MAIL = b"From: a@x.test\r\nSubject: hello\r\n\r\ntext\r\n"
pytestmark = pytest.mark.slow


# ------------------------------------------------------------------------------- Setup


@pytest.mark.parametrize(
    ("modes", "host", "wanted"),
    [
        (("reverse:tcp://mx.test:25@2525",), None, "127.0.0.1"),
        (("socks5",), None, "127.0.0.1"),
        (("transparent",), None, ""),
        (("transparent@8081",), None, ""),
        (("wireguard",), None, ""),
        (("reverse:tcp://mx.test:25", "transparent"), None, ""),
        (("transparent",), "192.0.2.1", "192.0.2.1"),
        (("reverse:tcp://mx.test:25",), "", ""),
    ],
)
def test_it_listens_to_the_loopback_unless_a_mode_needs_more(
    modes: tuple[str, ...], host: str | None, wanted: str
) -> None:
    assert Setup("rules.yaml", modes, listen_host=host).host == wanted


# ----------------------------------------------------------------------- a live worker


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


class Worker:
    """A gateway in a process of its own, before one upstream."""

    def __init__(self, folder: Path, rules: Path, upstream: int) -> None:
        self.log_file = folder / "log"
        self.recording = folder / "mail.mitm"
        self.confdir = folder / "conf"
        self.process: subprocess.Popen[bytes] = start(
            "run",
            *("--rules", str(rules)),
            *("--mode", f"reverse:tcp://127.0.0.1:{upstream}@127.0.0.1:0"),
            *("--confdir", str(self.confdir)),
            *("--set", "smtpguard_name=mx.test"),
            *("-w", str(self.recording)),
            output=self.log_file,
        )

    def log(self) -> str:
        return self.log_file.read_text()

    def port(self) -> int:
        wait_for(lambda: "smtpguard is ready" in self.log(), "the gateway")
        found = re.search(r"listening at 127\.0\.0\.1:(\d+)", self.log())
        assert found is not None
        return int(found[1])

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    with Upstream(tmp_path) as server:
        yield server


@pytest.fixture
def worker(tmp_path: Path, rules: Path, upstream: Upstream) -> Iterator[Worker]:
    made = Worker(tmp_path, rules, upstream.port)
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def trusting(confdir: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=confdir / "mitmproxy-ca-cert.pem")
    context.check_hostname = False
    return context


def test_it_relays_under_tls_records_and_ends_on_sigterm(
    worker: Worker, upstream: Upstream
) -> None:
    with smtplib.SMTP("127.0.0.1", worker.port(), "c.test", 10) as client:
        client.starttls(context=trusting(worker.confdir))
        assert isinstance(client.sock, ssl.SSLSocket)
        minted = client.sock.getpeercert(binary_form=True)
        assert minted is not None
        key = x509.load_der_x509_certificate(minted).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        client.sendmail("a@x.test", ["b@demo.test"], MAIL)
    assert worker.end() == 0
    assert [one.content for one in upstream.arrived] == [MAIL]
    assert upstream.arrived[0].tls == "TLSv1.3"
    assert "Traceback" not in worker.log()
    replayed = run(
        "replay",
        str(worker.recording),
        "--rules",
        str(worker.log_file.parent / "rules.yaml"),
    )
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert "relayed" in replayed.stdout


def test_sigterm_lets_a_mail_that_is_under_way_come_to_its_end(
    tmp_path: Path, rules: Path
) -> None:
    """contract 3, stop: replies in flight are awaited."""
    asked, go_on = threading.Event(), threading.Event()

    class Slow(Upstream):
        async def handle_DATA(self, *arguments: Any) -> str:
            asked.set()
            await asyncio.to_thread(go_on.wait)
            return await super().handle_DATA(*arguments)

    with Slow(tmp_path) as upstream:
        worker = Worker(tmp_path, rules, upstream.port)
        try:
            client = smtplib.SMTP("127.0.0.1", worker.port(), "c.test", 20)
            client.starttls(context=trusting(worker.confdir))
            client.ehlo()
            client.mail("a@x.test")
            client.rcpt("b@demo.test")
            answers: list[tuple[int, bytes]] = []
            sender = threading.Thread(target=lambda: answers.append(client.data(MAIL)))
            sender.start()
            assert asked.wait(20)
            worker.process.send_signal(signal.SIGTERM)
            wait_for(lambda: "stopped" in worker.log(), "the listener to close")
            assert worker.process.poll() is None
            go_on.set()
            sender.join(20)
            assert [code for code, _ in answers] == [250]
            client.close()
            assert worker.process.wait(20) == 0
            assert len(upstream.arrived) == 1
        finally:
            go_on.set()
            worker.process.kill()
            worker.process.wait()


def test_ctrl_c_ends_it_at_once_where_nothing_is_under_way(worker: Worker) -> None:
    worker.port()
    assert worker.end(signal.SIGINT) == 0
    assert "Traceback" not in worker.log()


# ------------------------------------------------------------------- what cannot start


def refused(tmp_path: Path, rules: Path, *arguments: str) -> tuple[int, str]:
    mode = ("--mode", "reverse:tcp://127.0.0.1:9@127.0.0.1:0")
    done = run(
        "run",
        *("--rules", str(rules), "--confdir", str(tmp_path / "conf")),
        *(() if "--mode" in arguments else mode),
        *arguments,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["--mode", "nonsense"], 2, "nonsense"),
        (["--mode", "reverse:mx.test:25"], 2, "reverse:tcp://"),
        (["--mode", "regular"], 2, "carries no SMTP"),
        (["--mode", "reverse:tcp://mx.test:port"], 2, "port"),
        (["--set", "smtpguard_rulez=x"], 2, "smtpguard_rulez"),
        (["--set", "smtpguard_record=most"], 1, "'most' is none of"),
        (["--set", "smtpguard_record_limit=much"], 2, "much"),
        (["--set", "smtpguard_rules=/nowhere.yaml"], 1, "nowhere.yaml"),
        (["-w", "/proc/no/such/folder"], 2, "/proc/no"),
        (["--confdir", "/proc/no/such"], 2, "no CA can be kept there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_asked_for_wrongly_is_told_and_nothing_runs(
    tmp_path: Path, rules: Path, arguments: list[str], status: int, told: str
) -> None:
    found, output = refused(tmp_path, rules, *arguments)
    assert found == status, output
    assert told in output
    assert "listening" not in output or status == 1


def test_broken_rules_are_told_problem_by_problem(tmp_path: Path, rules: Path) -> None:
    rules.write_text(RULES.replace("deny", "dney"))
    status, output = refused(tmp_path, rules)
    assert status == 1
    assert output == (
        f'{rules}:7:69: error: rcpt_to:2: unknown action "dney", did you mean "deny"? '
        "[unknown-action]\n"
    )


def test_a_port_in_use_is_told(tmp_path: Path, rules: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mode = f"reverse:tcp://127.0.0.1:9@127.0.0.1:{port}"
        status, output = refused(tmp_path, rules, "--mode", mode)
    assert status == 1
    assert f"127.0.0.1:{port}" in output
    assert "in use" in output
