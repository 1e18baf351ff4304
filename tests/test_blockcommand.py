from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from smtpguard.blocking.memory import Block, BlockMemory
from smtpguard.cli import main


if TYPE_CHECKING:
    from pathlib import Path


RULES = """version: 1
block: {folder: blocked}
policies:
  - {name: p, identity: xclient, rcpt_to: [{match: "*", action: deny}]}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def memory(tmp_path: Path) -> BlockMemory:
    found = BlockMemory(tmp_path / "blocked")
    until = float(int(time.time()) + 1000)
    found.remember(Block("192.0.2.1", until, until - 1200, "rcpt_to:1", "5f3a.2"))
    found.remember(Block("2001:db8::/64", until + 1, until, "helo:2\x1b[2J", "5f3b"))
    return found


@pytest.mark.usefixtures("memory")
def test_the_list_tells_who_until_when_and_why(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["blocked", "--rules", str(rules)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("192.0.2.1  until 20")
    assert first.endswith("+00:00  rcpt_to:1  5f3a.2")
    assert "\x1b" not in second
    assert "helo:2\\x1b[2J" in second


@pytest.mark.usefixtures("memory")
def test_the_list_is_json_where_a_program_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["blocked", "--folder", str(tmp_path / "blocked"), "--json"]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(first) == ["network", "until", "since", "rule", "transaction"]
    assert (first["network"], second["network"]) == ("192.0.2.1", "2001:db8::/64")


def test_whoever_is_unblocked_is_forgotten(
    rules: Path, memory: BlockMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unblock", "2001:db8::5", "--rules", str(rules)]) == 0
    assert capsys.readouterr().out == "unblocked: 2001:db8::5\n"
    assert [one.network for one in memory.blocks(0)] == ["192.0.2.1"]
    assert main(["unblock", "2001:db8::5", "192.0.2.1", "--rules", str(rules)]) == 1
    assert "not blocked: 2001:db8::5\nunblocked: 192.0.2.1" in capsys.readouterr().out


def test_all_are_unblocked_at_once(
    rules: Path, memory: BlockMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unblock", "--all", "--rules", str(rules)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert memory.blocks(0) == []
    assert main(["unblock", "--all", "--rules", str(rules)]) == 0


def test_what_is_no_address_keeps_nobody_from_the_others(
    rules: Path, memory: BlockMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["unblock", "10.0.0.0/8", "192.0.2.1", "--rules", str(rules)]
    assert main(words) == 2
    assert "not an address: '10.0.0.0/8'" in capsys.readouterr().err
    assert [one.network for one in memory.blocks(0)] == ["2001:db8::/64"]


def test_rules_without_the_key_are_told(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules.write_text(RULES.replace("block: {folder: blocked}\n", ""))
    assert main(["blocked", "--rules", str(rules)]) == 2
    assert "has no key block" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["blocked"], ["unblock", "192.0.2.1"]])
def test_a_folder_that_is_not_there_is_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A word mistyped is no empty list."""
    assert main([*words, "--folder", str(tmp_path / "none")]) == 2
    assert "none: no such folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--all", "192.0.2.1"]])
def test_either_addresses_or_all(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["unblock", *words])
    assert ended.value.code == 2
