"""A real mitmdump on loopback, with an upstream behind it and faults on demand.

The gateway runs as users run it (``mitmdump -s``), from a copy of the entry script
that a test may break. A second script beside it puts faults where a test wants them: it
looks at a file whenever something of ours is called.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP


if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session


ROOT = Path(__file__).resolve().parents[2]
MITMDUMP = Path(sys.executable).with_name("mitmdump")

RULES = """\
version: 1
domains: [example.org]
policies:
  - name: all
    mail_from: [{match: "*", action: allow}]
    rcpt_to: [{match: "*", action: allow}]
    content_types: [{match: "*", action: allow}]
    filenames: [{match: "*", action: allow}]
"""
FAULTS = '''\
"""Faults on demand: each wrapped function looks whether it is to fail."""

import logging
import pathlib
import time

import smtpguard.dialogue.engine
import smtpguard.pipeline
import smtpguard.proxy.entry
import smtpguard.proxy.starttls
import smtpguard.proxy.tlspolicy

ORDER = pathlib.Path(__file__).with_name("fault")


def faulty(owner, name, fault):
    real = getattr(owner, name)

    def wrapped(*args, **kwargs):
        order = ORDER.read_text()
        if order == fault:
            raise RuntimeError(f"planted: {fault}")
        if order == f"hang-{fault}":
            logging.info("hanging: %s", fault)
        while order == f"hang-{fault}":
            time.sleep(0.01)
            order = ORDER.read_text()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


faulty(smtpguard.pipeline.Pipeline, "connect", "rules")
faulty(smtpguard.pipeline.TransactionJudge, "examine", "judge")
faulty(smtpguard.proxy.entry, "describe_session", "chooser")
faulty(smtpguard.dialogue.engine.Dialogue, "handle", "dialogue")
faulty(smtpguard.proxy.starttls.ClientTls, "send_data", "tls-send")
faulty(smtpguard.proxy.tlspolicy.TlsPolicy, "client", "tls-client")
faulty(smtpguard.proxy.tlspolicy.TlsPolicy, "server", "tls-server")


class Faults:
    def smtp_start(self, data):
        if ORDER.read_text() == "smtp_start":
            data.decider = None
            raise RuntimeError("planted: smtp_start")
        if ORDER.read_text() == "nobody":
            data.decider = None

    def smtp_message(self, data):
        if ORDER.read_text() == "smtp_message":
            raise RuntimeError("planted: smtp_message")
        if ORDER.read_text() == "undecided":
            data.disposition = None


addons = [Faults()]
'''


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition; fail with its source if it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


class Sink:
    """An upstream that keeps what it accepted."""

    def __init__(self, pem: Path) -> None:
        self.mails: list[bytes] = []
        self.connections = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        sink = self

        class Server(SMTP):
            """Counts who connects."""

            def connection_made(self, transport: object) -> None:
                if self.transport is None:
                    sink.connections += 1
                super().connection_made(transport)  # type: ignore[arg-type]

        class Listening(Controller):
            """Makes such servers."""

            def factory(self) -> SMTP:
                return Server(
                    self.handler, tls_context=context, data_size_limit=64 * 2**20
                )

        self.port = free_port()
        self._controller = Listening(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    async def handle_DATA(
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.original_content
        assert content is not None
        self.mails.append(content)
        return "250 2.0.0 accepted"

    def stop(self) -> None:
        self._controller.stop()


class Gateway:
    """One mitmdump with the addon."""

    def __init__(
        self,
        folder: Path,
        upstream: int,
        *options: str,
        mode: str = "",
        rules: str = RULES,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        # Not by its own name: beside the package it would not hide it, alone it does.
        self.script = folder / "entry" / "gateway.py"
        self.script.parent.mkdir(parents=True)
        shutil.copy(ROOT / "addons" / "smtpguard.py", self.script)
        self.order("")
        faults = folder / "faults.py"
        faults.write_text(FAULTS)
        self.rules = folder / "rules.yaml"
        self.rules.write_text(rules)
        self._log = folder / "log"
        mode = mode or f"reverse:tcp://127.0.0.1:{upstream}@{self.port}"
        command = [
            str(MITMDUMP),
            *("-s", str(self.script), "-s", str(faults)),
            *("--mode", mode, "--listen-host", "127.0.0.1"),
            *("--listen-port", str(self.port)),
            *("--set", f"confdir={folder / 'conf'}"),
            *("--set", f"smtpguard_rules={self.rules}"),
            *("-w", str(folder / "flows.mitm")),
            *options,
        ]
        paths = os.pathsep.join([str(ROOT / "addons"), str(ROOT)])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths},
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def order(self, fault: str) -> None:
        """Have a fault happen from now on; "" for none."""
        temporary = self.folder / "fault.new"
        temporary.write_text(fault)
        temporary.replace(self.folder / "fault")

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait for a line in the log."""
        wait_until(
            lambda: self.log.count(text) >= times or self.process.poll() is not None
        )
        assert self.log.count(text) >= times, self.log

    def ready(self) -> Gateway:
        self.wait_for("smtpguard is ready")
        return self

    @property
    def resident(self) -> int:
        """Octets of memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [row for row in status.splitlines() if row.startswith("VmRSS")]
        return int(line.split()[1]) * 1024

    @property
    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        self.order("")
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@contextlib.contextmanager
def connected(gateway: Gateway, seconds: float = 10.0) -> Iterator[socket.socket]:
    """Connect a plain socket, whose waits end."""
    with socket.create_connection(("127.0.0.1", gateway.port), seconds) as raw:
        raw.settimeout(seconds)
        yield raw


def read_all(raw: socket.socket) -> bytes:
    """Read until the gateway closes; a test that hangs here fails by its timeout."""
    read = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while octets := raw.recv(65536):
            read += octets
    return bytes(read)


def client(gateway: Gateway, *, tls: bool = True) -> smtplib.SMTP:
    """Return a client that has said EHLO, inside TLS unless it is told not to."""
    made = smtplib.SMTP("127.0.0.1", gateway.port, "client.example", timeout=10)
    made.ehlo()
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        made.starttls(context=context)
        made.ehlo()
    return made


def send(made: smtplib.SMTP, body: bytes = b"Subject: x\r\n\r\nbody\r\n") -> int:
    """Send one mail; return the code it ended with."""
    try:
        made.sendmail("a@client.example", ["b@example.org"], body)
    except smtplib.SMTPResponseException as error:
        return error.smtp_code
    return 250
