from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from tests.integration.bed.certificates import make_authority
from tests.integration.bed.need import need


if TYPE_CHECKING:
    from tests.integration.bed.certificates import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return who issues certificates for servers of these tests."""
    need("openssl")
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def server_tls(authority: Authority) -> ssl.SSLContext:
    """Return the TLS of a server at 127.0.0.1, which is also localhost."""
    identity = authority.issue("localhost", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    return context
