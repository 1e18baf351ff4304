from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

import pytest

from smtpguard import console
from smtpguard.console import log_command
from tests.waiting import until


if TYPE_CHECKING:
    from pathlib import Path


def run(*words: str) -> None:
    asyncio.run(asyncio.wait_for(log_command(*words), 30))


def test_what_a_command_prints_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    run("quarantine", "list", "--help")
    assert {one.levelno for one in caplog.records} == {logging.INFO}
    assert caplog.messages[0].startswith("quarantine: usage: ")


def test_a_command_that_fails_is_an_error(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    run("quarantine", "show", "--folder", str(tmp_path), "no-id")
    assert [one.levelno for one in caplog.records] == [logging.ERROR]
    assert "no-id" in caplog.text


def test_much_that_is_printed_is_cut(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(console, "MAX_TOLD", 20)
    run("quarantine", "list", "--help")
    assert "octets more: left out" in caplog.messages[-1]
    assert len("".join(caplog.messages[:-1])) < 80


def test_the_folder_of_the_gateway_is_no_place_of_modules(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its user may not be the one who may write there."""
    caplog.set_level(logging.INFO)
    (tmp_path / "argparse.py").write_text("print('somebody else')")
    monkeypatch.chdir(tmp_path)
    run("quarantine", "list", "--help")
    assert "somebody else" not in caplog.text
    assert "usage: " in caplog.text


def test_a_command_ends_with_whoever_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of the gateway its tasks are cancelled."""
    child = tmp_path / "child"
    (tmp_path / "smtpguard.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(child)!r}).write_text(f'{{os.getpid()}} ')\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(console, "_FOLDER", str(tmp_path))

    async def scene() -> None:
        task = asyncio.create_task(log_command("release"))
        await until(lambda: child.exists() and child.read_text().endswith(" "))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    with pytest.raises(ProcessLookupError):
        os.kill(int(child.read_text()), 0)
