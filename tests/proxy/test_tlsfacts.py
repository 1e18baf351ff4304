"""What OpenSSL says, as text."""

from __future__ import annotations

import pytest
from OpenSSL import SSL

from smtpguard.proxy.tlsfacts import is_address, reason


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SSL.Error([("SSL routines", "", "wrong version number")]), "wrong version"),
        (SSL.Error([("a", "", "first"), ("b", "", "last")]), "first, last"),
        (SSL.Error(), "Error"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "SysCallError"),
    ],
    ids=["one", "several", "empty", "system call"],
)
def test_the_reasons_of_an_error_are_told(error: SSL.Error, text: str) -> None:
    assert reason(error).startswith(text)
