from __future__ import annotations

import pytest

from smtpguard.inspection.members import (
    expanded_names,
    is_unsafe,
    printable,
    readings,
)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (b"a.exe", ("a.exe",)),
        ("ä.exe", ("ä.exe",)),
        ("ä".encode(), ("ä", "├ñ", "Ã¤")),
        (b"\xe4", ("Σ", "ä")),
        (b"\x81", ("ü", "\x81")),
        (b"a.exe\0.txt", ("a.exe\0.txt", "a.exe")),
        (b"", ("",)),
        ("\ud800", ("?",)),
    ],
)
def test_octets_are_read_in_every_character_set(
    name: bytes | str, found: tuple[str, ...]
) -> None:
    assert readings([name]) == (found, False)


def test_the_same_reading_is_there_once() -> None:
    assert readings([b"a", "a", b"b"]) == (("a", "b"), False)


def test_a_long_name_keeps_its_beginning_and_its_ending() -> None:
    (name,), shortened = readings([b"b" + b"-" * 2000 + b".exe"])
    assert shortened
    assert len(name) == 1024
    assert name.startswith("b-")
    assert name.endswith("-.exe")
    assert readings([b"x" * 1024]) == (("x" * 1024,), False)


@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        ("/etc", True),
        ("\\x", True),
        ("c:x", True),
        ("..", True),
        ("a/..", True),
        ("a\\..\\b", True),
        ("a/../b", True),
        ("a/b", False),
        ("a..b/c", False),
        ("...", False),
        ("/", False),
        ("", False),
    ],
)
def test_names_that_lead_out(name: str, unsafe: bool) -> None:
    assert is_unsafe(name) is unsafe


@pytest.mark.parametrize(
    ("own", "outer", "found"),
    [
        ((b"data",), ("a.exe.gz",), ("a.exe",)),
        ((b"data",), ("a.TGZ", "b.svgz"), ("a.tar", "b.svg")),
        ((b"x.exe",), ("a.gz",), (b"x.exe", "a")),
        ((b"data",), ("noending", ".gz"), ("",)),
        ((b"data",), (), ("",)),
    ],
)
def test_what_is_compressed_has_its_own_name_and_the_files_without_the_ending(
    own: tuple[bytes], outer: tuple[str, ...], found: tuple[bytes | str, ...]
) -> None:
    assert expanded_names(own, outer) == found


def test_a_detail_is_short_printable_ascii() -> None:
    assert printable("a\x1b[31m\r\nü") == "a?[31m?"
    assert len(printable("x" * 999)) == 200
