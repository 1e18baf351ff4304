"""``addons/smtpguard.py``: mitmproxy loads it, though the package has its name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mitmproxy.test import taddons

import smtpguard
from smtpguard.addon import SmtpGuard


if TYPE_CHECKING:
    import pytest


SCRIPT = Path(__file__).resolve().parent.parent / "addons" / "smtpguard.py"


def load_script() -> list[object]:
    """Load the script in a mitmproxy of its own; return the addons it brings."""
    with taddons.context() as tctx:
        module = tctx.script(str(SCRIPT))
        # What is logged later must not go to this context's closed loop.
        tctx.master._legacy_log_events.uninstall()
        return list(module.addons)


def test_script_loads_and_warns_of_what_the_default_rules_leave_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert [type(addon) for addon in load_script()] == [SmtpGuard]
    problems = [
        (record.levelno, record.getMessage().rpartition(" ")[2])
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ]
    assert problems == [
        (logging.WARNING, "[no-identity]"),
        (logging.WARNING, "[no-domains]"),
    ]


def test_reload_brings_a_fresh_instance_of_the_same_class() -> None:
    """Hooks and content views are registered by the class's module, and that once."""
    (first,), (second,) = load_script(), load_script()
    assert first is not second
    assert type(first) is type(second)


def test_package_hides_the_script_of_the_same_name() -> None:
    assert smtpguard.__file__ is not None
    assert Path(smtpguard.__file__) == SCRIPT.with_suffix("") / "__init__.py"


def test_script_is_thin() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 12
