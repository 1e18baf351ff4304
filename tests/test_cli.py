from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import io as flowio
from mitmproxy.io import tnetstring

from smtpguard import __main__, __version__, cli
from smtpguard.cli import main, parser
from smtpguard.loading import default_rules
from tests.commands import environment, run
from tests.judging import PLAIN, TEXT_PART, attachment, mixed
from tests.replay.deciders import Recorded
from tests.replay.test_run import cut_flow


ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("demo", "run", "check", "inspect", "replay")
GOOD = """\
version: 1
domains: [own.test]
policies:
  - name: only
    identity: xclient
    rcpt_to: [{match: "*@own", action: allow}, {match: "*", action: deny}]
    filenames:
      - {match: "*.exe", action: strip}
      - {match: "*.bad", action: deny}
      - {match: "*", action: allow}
"""
STRIPPED = mixed(TEXT_PART, attachment("tool.exe"))
DENIED = mixed(TEXT_PART, attachment("tool.bad"))


@pytest.fixture
def rules(tmp_path: Path) -> str:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD)
    return str(path)


@pytest.fixture
def mails(tmp_path: Path) -> Path:
    folder = tmp_path / "mails"
    folder.mkdir()
    for name, octets in (
        ("1.eml", PLAIN),
        ("2.eml", STRIPPED),
        ("3.eml", DENIED),
    ):
        (folder / name).write_bytes(octets)
    return folder


def place(word: str) -> str:
    """Return where a word stands in the good file."""
    for number, line in enumerate(GOOD.splitlines(), 1):
        if word in line:
            return f"{number}:{line.index(word) + 1}"
    raise LookupError(word)


