"""docs/quarantine.md says nothing that is not so: its blocks are run, its tables held
against the code."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest

from smtpguard import policy
from smtpguard.cli import main, parser
from smtpguard.policy.deliveryreader import DeliveryTls
from smtpguard.quarantine.record import HeldPart, HeldRecipient, Record, State
from smtpguard.quarantine.recordfile import VERSION
from smtpguard.quarantine.store import Store
from tests.quarantine.making import MESSAGE, record
from tests.quarantine.servers import Server
from tests.quarantine.test_durability import DURABLE
from tests.test_docs_folder import blocks, rows, section


PAGE = (Path(__file__).parents[1] / "docs" / "quarantine.md").read_text("utf-8")
ITEM = "01KAV6QEG8M4C1S3V5X7Z9B2D4"
(CONSOLE,) = blocks("console", PAGE)


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    assert re.findall(r"^```(\w+)$", PAGE, re.MULTILINE) == ["yaml", "text", "console"]


def test_rules_that_are_shown_load() -> None:
    (text,) = blocks("yaml", PAGE)
    assert policy.check("r.yaml", {"r.yaml": text}.__getitem__) == ()


def test_the_order_is_the_one_that_strace_sees() -> None:
    (text,) = blocks("text", PAGE)
    assert text.splitlines() == DURABLE


def test_the_record_has_the_keys_that_are_told() -> None:
    table = rows(section(PAGE, "On disk"), "key")
    told = {key: value for keys, value in table for key in code(keys)}
    assert set(told) == {"version", *(field.name for field in fields(Record))}
    assert VERSION == 1
    for key, kind in (("recipients", HeldRecipient), ("part", HeldPart)):
        names = {field.name for field in fields(kind)}
        assert set(code(told[key])) == names


def test_states_are_those_of_the_code() -> None:
    told = [code(state)[0] for state, _ in rows(PAGE, "state")]
    assert told == [*State]


def test_ways_of_tls_are_those_of_the_rules() -> None:
    told = tuple(code(way)[0] for way, _ in rows(PAGE, "`tls:`"))
    assert told == get_args(DeliveryTls.__value__)


def actions() -> dict[str, Any]:
    def choices(of: argparse.ArgumentParser) -> dict[str, Any]:
        (found,) = (
            action
            for action in of._actions
            if isinstance(action, argparse._SubParsersAction)
        )
        return dict(found.choices)

    return choices(choices(parser())["quarantine"])


def test_every_action_and_option_is_told() -> None:
    told = [code(row[0])[0] for row in rows(section(PAGE, "Commands"), "command")]
    assert {words.split()[2] for words in told} == set(actions())
    options = {
        option
        for action in actions().values()
        for one in action._actions
        for option in one.option_strings
    }
    named = set(re.findall(r"--[a-z]+", section(PAGE, "Commands")))
    assert {one for one in options if one.startswith("--")} - named == {
        "--help",
        "--output",  # -o
    }
    assert named - options == set()


def test_commands_say_what_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = replace(record("b@y.test", "c@y.test"), id=ITEM)
    Store(tmp_path / "quarantine").keep(made, [MESSAGE])
    monkeypatch.chdir(tmp_path)
    (rules,) = blocks("yaml", PAGE)
    full = {b"RCPT TO:<c@y.test>": b"452 4.2.2 mailbox full\r\n"}
    with Server(answers=full) as server:
        here = f"host: 127.0.0.1, port: {server.port}, tls: none"
        here = f"{{{here}, from: guard@own.example}}"
        text = re.sub(r"(?m)^delivery: .*$", f"delivery: {here}", rules)
        Path("rules.yaml").write_text(text)
        parts = re.split(r"^\$ ", CONSOLE, flags=re.MULTILINE)
        assert len(parts) == 6
        for part in parts[1:]:
            command, _, output = part.partition("\n")
            main(shlex.split(command)[1:])
            assert capsys.readouterr().out == output
    assert (tmp_path / "exported" / f"{ITEM}.eml").read_bytes() == MESSAGE
    assert server.messages == [MESSAGE]


def test_files_are_those_that_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.keep(record(), [MESSAGE])
    store.owner()
    main(["quarantine", "list", "--folder", str(tmp_path)])
    names = {path.name.replace(made.id, "ID") for path in tmp_path.iterdir()}
    told = [code(row[0])[0] for row in rows(PAGE, "file")]
    for name in names:
        assert any(
            re.fullmatch(re.escape(one).replace(r"\*", ".*"), name) for one in told
        )
    store.close()
    assert json.loads((tmp_path / f"{made.id}.json").read_text())["id"] == made.id
