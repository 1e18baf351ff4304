from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from smtpguard.arguments import Once, path


def test_nothing_is_no_path() -> None:
    assert path("a/b") == Path("a/b")
    with pytest.raises(ValueError, match=r"^$"):
        path("")


def test_a_second_value_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rules", action=Once, default="x")
    assert parser.parse_args(["--rules", "a"]).rules == "a"
    with pytest.raises(SystemExit):
        parser.parse_args(["--rules", "a", "--rules", "b"])
    assert "--rules is given twice" in capsys.readouterr().err
