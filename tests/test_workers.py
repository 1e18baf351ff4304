from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import smtplib
import socket
import ssl
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from smtpguard.demoupstream import Upstream
from smtpguard.workers import COLLECT_AFTER, Setup, _LineLog
from tests.commands import minds, run, start, wait_for
from tests.proxy.peers import make_authority
from tests.test_terminal import Raw


if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator


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

    def __init__(
        self,
        folder: Path,
        rules: object,
        upstream: int,
        *more: str,
        save: str = "",
        mode: str = "",
        output: Path | None = None,
    ) -> None:
        self.log_file = folder / "log"
        self.recording = Path(save) if save else folder / "mail.mitm"
        self.confdir = folder / "conf"
        self.process: subprocess.Popen[bytes] = start(
            "run",
            *("--rules", str(rules)),
            *("--mode", mode or f"reverse:tcp://127.0.0.1:{upstream}@127.0.0.1:0"),
            *("--confdir", str(self.confdir)),
            *("--set", "smtpguard_name=mx.test"),
            *("-w", str(self.recording)),
            *more,
            output=output or self.log_file,
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
    with ended(made):
        yield made


@contextmanager
def ended(worker: Worker) -> Iterator[None]:
    """Leave no process behind."""
    try:
        yield
    finally:
        if worker.process.poll() is None:
            worker.process.kill()
            worker.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        found: int = free.getsockname()[1]
        return found


def send(worker: Worker) -> None:
    """Send one mail over STARTTLS."""
    with smtplib.SMTP("127.0.0.1", worker.port(), "c.test", 10) as client:
        client.starttls(context=trusting(worker.confdir))
        client.sendmail("a@x.test", ["b@demo.test"], MAIL)


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


def test_mail_goes_on_when_the_recording_cannot(
    tmp_path: Path, rules: Path, upstream: Upstream
) -> None:
    """contract 9: it is told once, and by the exit status."""
    worker = Worker(tmp_path, rules, upstream.port, save="/dev/full")
    with ended(worker):
        for _ in range(3):
            send(worker)
        assert worker.end() == 2
    assert [one.content for one in upstream.arrived] == [MAIL] * 3
    told = [line for line in worker.log().splitlines() if "recorded" in line]
    assert len(told) == 2
    assert told[0].endswith(
        "sessions are not recorded, mail goes on: /dev/full: No space left on device"
    )
    assert told[1].endswith("sessions that were not recorded: 3")
    assert "Traceback" not in worker.log()


def test_a_tilde_is_ones_home_in_rules_and_confdir(
    tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream
) -> None:
    """A shell leaves it as it is behind an equals sign."""
    monkeypatch.setenv("HOME", str(tmp_path))
    name = f"~/{rules.name}"
    worker = Worker(tmp_path, name, upstream.port, "--confdir=~/conf")
    with ended(worker):
        send(worker)
        assert worker.end() == 0
    assert len(upstream.arrived) == 1


def test_garbage_is_looked_for_as_rarely_as_mail_needs_it(
    tmp_path: Path, rules: Path, upstream: Upstream
) -> None:
    script = tmp_path / "told.py"
    script.write_text(
        "import gc\ndef running():\n    print('collects after', gc.get_threshold())\n"
    )
    worker = Worker(tmp_path, rules, upstream.port, "--set", f"scripts={script}")
    with ended(worker):
        worker.port()
        assert worker.end() == 0
    assert f"collects after {COLLECT_AFTER}" in worker.log()


class Slow(Upstream):
    """Answers a message when it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked, self.go_on = threading.Event(), threading.Event()

    async def handle_DATA(self, *arguments: Any) -> str:
        self.asked.set()
        await asyncio.to_thread(self.go_on.wait)
        return await super().handle_DATA(*arguments)


@contextmanager
def under_way(
    folder: Path, rules: Path, *more: str
) -> Iterator[tuple[Worker, Slow, Callable[[], list[int]]]]:
    """Yield a gateway with a mail to which its upstream says nothing yet.

    The last is what the client was told, once it was.
    """
    with Slow(folder) as upstream:
        mode = f"reverse:tcp://127.0.0.1:{upstream.port}@127.0.0.1:{free_port()}"
        worker = Worker(folder, rules, upstream.port, *more, mode=mode)
        with ended(worker):
            client = smtplib.SMTP("127.0.0.1", worker.port(), "c.test", 20)
            client.starttls(context=trusting(worker.confdir))
            client.ehlo()
            client.mail("a@x.test")
            client.rcpt("b@demo.test")
            codes: list[int] = []

            def send() -> None:
                with suppress(smtplib.SMTPServerDisconnected):
                    codes.append(client.data(MAIL)[0])

            sender = threading.Thread(target=send)
            sender.start()

            def told() -> list[int]:
                sender.join(20)
                return codes

            try:
                assert upstream.asked.wait(20)
                yield worker, upstream, told
            finally:
                upstream.go_on.set()
                worker.process.kill()
                told()
                client.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_mail_that_is_under_way_come_to_its_end(
    tmp_path: Path, rules: Path, number: signal.Signals
) -> None:
    """contract 3, stop: replies in flight are awaited."""
    with under_way(tmp_path, rules) as (worker, upstream, told):
        worker.process.send_signal(number)
        wait_for(lambda: "stopped" in worker.log(), "the listener to close")
        assert worker.process.poll() is None
        upstream.go_on.set()
        assert told() == [250]
        assert worker.process.wait(20) == 0
        assert len(upstream.arrived) == 1


SEVERAL = pytest.mark.parametrize(
    "more", [(), ("--workers", "2")], ids=["one", "several"]
)


@SEVERAL
def test_a_hangup_while_it_stops_cuts_nothing_off(
    tmp_path: Path, rules: Path, more: tuple[str, ...]
) -> None:
    with under_way(tmp_path, rules, *more) as (worker, upstream, told):
        worker.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopped" in worker.log(), "the listener to close")
        for _ in range(20):
            worker.process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        assert worker.process.poll() is None
        upstream.go_on.set()
        assert told() == [250]
        assert worker.process.wait(20) == 0
        assert len(upstream.arrived) == 1
    assert "disposition=relayed" in worker.log()


@SEVERAL
def test_a_second_ctrl_c_does_not_wait_and_says_what_is_in_doubt(
    tmp_path: Path, rules: Path, more: tuple[str, ...]
) -> None:
    """A terminal tells every process of the group."""
    with under_way(tmp_path, rules, *more) as (worker, _, told):
        os.killpg(worker.process.pid, signal.SIGINT)
        wait_for(lambda: "stopped" in worker.log(), "the listener to close")
        os.killpg(worker.process.pid, signal.SIGINT)
        assert worker.process.wait(20) == 130
        assert told() in ([], [451])
    (line,) = [line for line in worker.log().splitlines() if "tx=" in line]
    assert "in_doubt=" in line
    assert "Traceback" not in worker.log()


@SEVERAL
@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_ctrl_c_ends_it_in_order_however_early(
    tmp_path: Path, rules: Path, seconds: float, more: tuple[str, ...]
) -> None:
    mode = f"reverse:tcp://127.0.0.1:9@127.0.0.1:{free_port()}"
    worker = Worker(tmp_path, rules, 9, *more, mode=mode)
    with ended(worker):
        # Python itself has begun: from here on it is our doing.
        wait_for(lambda: minds(worker.process.pid, signal.SIGHUP), "its first step")
        time.sleep(seconds)
        os.killpg(worker.process.pid, signal.SIGINT)
        # A shell reports all of them but 0 alike.
        assert worker.process.wait(20) in {0, 130, -signal.SIGINT}
    assert "Traceback" not in worker.log()


@SEVERAL
def test_a_hangup_while_it_starts_ends_nothing(
    tmp_path: Path, rules: Path, upstream: Upstream, more: tuple[str, ...]
) -> None:
    mode = f"reverse:tcp://127.0.0.1:{upstream.port}@127.0.0.1:{free_port()}"
    worker = Worker(tmp_path, rules, upstream.port, *more, mode=mode)
    with ended(worker):
        wait_for(lambda: minds(worker.process.pid, signal.SIGHUP), "its first step")
        wanted = int(more[-1]) if more else 1
        until = time.monotonic() + 30
        while worker.log().count("is ready") < wanted and time.monotonic() < until:
            assert worker.process.poll() is None, worker.log()
            worker.process.send_signal(signal.SIGHUP)
            time.sleep(0.01)
        send(worker)
        assert worker.end() == 0
    assert "has ended" not in worker.log()
    assert "Traceback" not in worker.log()


def test_ctrl_c_ends_it_at_once_where_nothing_is_under_way(worker: Worker) -> None:
    worker.port()
    assert worker.end(signal.SIGINT) == 0
    assert "Traceback" not in worker.log()


# ------------------------------------------------------------------- what cannot start


def refused(tmp_path: Path, rules: Path, *arguments: str) -> tuple[int, str]:
    mode = ("--mode", "reverse:tcp://127.0.0.1:9@127.0.0.1:0")
    done = run(
        "run",
        *("--rules", str(rules)),
        *(() if "--confdir" in arguments else ("--confdir", str(tmp_path / "conf"))),
        *(() if "--mode" in arguments else mode),
        *arguments,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode", "nonsense"], "nonsense"),
        (["--mode", "reverse:mx.test:25"], "reverse:tcp://"),
        (["--mode", "regular"], "carries no SMTP"),
        (["--mode", "reverse:tcp://mx.test:port"], "port"),
        (["--listen-port", "70000"], "--listen-port 70000: no such port"),
        (["--set", "smtpguard_rulez=x"], 'so, did you mean "smtpguard_rules"?'),
        (["--set", "smtpguard=x"], "--set smtpguard: no option is called so"),
        (["--set", "sll_insecure"], 'so, did you mean "ssl_insecure"?'),
        (["--set", "termlog_verbosty=x"], 'so, did you mean "termlog_verbosity"?'),
        (["--set", "smtpguard_record=most"], "'most' is none of"),
        (["--set", "smtpguard_record_limit=much"], "much"),
        (["--set", "smtpguard_rules=/nowhere.yaml"], "nowhere.yaml"),
        (["--set", "smtpguard_spool_dir=~nobody-at-all"], "'~nobody-at-all'"),
        (["--set", "mode=regular"], "--set mode=regular: say it with --mode"),
        (["--set", "confdir=/tmp"], "--set confdir=/tmp: say it with --confdir"),
        (["--set", "listen_host=::1"], "--set listen_host=::1: say it with --listen-h"),
        (["--set", "listen_port=1"], "--set listen_port=1: say it with --listen-port"),
        (
            ["--set", "save_stream_file=a"],
            "stream_file=a: say it with --save",
        ),
        (["-w", "/proc/no/such/folder"], "/proc/no"),
        (["--confdir", "/proc/no/such"], "no CA can be kept there"),
        (["--confdir", "~nobody-at-all"], "~nobody-at-all: no CA can be kept there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_asked_for_wrongly_is_told_and_nothing_runs(
    tmp_path: Path, rules: Path, arguments: list[str], told: str
) -> None:
    status, output = refused(tmp_path, rules, *arguments)
    assert status == 2, output
    assert told in output
    assert "is ready" not in output


def test_a_name_that_is_none_of_ours_is_told_before_anything_is_done(
    tmp_path: Path, rules: Path
) -> None:
    rules.write_text("no rules at all")
    status, output = refused(tmp_path, rules, "--set", "smtpguard_recrod=full")
    assert status == 2
    assert output == (
        "smtpguard: --set smtpguard_recrod: no option is called so, did you mean "
        '"smtpguard_record"?\n'
    )
    assert not (tmp_path / "conf").exists()


def test_certificates_of_the_rules_are_judged_by_the_ciphers_that_are_set(
    tmp_path: Path, rules: Path, upstream: Upstream
) -> None:
    """OpenSSL's own choice has no use for a key of 1,024 bits."""
    key = rsa.generate_private_key(65537, 1024)
    pem = make_authority(tmp_path).issue("mx.test", key=key)
    tls = f"tls: {{client: {{certificate: {pem}}}, server:"
    rules.write_text(RULES.replace("tls: {server:", tls))
    status, output = refused(tmp_path, rules)
    assert (status, "ee key too small" in output) == (2, True)
    ciphers = "ciphers_client=DEFAULT:@SECLEVEL=0"
    worker = Worker(tmp_path, rules, upstream.port, "--set", ciphers)
    with ended(worker):
        worker.port()
        assert worker.end() == 0
    assert "too small" not in worker.log()


def test_each_entry_of_the_log_is_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw: Any = Raw()
    out = io.TextIOWrapper(raw, "utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    log = _LineLog()
    for text in ("one", "two\nlines", "x" * 100_000):
        log.emit(logging.makeLogRecord({"msg": text}))
    assert [octets[-1:] for octets in raw.writes] == [b"\n"] * 3
    assert b"".join(raw.writes).count(b"] two\nlines\n") == 1


def test_a_log_that_cannot_be_written_ends_the_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw: Any = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - below
    with io.TextIOWrapper(raw, "utf-8", write_through=True) as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit):
            _LineLog().emit(logging.makeLogRecord({"msg": "one"}))


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
    assert status == 2
    assert f"127.0.0.1:{port}" in output
    assert "in use" in output
