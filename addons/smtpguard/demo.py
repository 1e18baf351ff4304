"""``smtpguard demo``: telling mails through a real gateway on this machine.

Starts an upstream (aiosmtpd with STARTTLS) and mitmdump with the addon, sends mails
over STARTTLS, and compares three things with what was promised: what the client was
told, what arrived, and the TLS of both legs. Needs no root, no server and no network,
and leaves no process behind.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from smtpguard import demomails
from smtpguard.demotable import Result, json_lines, table_lines
from smtpguard.demoupstream import Upstream


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from smtpguard.demomails import Mail


STARTUP_SECONDS = 60.0
STOP_SECONDS = 20.0
REPLY_SECONDS = 30.0
POLL_SECONDS = 0.05
LOG_LINES = 40
"""Of the gateway's log, shown where something is not as expected."""
# It listens a moment before it has rules, and turns clients away until then.
_READY = re.compile(r"(smtpguard is ready)")
_LISTENING = re.compile(r"listening at 127\.0\.0\.1:([0-9]+)")
_WEB_PAGE = re.compile(r"listening at (http://\S+)")


def run_demo(
    *,
    web: bool = False,
    as_json: bool = False,
    mails: Sequence[Mail] = demomails.MAILS,
    rules: str = demomails.RULES,
) -> bool:
    """Run the demo; return whether every outcome was the expected one.

    Raises OSError where the gateway does not start.
    """
    # Results alone on the one, what is said beside them on the other.
    notes = sys.stderr if as_json else sys.stdout
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="smtpguard-") as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(rules, encoding="utf-8")
        with (
            Upstream(folder) as upstream,
            gateway(folder, upstream.port, web=web) as log,
        ):
            port = int(_awaited(_LISTENING, log))
            if web:
                print(f"mitmweb: {_awaited(_WEB_PAGE, log)}\n", file=notes)
            results = [send(mail, port, upstream) for mail in mails]
            print(*(json_lines if as_json else table_lines)(results), sep="\n")
            problems = any(result.problems for result in results)
            if problems:
                _show_log(log)
            if web:
                _keep_open(port, notes)
            elif not as_json:
                print("To see the sessions: smtpguard demo --web")
    return not problems


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end us as an exception does, so that we clean up."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    old = {
        number: signal.signal(number, leave)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _keep_open(port: int, notes: TextIO) -> None:
    """Keep the gateway open until the user has seen enough."""
    text = f"Still open, also for mails of yours: 127.0.0.1:{port}. Ctrl-C ends it."
    print(f"\n{text}", file=notes, flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print(file=notes)


# -- the gateway ---------------------------------------------------------------------


@contextmanager
def gateway(folder: Path, upstream: int, *, web: bool = False) -> Iterator[Path]:
    """Run mitmdump (or mitmweb) with the addon, until it listens; yield its log.

    Raises OSError where it does not start.
    """
    command = [
        tool("mitmweb" if web else "mitmdump"),
        *("-s", str(entry_script(folder))),
        *("--mode", f"reverse:tcp://127.0.0.1:{upstream}@127.0.0.1:0"),
        *("--set", f"confdir={folder / 'mitmproxy'}"),
        *("--set", f"smtpguard_rules={folder / 'rules.yaml'}"),
    ]
    if web:
        command += ["--web-port", str(_free_port()), "--no-web-open-browser"]
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        _awaited(_READY, log, process)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tool(name: str) -> str:
    """Return the path of one of mitmproxy's tools, from the environment we run in.

    Raises FileNotFoundError.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def entry_script(folder: Path) -> Path:
    """Return the entry script: the checkout's, or a copy of its two lines."""
    checkout = Path(__file__).parent.with_suffix(".py")
    if checkout.is_file():
        return checkout
    script = folder / "entry.py"
    script.write_text(
        "from smtpguard.addon import SmtpGuard\n\n\naddons = [SmtpGuard()]\n",
        encoding="utf-8",
    )
    return script


def _free_port() -> int:
    """Return a port of the loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _awaited(
    wanted: re.Pattern[str], log: Path, process: subprocess.Popen[bytes] | None = None
) -> str:
    """Return what the gateway logs there. Connecting instead would be a session.

    Raises OSError where it ends, or does not say it in time.
    """
    until = time.monotonic() + STARTUP_SECONDS
    while not (found := wanted.search(_text(log))):
        is_gone = process is not None and process.poll() is not None
        if is_gone or time.monotonic() > until:
            tail = textwrap.indent(_text(log)[-2000:], "  ")
            raise OSError(f"the gateway did not start:\n{tail}")
        time.sleep(POLL_SECONDS)
    return found[1]


def _text(log: Path) -> str:
    return log.read_text("utf-8", "replace")


def _show_log(log: Path) -> None:
    lines = _text(log).splitlines()[-LOG_LINES:]
    print("\nThe end of the gateway's log:", *lines, sep="\n  ", file=sys.stderr)


# -- mails ---------------------------------------------------------------------------


def send(mail: Mail, port: int, upstream: Upstream) -> Result:
    """Send one mail over STARTTLS and compare what came of it."""
    before = len(upstream.arrived)
    version = ""
    try:
        with smtplib.SMTP("127.0.0.1", port, "client.test", REPLY_SECONDS) as client:
            version = _start_tls(client)
            told = demomails.deliver(client, mail)
    except (smtplib.SMTPException, OSError) as error:
        told = f"no reply: {error!r}"
    result = Result(mail, told, upstream.arrived[before:], version)
    result.problems = compare(result)
    return result


def _start_tls(client: smtplib.SMTP) -> str:
    """Shake hands; return the version of TLS, "" in clear."""
    client.ehlo()
    # The certificate is minted by an authority that was made a moment ago.
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    client.starttls(context=context)
    return str(client.sock.version()) if isinstance(client.sock, ssl.SSLSocket) else ""


def compare(result: Result) -> list[str]:
    """Return in which way the outcome is not the expected one."""
    mail = result.mail
    problems = []
    if not re.match(mail.told, result.told):
        problems.append(f"client was told {result.told!r}, not {mail.told!r}")
    if len(result.arrived) != mail.copies:
        problems.append(f"{len(result.arrived)} copies arrived, not {mail.copies}")
    for arrived in result.arrived:
        problems += mail.check(arrived.content, arrived.rcpt_to)
        if not arrived.tls.startswith("TLS"):
            problems.append("the upstream leg was in clear")
    if not result.client_tls.startswith("TLS"):
        problems.append("the client leg was in clear")
    return problems
