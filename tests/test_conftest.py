"""``conftest.py``: what it does to the outcome of tests, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent

SKIPPING = """
import pytest

@pytest.mark.real
def test_with_a_server(): pytest.skip("no server here")
"""
WITH_CORPORA = """
def test_with_corpora(shared): pass
"""
ORDERED = """
import pytest

@pytest.mark.real
def test_server(): pass

@pytest.mark.slow
def test_slow(): pass

def test_fast(): pass
"""


def run(
    folder: Path, text: str, *options: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (folder / "test_planted.py").write_text(text)
    command = ["-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    inherited = {k: v for k, v in os.environ.items() if k != "SMTPGUARD_REQUIRE_REAL"}
    return subprocess.run(
        [sys.executable, *command, "-c", ROOT / "pyproject.toml", *options, folder],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize(
    ("required", "status"), [("0", 0), ("1", 1)], ids=["allowed", "required"]
)
def test_missing_server_is_a_failure_where_real_servers_are_required(
    tmp_path: Path, required: str, status: int
) -> None:
    done = run(tmp_path, SKIPPING, SMTPGUARD_REQUIRE_REAL=required)
    assert done.returncode == status, done.stdout + done.stderr
    assert "no server here" in done.stdout


@pytest.mark.parametrize(
    ("required", "outcome"), [("0", "1 skipped"), ("1", "1 error")]
)
def test_missing_corpora_are_a_failure_where_real_servers_are_required(
    tmp_path: Path, required: str, outcome: str
) -> None:
    done = run(
        tmp_path,
        WITH_CORPORA,
        SMTPGUARD_REQUIRE_REAL=required,
        SMTPGUARD_SHARED=str(tmp_path / "none"),
    )
    assert done.returncode == int(required), done.stdout + done.stderr
    assert outcome in done.stdout
    assert "missing: corpora; set SMTPGUARD_SHARED" in done.stdout


def test_fast_tests_run_first_and_real_servers_last(tmp_path: Path) -> None:
    done = run(tmp_path, ORDERED, "--collect-only", "-q")
    names = [line.split("::")[1] for line in done.stdout.splitlines() if "::" in line]
    assert names == ["test_fast", "test_slow", "test_server"]
