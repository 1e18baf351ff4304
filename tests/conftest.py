"""What all tests share: order, hypothesis profiles, real servers, shared corpora."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from smtpguard import alarms
from tests.integration.bed.need import unavailable


if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


ROOT = Path(__file__).resolve().parent.parent

# `fast` finds the same examples every time, so that a change is judged by itself.
hypothesis.settings.register_profile(
    "fast", deadline=None, derandomize=True, max_examples=100
)
hypothesis.settings.register_profile(
    "deep", deadline=None, max_examples=5000, print_blob=True
)
hypothesis.settings.load_profile(os.environ.get("SMTPGUARD_HYPOTHESIS", "fast"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what fails within milliseconds first, real servers last."""
    items.sort(key=_cost)


def _cost(item: pytest.Item) -> int:
    if item.get_closest_marker("real"):
        return 2
    return 1 if item.get_closest_marker("slow") else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where real servers are required, a test that skips for want of one has failed."""
    report = yield
    required = os.environ.get("SMTPGUARD_REQUIRE_REAL") == "1"
    expected = hasattr(report, "wasxfail")
    if required and report.skipped and not expected and item.get_closest_marker("real"):
        report.outcome = "failed"
        reason = call.excinfo.value if call.excinfo else "skipped"
        report.longrepr = f"SMTPGUARD_REQUIRE_REAL=1 forbids to skip: {reason}"
    return report


@pytest.fixture(autouse=True)
def no_alarms() -> Iterator[None]:
    """Alarms are counted by the process, and a test is to see its own."""
    yield
    alarms.forget()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of corpora that are not part of the project.

    Without it its tests are skipped; failed where a skipped test would hide a failure.
    """
    path = ROOT / os.environ.get("SMTPGUARD_SHARED", "../shared")
    if not path.is_dir():
        unavailable("corpora; set SMTPGUARD_SHARED to the folder that has them")
    return path
