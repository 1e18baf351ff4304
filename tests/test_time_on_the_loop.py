"""What is judged on the event loop keeps no other session waiting (30 ms)."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from smtpguard.judges import INLINE_OCTETS
from smtpguard.loading import default_rules
from smtpguard.looking import TakesLong
from smtpguard.mime import is_quick
from smtpguard.model.content import MemorySpool
from tests.judging import (
    make_envelope,
    make_pipeline,
    make_session,
    mixed,
    names,
    rules,
)


DEFAULT = default_rules()
SILENT = rules(names('{match: "*.exe", action: strip}'))
"""Looks into nothing, so nothing is put off for it."""


def parts(part: bytes) -> bytes:
    """Return as many parts as are quick."""
    many = (mixed(*[part] * count) for count in range(500, 0, -1))
    return next(one for one in many if is_quick(one))


def encoded(content: bytes) -> bytes:
    text = base64.encodebytes(content).replace(b"\n", b"\r\n")
    return mixed(b"Content-Transfer-Encoding: base64\r\n\r\n" + text)


ROOM = INLINE_OCTETS * 2 // 3
STOLEN: dict[str, Callable[[], bytes]] = {
    "blanks-quoted-printable": lambda: (
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        + b" \r\n" * (INLINE_OCTETS // 3 - 50)
    ),
    "blanks": lambda: encoded(b" " * ROOM),
    "zip-headers": lambda: encoded(b"PK\3\4" * (ROOM // 4)),
    "zip-directory": lambda: encoded(
        (b"PK\1\2" + bytes(42)) * (ROOM // 46 - 1)
        + b"PK\5\6"
        + bytes(8)
        + struct.pack("<IIH", (ROOM // 46 - 1) * 46, 0, 0)
    ),
    "rar-blocks": lambda: encoded(
        b"Rar!\x1a\x07\x00" + b"\0\0\x75\0\0\7\0" * (ROOM // 7)
    ),
    "biff-records": lambda: encoded(
        b"\x09\x08\x10\0\0\6\5\0" + bytes(12) + b"\1\0\0\0" * (ROOM // 4 - 9)
    ),
    "programs": lambda: parts(b"Content-Disposition: a; filename=x.exe\r\n\r\nMZ"),
    "empty-parts": lambda: parts(b"\r\n"),
    "uuencoded": lambda: (
        b"A: b\r\n\r\nbegin 644 a\r\n" + b"!!\r\n" * (INLINE_OCTETS // 4 - 9)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STOLEN)
def test_what_is_judged_at_once_holds_nobody_up(name: str) -> None:
    """At most 30 ms were measured on an idle machine; the bound has room for others."""
    octets = STOLEN[name]()
    assert len(octets) <= INLINE_OCTETS
    assert is_quick(octets)
    spent = []
    for text in (DEFAULT.read_text("utf-8"), SILENT):
        session = make_session()
        judge = make_pipeline(text).begin(session)
        content = MemorySpool()
        content.write(octets)
        for _ in range(3):
            began = time.process_time()
            with suppress(TakesLong):
                judge.message(session, make_envelope(), content, at_once=True)
            spent.append(time.process_time() - began)
    assert min(spent[:3]) < 0.15
    assert min(spent[3:]) < 0.15
