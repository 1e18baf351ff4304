from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from smtpguard.policy import files


if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes("\ufeffä\r\nb".encode())
    assert files.read_file(str(path)) == "\ufeffä\r\nb"


def test_what_is_not_utf_8_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        files.read_file(str(path))


def test_a_file_beyond_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_OCTETS", 10)
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    assert files.read_file(str(path)) == "x" * 10
    path.write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="larger than 10 octets") as raised:
        files.read_file(str(path))
    assert raised.value.errno == errno.EFBIG


def test_a_name_that_no_file_can_have_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="null"):
        files.read_file("a\0b")


def test_a_missing_file_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_file(str(tmp_path / "none"))


def test_what_has_no_end_or_no_beginning_is_not_opened(tmp_path: Path) -> None:
    """Nobody writes into this pipe: to open it would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name in (str(pipe), "/dev/zero"):
        with pytest.raises(OSError, match="Not a regular file") as raised:
            files.read_file(name)
        assert raised.value.filename == name
    with pytest.raises(IsADirectoryError):
        files.read_file(str(tmp_path))
