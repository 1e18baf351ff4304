"""What the bed needs from the system, and what happens where it is missing.

A fixture whose program is missing skips its tests by name and reason; with
``SMTPGUARD_REQUIRE_REAL=1`` it fails them, so that a run that must prove something
cannot pass by having nothing installed.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/lib/postfix/sbin")
"""Where Debian keeps what is not on everybody's PATH."""


def need(program: str, package: str = "") -> str:
    """Return the path of ``program``, or end the test: skipped, failed if required."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *SYSTEM_FOLDERS])
    found = shutil.which(program, path=path)
    return found or unavailable(f"{program} (package {package or program})")


def need_root(what: str) -> None:
    """End the test unless it runs as root."""
    if os.geteuid() != 0:
        unavailable(f"{what} needs root")


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail it where real servers are required."""
    if os.environ.get("SMTPGUARD_REQUIRE_REAL") == "1":
        pytest.fail(f"SMTPGUARD_REQUIRE_REAL=1, but missing: {reason}", pytrace=False)
    pytest.skip(f"missing: {reason}")
