"""README.md says nothing that is not so: each block is run or checked."""

from __future__ import annotations

import argparse
import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mitmproxy.addons import proxyserver, save, script
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import taddons
from mitmproxy.tools import cmdline

from smtpguard import policy
from smtpguard.cli import main, parser
from smtpguard.demomails import DISGUISED, MAILS
from smtpguard.dialogue.record import TransactionRecord
from smtpguard.model.disposition import Outcome
from smtpguard.options import OPTIONS
from smtpguard.policy.actions import LISTS
from smtpguard.proxy import maillog
from smtpguard.wire import replies
from tests.locking.making import locked


if TYPE_CHECKING:
    from collections.abc import Iterator

    from smtpguard.model.reply import Reply
    from smtpguard.options import Option


ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_LINES = 265

# What blocks use and nobody here can check: not ours, or it would change the machine.
ELSEWHERE = {"nft"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    found = re.search(
        rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]
    ]


def sessions() -> Iterator[tuple[str, str]]:
    """Yield each command of the console blocks with the output shown under it."""
    for block in blocks("console"):
        for part in re.split(r"^(?=[$#] )", block, flags=re.MULTILINE):
            if part:
                command, _, output = part.partition("\n")
                yield command[2:], output


SESSIONS = list(sessions())
COMMANDS = [command for command, _ in SESSIONS]


def test_readme_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= MAX_LINES


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    kinds = re.findall(r"^```(\w*)$", README, re.MULTILINE)
    assert set(kinds) == {"", "console", "ini", "text", "yaml"}


# ------------------------------------------------------------------------------- links


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(
    "document", ["README.md", "CHANGELOG.md", "rules/README.md", "certs/README.md"]
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    targets = re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
    broken = []
    for target in targets:
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = path.parent / name if name else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_paths_that_are_named_exist() -> None:
    named = re.findall(r"`((?:addons|rules|certs|dialogue)/[\w/.-]+)`", README)
    assert named
    tops = (ROOT, ROOT / "addons" / "smtpguard")
    assert [n for n in named if not any((top / n).exists() for top in tops)] == []


# ---------------------------------------------------------------------------- commands


def check_smtpguard(words: list[str]) -> None:
    parser().parse_args(words)


def check_mitmproxy(words: list[str]) -> None:
    addons = (script.ScriptLoader(), save.Save(), proxyserver.Proxyserver())
    with taddons.context(*addons) as context:
        found = cmdline.mitmdump(context.options).parse_args(words)
    for mode in found.mode or ():
        ProxyMode.parse(mode)
    for path in found.scripts or ():
        assert (ROOT / path).is_file()
    known = {option.name for option in OPTIONS}
    for setting in found.setoptions:
        name, _, value = setting.partition("=")
        assert name in known
        if name == "smtpguard_rules":
            assert (ROOT / value).is_file()


def check_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in words if "=" not in word]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def check_python(words: list[str]) -> None:
    """The one program that is taken elsewhere; the test of its block runs it."""
    assert words[:3] == ["-I", "-S", "unlock.py"]