def run_main(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# ------------------------------------------------------------------------------- usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["no-such-command"],
        ["inspect"],
        ["inspect", ""],
        ["inspect", "x", "--output", ""],
        ["inspect", "x", "--mail-from", "a@a.test", "--mail-from", "b@a.test"],
        ["inspect", "x", "--client-ip", "192.0.2.2", "--client-ip", "192.0.2.3"],
        ["inspect", "x", "--output", "a", "--output", "b"],
        ["replay"],
        ["run"],
        ["check", "--no-such-option"],
        ["inspect", "x", "--rules", "a", "--rules", "b"],
        ["run", "--mode", "transparent", "--listen-port", "smtp"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: smtpguard" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in (COMMANDS if not command else (command,)))


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"smtpguard {__version__}\n"


def test_it_runs_as_a_module() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"smtpguard {__version__}\n")


def test_the_default_rules_are_those_that_come_with_smtpguard() -> None:
    arguments = parser().parse_args(["inspect", "x"])
    assert arguments.rules == str(default_rules())


@pytest.mark.parametrize("command", ["check", "inspect", "replay"])
@pytest.mark.parametrize("name", ["pipe", "pipe.smtp", "/dev/zero", "zero.smtp"])
def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(
    tmp_path: Path, command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.smtp")
    (tmp_path / "zero.smtp").symlink_to("/dev/zero")
    assert run_main(command, tmp_path / name) == 2
    told = "".join(capsys.readouterr())
    assert str(tmp_path / name) in told
    assert re.search("Not a regular file|neither a file nor a folder", told)


def test_rules_are_not_read_from_a_pipe(
    tmp_path: Path, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert run_main("inspect", mails, "--rules", tmp_path / "pipe") == 2
    assert "Not a regular file" in capsys.readouterr().err


# ------------------------------------------------------------------------------- check


def test_check_of_a_good_file(rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main("check", rules) == 0
    assert capsys.readouterr().out == f"{rules}: fine\n"


def test_check_without_a_file_checks_the_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_main("check") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{default_rules()}: 2 warnings"


def test_check_tells_every_problem_of_every_file(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD.replace("strip}", "stip}").replace("xclient", "xlient"))
    assert run_main("check", bad, rules, tmp_path / "none.yaml") == 2
    lines = capsys.readouterr().out.splitlines()
    # Texts are the rule reader's; places, slugs and counts are what is told here.
    told = [re.sub(r": error: .*\[", " [", line) for line in lines]
    assert [line.removeprefix(f"{tmp_path}/") for line in told] == [
        f"bad.yaml:{place('xclient')} [bad-value]",
        f"bad.yaml:{place('strip}')} [unknown-action]",
        "bad.yaml: 2 errors",
        "rules.yaml: fine",
        "none.yaml:1:1 [cannot-read]",
        "none.yaml: 1 error",
    ]


@pytest.mark.parametrize("order", [("bad", "good"), ("good", "bad")], ids=" ".join)
def test_one_wrong_file_is_a_finding_wherever_it_stands(
    rules: str, tmp_path: Path, order: tuple[str, ...]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD.replace("strip}", "stip}"))
    files = {"bad": bad, "good": Path(rules)}
    assert run_main("check", *(files[name] for name in order)) == 1


@pytest.mark.parametrize("more", [[], ["--json"]], ids=str)
def test_a_rule_file_that_cannot_be_read_is_2(
    rules: str, tmp_path: Path, more: list[str]
) -> None:
    """What was to be checked was not: that is worse than a finding."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(GOOD.replace("strip}", "stip}"))
    for missing in (tmp_path / "none.yaml", tmp_path):
        assert run_main("check", missing, *more) == 2
        assert run_main("check", missing, rules, *more) == 2
        assert run_main("check", bad, missing, *more) == 2
        assert run_main("check", missing, bad, *more) == 2


@pytest.mark.parametrize("text", ["include: none.yaml\n", "lists: {a: {file: none}}\n"])
def test_a_file_that_rules_name_and_is_not_there_is_a_finding(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text + GOOD)
    assert run_main("check", path) == 1


def test_rules_that_cannot_be_read_are_2_for_all_who_need_them(
    mails: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "a\x1b[2J.yaml"
    (tmp_path / "good.smtp").write_text(SCRIPT)
    for command in (
        ["inspect", mails],
        ["replay", tmp_path / "good.smtp"],
        ["run", "--mode", "transparent"],
    ):
        assert run_main(*command, "--rules", missing) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith(": No such file or directory [cannot-read]\n")
        assert err.count("\n") == 1
        assert "\x1b" not in err


def test_what_cannot_be_done_is_told_in_print_and_line_by_line(
    rules: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """attacks P1; the log of a gateway that did not start has lines."""

    def fail(file: str) -> None:
        raise OSError("no\n  start\x1b[2J")

    monkeypatch.setattr(cli, "check_rules", fail)
    assert run_main("check", rules) == 2
    assert capsys.readouterr().err == "smtpguard: no\n  start\\x1b[2J\n"


def test_the_exit_statuses_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "exit status: 0 fine; 1 a finding (" in told
    assert (
        "2 usage, something that could not be read or written, or a gateway that "
        "cannot start" in told
    )


def test_warnings_alone_are_no_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace("xclient", "none"))
    assert run_main("check", path) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{path}: 1 warning"


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(GOOD.replace("strip}", "stip}"))
    assert run_main("check", "--json", path) == 1
    assert records(capsys) == [
        {
            "file": str(path),
            "line": 8,
            "column": int(place("strip}").partition(":")[2]),
            "severity": "error",
            "slug": "unknown-action",
            "text": 'filenames:1: unknown action "stip", did you mean "strip"?',
        }
    ]


# ----------------------------------------------------------------------------- inspect


def test_inspect_tells_one_line_a_message(
    rules: str, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("inspect", mails, "--rules", rules) == 1
    reply = "550 5.7.1 Message refused by policy (id inspect)"
    assert capsys.readouterr().out.splitlines() == [
        f"{mails}/1.eml  relayed",
        f"{mails}/2.eml  modified  filenames:1 strip  1.2 tool.exe stripped",
        f"{mails}/3.eml  rejected  filenames:2 deny  {reply}",
    ]


def test_inspect_is_fine_where_every_message_goes_on(rules: str, mails: Path) -> None:
    assert run_main("inspect", mails / "1.eml", mails / "2.eml", "--rules", rules) == 0


def test_inspect_as_json(
    rules: str, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("inspect", mails, "--rules", rules, "--json") == 1
    found = records(capsys)
    assert [record["disposition"] for record in found] == [
        "relayed",
        "modified",
        "rejected",
    ]
    assert all(record["trace"] == [] for record in found)


def test_inspect_explains(
    rules: str, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mails / "2.eml"
    assert run_main("inspect", path, "--rules", rules, "--explain") == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        f'    no  filenames:1 part 1.1  match: no name is not "*.exe"  ({rules}:8)',
        f'    no  filenames:2 part 1.1  match: no name is not "*.bad"  ({rules}:9)',
        f'    yes filenames:3 part 1.1  no name is "*"  ({rules}:10)',
        f'    yes filenames:1 part 1.2  "tool.exe" is "*.exe"  ({rules}:8)',
    ]
    assert run_main("inspect", path, "--rules", rules, "--explain", "--json") == 0
    (record,) = records(capsys)
    assert len(record["trace"]) == 4


def test_inspect_asks_about_addresses(
    rules: str, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mails / "1.eml"
    envelope = ["--mail-from", "<>", "--rcpt-to", "x@other.test"]
    assert run_main("inspect", path, "--rules", rules, *envelope) == 1
    assert "550 5.7.1 Relaying denied" in capsys.readouterr().out
    envelope += ["--rcpt-to", "a@own.test"]
    assert run_main("inspect", path, "--rules", rules, *envelope) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--policy", "none"], "no policy 'none'; there are: only"),
        (["--mail-from", "nobody"], "not an address: 'nobody'"),
        (["--rcpt-to", "a@b@c"], "not an address: 'a@b@c'"),
        (["--client-ip", "here"], "not an IP address: 'here'"),
    ],
)
def test_inspect_refuses_what_cannot_be_asked(
    rules: str,
    mails: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    assert run_main("inspect", mails, "--rules", rules, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"smtpguard: {told}")


def test_inspect_with_broken_rules_is_a_finding(
    rules: str, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rules).write_text(GOOD.replace("strip}", "stip}"))
    assert run_main("inspect", mails, "--rules", rules) == 1
    assert "[unknown-action]" in capsys.readouterr().err


def test_one_bad_file_does_not_end_the_run(
    rules: str, mails: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (mails / "2.eml").unlink()
    (mails / "2.eml").symlink_to("nowhere")
    assert run_main("inspect", mails, mails / "none", "--rules", rules) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err.splitlines() == [
        f"smtpguard: {mails}/2.eml: No such file or directory",
        f"smtpguard: {mails}/none: No such file or directory",
    ]


def test_inspect_writes_what_would_go_upstream(
    rules: str, mails: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert run_main("inspect", mails, "--rules", rules, "--output", output) == 1
    written = {path.name[0]: path.read_bytes() for path in output.iterdir()}
    assert sorted(written) == ["1", "2"]
    assert written["1"] == PLAIN
    assert b"by the mail gateway" in written["2"]


def test_an_output_that_cannot_be_written_is_told_and_the_run_goes_on(
    rules: str, mails: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "folder"
    assert run_main("inspect", mails, "--rules", rules, "--output", output) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert len(err.splitlines()) == 2


def test_raw_leaves_lf_alone(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(PLAIN.replace(b"\r\n", b"\n"))
    sizes = []
    for more in ([], ["--raw"]):
        run_main("inspect", path, "--rules", rules, "--json", *more)
        sizes += [record["size"] for record in records(capsys)]
    assert sizes == [len(PLAIN), len(PLAIN) - 5]


# ------------------------------------------------------------------------------ replay

SCRIPT = """\
S> 220 mx.test ESMTP
c< 220 mx.test ESMTP
C> EHLO client.test
s< EHLO client.test
S> 250 mx.test
c< 250 ...
C> MAIL FROM:<a@x.test>
s< MAIL FROM:<a@x.test>
S> 250 ok
c< 250 ok
C> RCPT TO:<b@own.test>
s< RCPT TO:<b@own.test>
S> 250 ok
c< 250 ok
C> DATA
c< 354 ...
C> Content-Type: text/plain; name="a.bad"
C>
C> text
C> .
s< DATA
S> 354 go on
s< Content-Type: text/plain; name="a.bad"
s<
s< text
s< .
S> 250 2.0.0 ok
c< 250 2.0.0 ok
C> QUIT
"""


def test_replay_is_fine_for_what_passes_and_1_for_what_is_refused(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one file has a rule against it, the other has none."""
    # This upstream has no XCLIENT.
    Path(rules).write_text(GOOD.replace("xclient", "none"))
    bad, good = tmp_path / "bad.smtp", tmp_path / "good.smtp"
    bad.write_text(SCRIPT)
    good.write_text(SCRIPT.replace("a.bad", "a.txt"))
    assert run_main("replay", good, "--rules", rules) == 0
    assert run_main("replay", good, bad, "--rules", rules) == 1
    capsys.readouterr()
    assert run_main("replay", good, bad, "--rules", rules, "--json") == 1
    found = records(capsys)
    assert [(one["disposition"], one["rule"]) for one in found] == [
        ("relayed", "filenames:3"),
        ("rejected", "filenames:2"),
    ]
    assert all(one["session"] and one["envelope"] for one in found)
    assert run_main("replay", bad, "--rules", rules, "--explain") == 1
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_replay_tells_a_file_it_cannot_read_and_goes_on(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rules).write_text(GOOD.replace("xclient", "none"))
    (tmp_path / "noise.mitm").write_bytes(b"no flows here")
    (tmp_path / "keys.mitm").write_bytes(tnetstring.dumps({"version": 21}))
    (tmp_path / "long.mitm").write_bytes(b"999999999999:x,")
    (tmp_path / "bad.smtp").write_text(SCRIPT)
    names = ("none.mitm", "noise.mitm", "x.pcap", "keys.mitm", "long.mitm")
    files = [tmp_path / name for name in names]
    # Neither what is refused nor what follows makes the status smaller.
    status = run_main("replay", *files, tmp_path / "bad.smtp", "--rules", rules)
    assert status == 2
    out, err = capsys.readouterr()
    told = err.splitlines()
    assert len(told) == len(files)
    assert all(file.name in line for file, line in zip(files, told, strict=True))
    assert [line.split()[2] for line in out.splitlines()] == ["rejected"]


@pytest.mark.parametrize("more", [[], ["--json"]], ids=str)
def test_a_recording_that_was_cut_is_2_and_says_so(
    rules: str, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rules).write_text(GOOD.replace("xclient", "none"))
    path, bad = cut_flow(tmp_path / "out.mitm", 1), tmp_path / "bad.smtp"
    bad.write_text(SCRIPT)
    assert run_main("replay", path, bad, "--rules", rules, *more) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "flow 1: cut after 1 transaction" in lines[1]
    if more:
        assert json.loads(lines[1])["error"] == "flow 1: cut after 1 transaction"


def test_one_session_of_a_file_that_cannot_be_replayed_is_2(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rules).write_text(GOOD.replace("xclient", "none"))
    path, bad = tmp_path / "out.mitm", tmp_path / "bad.smtp"
    bad.write_text(SCRIPT)
    session = Recorded(mode="none")
    session.greet()
    with path.open("wb") as opened:
        flowio.FlowWriter(opened).add(session.quit())
    assert run_main("replay", path, bad, "--rules", rules) == 2
    assert "recorded without its dialogue" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("more", [[], ["--explain"]], ids=str)
def test_replay_as_json_explains_when_it_is_asked_to(
    rules: str, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(rules).write_text(GOOD.replace("xclient", "none"))
    path = tmp_path / "bad.smtp"
    path.write_text(SCRIPT)
    assert run_main("replay", path, "--rules", rules, "--json", *more) == 1
    ((trace,)) = [record["trace"] for record in records(capsys)]
    rule = [step["rule"] for step in trace if step["matched"] and "part" in step]
    assert rule[-1:] == (["filenames:2"] if more else [])


# ---------------------------------------------------------------------- how it is read


def test_a_reader_that_has_seen_enough_is_no_error(rules: str, mails: Path) -> None:
    for number in range(2000):
        (mails / f"copy-{number}.eml").write_bytes(PLAIN)
    command = [sys.executable, "-m", "smtpguard", "inspect", str(mails)]
    with subprocess.Popen(
        [*command, "--rules", rules],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141


def test_names_that_the_terminal_cannot_show_are_escaped(
    rules: str, tmp_path: Path
) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xc3\xbc.eml"
    Path(os.fsdecode(path)).write_bytes(PLAIN)
    done = run("inspect", os.fsdecode(path), "--rules", rules, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("/\\udcff\\xfc.eml  relayed\n")


def test_an_interrupted_run_ends_as_the_shell_expects(
    rules: str, mails: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(file: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "check_rules", interrupt)
    assert run_main("check", rules) == 130


@pytest.mark.parametrize(
    ("command", "before", "wanted"),
    [
        # Until the gateway's loop takes them both.
        ("run", signal.default_int_handler, (signal.SIG_IGN, signal.SIG_DFL)),
        ("run", signal.SIG_IGN, (signal.SIG_IGN, signal.SIG_IGN)),
        (
            "check",
            signal.default_int_handler,
            (signal.SIG_DFL, signal.default_int_handler),
        ),
        ("check", signal.SIG_IGN, (signal.SIG_DFL, signal.SIG_IGN)),
    ],
)
def test_what_signals_do_before_anything_has_begun(
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    before: Any,
    wanted: tuple[Any, Any],
) -> None:
    numbers = (signal.SIGHUP, signal.SIGINT)
    found = []

    def command_line() -> int:
        found.append(tuple(signal.getsignal(number) for number in numbers))
        return 1

    kept = [signal.getsignal(number) for number in numbers]
    monkeypatch.setattr(sys, "argv", ["smtpguard", command])
    monkeypatch.setattr(cli, "main", command_line)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        signal.signal(signal.SIGINT, before)
        assert __main__.main() == 1
    finally:
        for number, handler in zip(numbers, kept, strict=True):
            signal.signal(number, handler)
    assert found == [wanted]


def test_output_that_is_no_terminal_stream_is_written_as_it_is(
    rules: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    assert run_main("check", rules) == 0
    assert output.getvalue() == f"{rules}: fine\n"
