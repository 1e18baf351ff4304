"""Certificates for the whole folder of tests."""

from __future__ import annotations

import pytest

from tests.proxy.peers import Authority, make_authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority that has issued ``mx.example``."""
    made = make_authority(tmp_path_factory.mktemp("ca"))
    made.issue("mx.example")
    return made
