from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from mitmproxy.test import taddons

from smtpguard import alarms
from smtpguard.commands import Commands
from tests.judging import PreparedScanners


if TYPE_CHECKING:
    from pathlib import Path

    from smtpguard.scanning import Scanners


@dataclass
class Gateway:
    """Does what it is told at once."""

    rules_file: str
    scanners: Scanners | None = None
    reloads: int = 0
    begun: list[str] = field(default_factory=list)

    def reload(self) -> None:
        self.reloads += 1

    def begin(self, work: Coroutine[object, object, None]) -> None:
        self.begun.append(getattr(work, "__name__", ""))
        asyncio.run(work)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(str(tmp_path / "none.yaml"))


@pytest.fixture
def mitm(gateway: Gateway) -> Iterator[taddons.context]:
    with taddons.context(Commands(gateway)) as tctx:
        yield tctx


def test_a_reload_is_asked_for(mitm: taddons.context, gateway: Gateway) -> None:
    mitm.master.commands.execute("smtpguard.reload")
    assert gateway.reloads == 1


def test_health_is_a_line_for_each_scanner_and_kind_of_alarm(
    mitm: taddons.context, gateway: Gateway
) -> None:
    assert mitm.master.commands.execute("smtpguard.health") == []
    gateway.scanners = PreparedScanners()
    alarms.raise_alarm("copies", "x")
    alarms.raise_alarm("copies", "y")
    assert mitm.master.commands.execute("smtpguard.health") == [
        "v unix:/v is not asked gone",
        "alarms of copies: 2",
    ]


@pytest.mark.parametrize(
    "words",
    [
        "quarantine list --state held",
        "quarantine show 01KAV6QEG8M4C1S3V5X7Z9B2D4",
        "blocked",
        "unblock 192.0.2.1",
    ],
)
def test_the_command_line_is_run_by_the_rules_in_force(
    mitm: taddons.context,
    gateway: Gateway,
    caplog: pytest.LogCaptureFixture,
    words: str,
) -> None:
    mitm.master.commands.execute(f"smtpguard.{words}")
    assert gateway.begun == ["log_command"]
    [told] = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert told.message.startswith(f"{words.split(maxsplit=1)[0]}: ")
    # That file is not there, which is all that it says.
    assert gateway.rules_file in told.message
