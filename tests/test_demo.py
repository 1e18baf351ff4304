from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpguard import demo
from smtpguard.demo import (
    compare,
    entry_script,
    gateway,
    run_demo,
    send,
    tool,
)
from smtpguard.demomails import MAILS, RULES
from smtpguard.demotable import Result
from smtpguard.demoupstream import Arrived, Upstream
from tests.commands import ROOT, children, runs, start, wait_for


if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MAIL = MAILS[0]
TLS = "TLSv1.3"
ARRIVED = Arrived(MAIL.mail_from, MAIL.rcpt_to, MAIL.content, TLS)
AS_EXPECTED = Result(MAIL, "250 2.0.0 Queued", (ARRIVED,), TLS)
ALLOW_ALL = """\
version: 1
policies:
  - {name: open, rcpt_to: [{match: "*", action: allow}]}
"""


def test_an_outcome_that_was_promised_is_no_problem() -> None:
    assert compare(AS_EXPECTED) == []


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (replace(AS_EXPECTED, told="451 4.3.0 Later"), "client was told"),
        (replace(AS_EXPECTED, told="so it is 250 "), "client was told"),
        (replace(AS_EXPECTED, arrived=()), "0 copies"),
        (replace(AS_EXPECTED, arrived=(ARRIVED, ARRIVED)), "2 copies"),
        (
            replace(AS_EXPECTED, arrived=(replace(ARRIVED, content=b"x"),)),
            "octets were changed",
        ),
        (
            replace(AS_EXPECTED, arrived=(replace(ARRIVED, tls="clear"),)),
            "the upstream leg was in clear",
        ),
        (replace(AS_EXPECTED, client_tls=""), "the client leg was in clear"),
    ],
)
def test_every_broken_promise_is_seen(result: Result, complaint: str) -> None:
    problems = compare(result)
    assert len(problems) == 1
    assert complaint in problems[0]


# ----------------------------------------------------------------------- real gateways


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = children(os.getpid())
    yield
    assert set(children(os.getpid())) <= set(before)


@pytest.mark.slow
def test_the_demo_keeps_all_its_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo()
    out, err = capsys.readouterr()
    assert "NOT AS EXPECTED" not in out
    assert f"{len(MAILS)} mails, 0 not as expected." in out
    assert [mail.title for mail in MAILS if mail.title not in out] == []
    assert err == ""


@pytest.mark.slow
def test_a_wrong_expectation_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    planted = replace(MAIL, title="planted", told="550 ")
    assert not run_demo(mails=(MAIL, planted), as_json=True)
    out, err = capsys.readouterr()
    problems = {
        record["sent"]: record["problems"]
        for record in map(json.loads, out.splitlines())
    }
    assert problems[MAIL.title] == []
    assert len(problems["planted"]) == 1
    assert "log" in err


@pytest.mark.slow
def test_a_gateway_that_lets_everything_pass_is_found_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each mail that some rule is about fails; the others are as promised."""
    by_rule = {
        "own domain from outside",
        "an unknown recipient",
        "for somebody elsewhere",
        "an old address",
        "four recipients at once",
        "an .exe attached",
        "a disguised .exe",
        "an executable by type",
        "a forbidden type",
        "a virus",
        "a type to be discarded",
        "a sender to try later",
    }
    assert not run_demo(rules=ALLOW_ALL, as_json=True)
    records = map(json.loads, capsys.readouterr().out.splitlines())
    assert {record["sent"] for record in records if record["problems"]} == by_rule


@pytest.mark.slow
def test_a_gateway_without_rules_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES.replace("action: deny", "action: dney"))
    with pytest.raises(OSError, match=r"(?s)did not start.*unknown action"):
        gateway(tmp_path, 9).__enter__()


@pytest.mark.slow
def test_the_upstream_may_be_left_in_clear_and_is_found_out(tmp_path: Path) -> None:
    text = RULES.replace("server: {starttls: required}", "server: {starttls: none}")
    assert text != RULES
    assert not run_demo(rules=text, mails=(MAIL,), as_json=True)


def test_a_gateway_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture sees to it that no process is left."""
    stubborn = tmp_path / "mitmdump"
    stubborn.write_text(
        "#!/bin/sh\ntrap '' TERM\necho smtpguard is ready\n"
        "while :; do sleep 0.05; done\n"
    )
    stubborn.chmod(0o700)
    monkeypatch.setattr(demo, "tool", lambda _: str(stubborn))
    monkeypatch.setattr(demo, "STOP_SECONDS", 0.2)
    before = set(children(os.getpid()))
    with gateway(tmp_path, 9) as log:
        (pid,) = set(children(os.getpid())) - before
        assert log.read_text() == "smtpguard is ready\n"
    assert not runs(pid)


# --------------------------------------------------------------------------- signals


def start_web(output: Path) -> tuple[int, Callable[[], int], str]:
    process = start("demo", "--web", "--json", output=output)

    def page() -> str:
        found = re.search(r"mitmweb: (http://\S+)", output.read_text())
        return found[1] if found else ""

    try:
        address = wait_for(page, "the page")
        wait_for(lambda: "Still open" in output.read_text(), "the end of the mails")
    except BaseException:
        process.kill()
        raise
    return process.pid, process.wait, address


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["Ctrl-C", "SIGTERM", "SIGHUP"],
)
def test_web_stays_open_until_it_is_ended_and_leaves_nothing(
    tmp_path: Path, number: int, status: int
) -> None:
    output = tmp_path / "output"
    pid, wait, address = start_web(output)
    started = children(pid)
    assert len(started) == 1
    with urllib.request.urlopen(address, timeout=10) as page:  # loopback, from our log
        assert page.status == 200
    # A terminal sends Ctrl-C to all of them.
    (os.killpg if number == signal.SIGINT else os.kill)(pid, number)
    assert wait() == status, output.read_text()
    assert [child for child in started if runs(child)] == []
    assert "Traceback" not in output.read_text()


@pytest.mark.slow
def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "output"
    process = start("demo", output=output)
    started = wait_for(lambda: children(process.pid), "the gateway")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130, output.read_text()
    assert [child for child in started if runs(child)] == []
    assert "Traceback" not in output.read_text()


# ------------------------------------------------------------------------------ pieces


def test_a_connection_that_ends_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]

        def hang_up() -> None:
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with Upstream(tmp_path) as upstream:
            result = send(MAIL, port, upstream)
        thread.join(10)
    assert result.told.startswith("no reply: ")
    assert len(result.problems) == 3


def test_the_entry_script_is_the_one_of_the_working_copy(tmp_path: Path) -> None:
    assert entry_script(tmp_path) == ROOT / "addons" / "smtpguard.py"


def test_an_installed_package_brings_its_own_entry_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "lib" / "smtpguard" / "x.py"))
    script = entry_script(tmp_path)
    assert script.parent == tmp_path
    assert script.read_text().split() == (
        [
            "from",
            "smtpguard.addon",
            "import",
            "SmtpGuard",
            "addons",
            "=",
            "[SmtpGuard()]",
        ]
    )


def test_tools_are_those_of_our_own_environment() -> None:
    assert Path(tool("mitmdump")).is_file()
    with pytest.raises(FileNotFoundError, match="no-such-tool"):
        tool("no-such-tool")
