"""What OpenSSL says, as text."""

from __future__ import annotations

import pytest

from smtpguard.proxy.tlsfacts import is_address


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("[2001:db8::1]", True),
        ("mx.example", False),
        ("", False),
        ("1.2.3.4.example", False),
        ("192.0.2.256", False),
    ],
)
def test_addresses_are_told_from_names(name: str, address: bool) -> None:
    assert is_address(name) is address
