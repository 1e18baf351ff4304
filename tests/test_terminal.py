from __future__ import annotations

import io
from typing import Any

import pytest

from smtpguard.terminal import explained, say, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain text", "plain text", id="plain"),
        pytest.param("a\r\nb\x1b[2J", "a\\r\\nb\\x1b[2J", id="controls"),
        pytest.param("\u202egpj", "\\u202egpj", id="bidi"),
        pytest.param("\ud800", "\\ud800", id="surrogate"),
        pytest.param("jörg", "jörg", id="letters"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (
            {
                "rule": "filenames.0",
                "part": "1.2",
                "matched": True,
                "reason": "a\x1b",
                "place": "x.yaml:3",
            },
            r"    yes filenames.0 part 1.2  a\x1b  (x.yaml:3)",
        ),
        ({"rule": "a", "matched": False, "reason": "b"}, "    no  a  b"),
        ({"rule": "a", "matched": None, "reason": "b"}, "    ?   a  b"),
        ({}, "    ?     "),
    ],
    ids=["matched", "not", "not known", "nothing of it"],
)
def test_a_step_is_one_line(step: dict[str, object], line: str) -> None:
    assert explained(step) == line


class Raw(io.RawIOBase):
    """Notes what each write brings."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, octets: Any) -> int:
        self.writes.append(bytes(octets))
        return len(octets)


@pytest.mark.parametrize("is_buffered", [True, False])
@pytest.mark.parametrize(
    "text", ["a line", "", "Traceback\n  two\nthree", "long " * 20_000]
)
def test_a_line_is_written_in_one_piece(text: str, is_buffered: bool) -> None:
    """Python writes through where PYTHONUNBUFFERED is set."""
    raw = Raw()
    below: Any = io.BufferedWriter(raw) if is_buffered else raw
    file = io.TextIOWrapper(
        below, "utf-8", line_buffering=True, write_through=not is_buffered
    )
    say(file, text)
    say(file, "next")
    assert raw.writes == [f"{text}\n".encode(), b"next\n"]
