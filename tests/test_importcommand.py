from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from smtpguard import importcommand
from smtpguard.cli import main
from tests.watchguard.sample import configuration, one, senders


if TYPE_CHECKING:
    from pathlib import Path


EXCEPTION = (
    "<message><spam><enabled>true</enabled><bulk><deny/></bulk><exceptions><rule>"
    "<sender>*</sender><recipient>nobody</recipient><allow/></rule></exceptions>"
    "</spam></message>"
)


@pytest.fixture
def xml(tmp_path: Path) -> Path:
    path = tmp_path / "fireware.xml"
    path.write_bytes(configuration())
    return path


def test_rules_go_to_the_output_and_remarks_beside_it(
    xml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "watchguard", str(xml)]) == 1  # something is lost
    said = capsys.readouterr()
    assert said.out.startswith("# From the SMTP proxy of a WatchGuard Firebox")
    assert "lost: SMTP-Incoming.1-own: from rule 'look-ahead'" in said.err
    assert said.err.splitlines()[-1].startswith("4 lost, ")
    rules = tmp_path / "rules.yaml"
    assert main(["import", "watchguard", str(xml), "-o", str(rules)]) == 1
    assert capsys.readouterr().out == ""
    assert rules.read_text("utf-8") == said.out
    assert main(["check", str(rules)]) == 0


def test_what_is_whole_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(one(""))
    assert main(["import", "watchguard", str(path)]) == 0


def test_proxy_actions_can_be_chosen(
    xml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["import", "watchguard", str(xml), "--action", "SMTP-Outgoing.1"]
    assert main(words) == 0
    assert "- name: SMTP-Outgoing.1" in capsys.readouterr().out
    assert main([*words[:-1], "nobody"]) == 2
    assert "no SMTP proxy action 'nobody'" in capsys.readouterr().err


def test_a_file_that_is_there_is_not_written_over(
    xml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("mine")
    assert main(["import", "watchguard", str(xml), "-o", str(mine)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("octets", [None, b"no xml", b"<profile/>"])
def test_what_cannot_be_read_is_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], octets: bytes | None
) -> None:
    path = tmp_path / "a.xml"
    if octets is not None:
        path.write_bytes(octets)
    assert main(["import", "watchguard", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1


def test_a_file_that_is_too_large_is_refused(
    xml: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importcommand, "MAX_OCTETS", 1000)
    assert main(["import", "watchguard", str(xml)]) == 2
    assert "more than 1000 octets" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "slug"),
    [
        ("<masquerading><banner-name>\u00fc</banner-name></masquerading>", "bad-value"),
        (
            senders("<rule><string>a@b.test</string><replace>x</replace></rule>"),
            "bad-address",
        ),
        (EXCEPTION, "bad-pattern"),
    ],
)
def test_a_value_that_is_none_here_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, slug: str
) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(one(more))
    assert main(["import", "watchguard", str(path)]) == 1
    told = [x for x in capsys.readouterr().err.splitlines() if "to be mended" in x]
    assert [line.endswith(f"[{slug}]") for line in told] == [True]


def test_a_number_that_is_none_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(one(f"<timeout>{'9' * 5000}</timeout>"))
    assert main(["import", "watchguard", str(path)]) == 0
