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


def test_script_loads_without_a_word_and_brings_one_smtpguard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with taddons.context() as tctx:
        module = tctx.script(str(SCRIPT))
        assert [type(addon) for addon in module.addons] == [SmtpGuard]
    problems = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING
    ]
    assert problems == []


def test_reload_brings_a_fresh_instance_of_the_same_class() -> None:
    """Hooks and content views are registered by the class's module, and that once."""
    with taddons.context() as tctx:
        first = tctx.script(str(SCRIPT)).addons[0]
    with taddons.context() as tctx:
        second = tctx.script(str(SCRIPT)).addons[0]
    assert first is not second
    assert type(first) is type(second)


def test_package_hides_the_script_of_the_same_name() -> None:
    assert smtpguard.__file__ is not None
    assert Path(smtpguard.__file__) == SCRIPT.with_suffix("") / "__init__.py"


def test_script_is_thin() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= 12
