"""Without libarchive most archives cannot be entered: these tests say so and skip."""

from __future__ import annotations

import pytest

from smtpguard.unpacking import libarchivereader
from tests.integration.bed.need import unavailable


@pytest.fixture(autouse=True, scope="session")
def _libarchive() -> None:
    if not libarchivereader.available():
        unavailable("libarchive.so.13 (package libarchive13)")