CHECKS = {
    "smtpguard": check_smtpguard,
    "python3": check_python,
    "mitmdump": check_mitmproxy,
    "mitmweb": check_mitmproxy,
    "make": check_make,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_ones_that_would_run(command: str) -> None:
    program, *words = shlex.split(command)
    if program not in ELSEWHERE:
        CHECKS[program](words)


def test_commands_in_the_text_are_ones_too() -> None:
    found = re.findall(r"`((?:make|smtpguard) [a-z][^`]*)`", README)
    assert len(found) > 5
    for command in found:
        program, *words = shlex.split(command.replace("[", "").replace("...]", ""))
        words = [word.replace("...", "") for word in words]
        if program == "make":
            check_make(words)
        elif words != ["run"]:  # named, not called: it needs a --mode
            check_smtpguard(words)


def test_commands_with_output_say_just_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = blocks("yaml")[0]
    (tmp_path / "inbound.yaml").write_text(rules)
    (tmp_path / "disguised.eml").write_bytes(DISGUISED)
    (tmp_path / "wrong.yaml").write_text(
        "version: 1\npolicies:\n  - name: all\n    identity: xclient\n"
        '    rcpt_to: [{match: "x@a.example", action: alow}, '
        '{match: "*", action: deny}]\n'
    )
    monkeypatch.chdir(tmp_path)
    shown = [(command, output) for command, output in SESSIONS if output.strip()]
    assert len(shown) == 2
    for command, output in shown:
        main(shlex.split(command)[1:])
        assert capsys.readouterr().out == output


UNLOCK = "addons/smtpguard/locking/unlock.py"


@pytest.mark.parametrize("page", ["README.md", "docs/clk.md"])
def test_the_one_file_restores_by_the_command_that_is_told(
    page: str, tmp_path: Path
) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert f"`{UNLOCK}`" in text
    shutil.copy(ROOT / UNLOCK, tmp_path)
    (tmp_path / "more").mkdir()
    for number, name in enumerate(("Rechnung.exe.clk", "more/a.clk")):
        (tmp_path / name).write_bytes(locked(b"%d" % number))
    commands = re.findall(r"^\$ (python3 .+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        words = [sys.executable, *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "restored" / "Rechnung.exe").read_bytes() == b"0"


def test_what_smtpguard_unlock_is_told_to_do_is_what_it_takes() -> None:
    text = (ROOT / "docs" / "clk.md").read_text("utf-8")
    commands = re.findall(r"^\$ smtpguard (.+)$", text, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        check_smtpguard(shlex.split(command))


def test_the_service_starts_what_exists() -> None:
    (unit,) = blocks("ini")
    config = configparser.RawConfigParser()
    config.read_string(unit)
    program, *words = shlex.split(config["Service"]["ExecStart"])
    assert Path(program).name == "smtpguard"
    arguments = parser().parse_args(words)
    ProxyMode.parse(arguments.mode[0])
    # Longer than the minute for which replies in flight are awaited.
    assert int(config["Service"]["TimeoutStopSec"]) > 60


# --------------------------------------------------------------------------- reference


def option_strings(command: argparse.ArgumentParser) -> set[str]:
    return {
        name
        for action in command._actions
        for name in action.option_strings
        if name not in {"-h", "--help"}
    }


def subparsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (
        action
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    return dict(action.choices)


def test_every_command_stands_in_the_table_with_every_option() -> None:
    table = {}
    for command, options in rows(section("Command line").partition("<!--")[0]):
        name = command.strip("`").split()[1]
        table[name] = set(re.findall(r"`(-[\w-]+)`", options))
    assert table == {
        name: option_strings(command) for name, command in subparsers().items()
    }


def option_row(option: Option) -> list[str]:
    default = json.dumps(option.default) if option.default != "" else "empty"
    shown = default if default == "empty" else f"`{default.strip(chr(34))}`"
    return [f"`{option.name}`", shown, option.help]


def test_the_table_of_options_is_that_of_the_addon() -> None:
    table = README.partition("<!-- options -->")[2].partition("<!-- /options -->")[0]
    assert rows(table) == [option_row(option) for option in OPTIONS]


def test_only_options_that_exist_are_named() -> None:
    named = set(re.findall(r"`(smtpguard_\w+)`", README))
    meta = {"smtpguard_rule"}
    assert named - meta <= {option.name for option in OPTIONS}


# ------------------------------------------------------------------------------- rules


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda text: text[:20])
def test_rules_that_are_shown_load_without_a_warning(text: str) -> None:
    assert policy.check("README.yaml", {"README.yaml": text}.__getitem__) == ()


def test_lists_and_actions_are_those_of_the_rule_language() -> None:
    known = {spec.name: {str(action) for action in spec.actions} for spec in LISTS}
    told = {}
    for names, _, actions in rows(section("Rules")):
        for name in re.findall(r"`(\w+)`", names):
            told[name] = set(re.findall(r"`(\w+)`", actions))
    assert told == known


def test_conditions_are_those_of_the_rule_language() -> None:
    known = {name for spec in LISTS for name in spec.conditions}
    sentence = re.search(r"Conditions on any rule, by (.*?)\. ", README, re.DOTALL)
    assert sentence is not None
    told = set(re.findall(r"`(\w+)`", sentence[1])) - {"when", "unless"}
    assert told == known


# ---------------------------------------------------------------- what is promised


def test_rows_of_the_demo_are_rows_of_the_demo() -> None:
    (table,) = (block for block in blocks("text") if block.startswith("sent"))
    promised = {mail.title: mail for mail in MAILS}
    lines = [re.split(r" {2,}", line) for line in table.splitlines()[1:]]
    assert len(lines) > 3
    for title, told, arrived in lines:
        mail = promised[title]
        assert re.match(mail.told, told)
        assert (arrived == "nothing") == (mail.copies == 0)


def own_replies() -> list[Reply]:
    return [value for name, value in vars(replies).items() if name.isupper()]


def test_replies_that_are_promised_are_replies_we_have() -> None:
    known = {f"{reply.code} {reply.enhanced}" for reply in own_replies()}
    promised = re.findall(
        r"`([245]\d\d [245]\.\d\.\d)`", section("Guarantees and tradeoffs")
    )
    assert len(promised) > 5
    assert [one for one in promised if one not in known] == []


def test_the_log_line_has_the_fields_of_the_log() -> None:
    (shown,) = (block for block in blocks("text") if block.startswith("tx="))
    record = TransactionRecord(
        id="1b7e2.1",
        session="1b7e2",
        policy="demo",
        outcome=Outcome.MODIFIED,
        reply="250 2.0.0 Queued",
        mail_from="karl@partner.test",
        rcpt_to=({"address": "anna@demo.test", "reply": "250 ok"},),
        size=1049,
        sha256="",
        rule="filenames:1",
        action="strip",
        reason="...",
        duration=0.004,
        client="198.51.100.7",
        tls="TLSv1.3/TLSv1.3",
    )
    assert shown.strip() == maillog.line(record, "full")
