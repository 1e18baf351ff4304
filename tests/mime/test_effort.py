from __future__ import annotations

import pytest

from smtpguard.mime import is_quick
from smtpguard.mime.effort import HEADER_OCTETS


TEXT = b"plain text, and nothing else in sight\r\n" * 40_000
HEAD = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
PDF = b"\r\n--b\r\nContent-Type: a/b; name=a\r\n\r\n" + b"QUJD" * 300_000 + b"\r\n--b--"
NAME = b'\r\n--b\r\nContent-Disposition: a; filename="a"\r\n\r\nx'
LONG = b"X: " + b"a," * (HEADER_OCTETS // 2) + b"\r\n"
CHAIN = b"Content-Type: message/rfc822\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "quick"),
    [
        pytest.param(b"", True, id="empty"),
        pytest.param(HEAD, True, id="header alone"),
        pytest.param(HEAD + TEXT, True, id="text"),
        pytest.param(HEAD + PDF, True, id="attachment"),
        pytest.param(HEAD + NAME * 20, True, id="parts"),
        pytest.param(HEAD + NAME * 100, False, id="many parts"),
        pytest.param(HEAD + b"\r\n--b\r\n" * 200 + b"\r\n", False, id="no header"),
        pytest.param(HEAD + b"\r\n--b\r\n\r\n" * 200, False, id="empty header"),
        pytest.param(b"a: b" + b"\r\n--b" * 200, False, id="no blank line"),
        pytest.param(LONG + b"\r\nx\r\n", False, id="long header"),
        pytest.param(LONG, False, id="nothing but header"),
        pytest.param(HEAD + b"\r\n--b\r\n" + LONG, False, id="long header of a part"),
        pytest.param(CHAIN * 2 + LONG, False, id="long header of a message within"),
        pytest.param(CHAIN * 200, False, id="messages within messages"),
        pytest.param(HEAD.replace(b"mixed", b"Digest"), False, id="digest"),
        pytest.param(HEAD + b"QQ==" * 2000, True, id="odd, but little"),
        pytest.param(HEAD + b"QQ==" * 2100, False, id="odd base64"),
    ],
)
def test_what_is_quick_has_few_headers(octets: bytes, quick: bool) -> None:
    assert is_quick(octets) is quick
