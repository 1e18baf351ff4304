from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from smtpguard.wholefile import appear


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")
    with path.open("rb") as reader:
        assert appear(path, b"after")
        assert reader.read() == b"before"
    assert path.read_bytes() == b"after"
    assert names(tmp_path) == ["a"]


def test_a_link_keeps_the_file_that_came_first(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert appear(path, b"first", os.link)
    assert not appear(path, b"second", os.link)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["a" * 255, "ü" * 127, "🖂" * 63])
def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert appear(path, b"x")
    assert path.read_bytes() == b"x"


def test_a_mode_is_the_files_own_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        appear(tmp_path / "public", b"", mode=0o644)
        appear(tmp_path / "any", b"")
        os.umask(0)
        appear(tmp_path / "secret", b"", mode=0o600)
        appear(tmp_path / "open", b"")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"public": 0o644, "any": 0o600, "secret": 0o600, "open": 0o666}


def test_a_secret_is_nobody_elses_while_it_is_written(tmp_path: Path) -> None:
    seen: list[int] = []

    def publish(beside: Path, path: Path) -> None:
        seen.append(beside.stat().st_mode & 0o777)
        beside.replace(path)

    before = os.umask(0)
    try:
        appear(tmp_path / "a", b"", publish, 0o600)
    finally:
        os.umask(before)
    assert seen == [0o600]


def test_what_cannot_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"before")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        appear(path, b"after", mode=0o644)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == ["a"]


def test_errors_name_the_file_that_was_wanted(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a"
    with pytest.raises(FileNotFoundError) as caught:
        appear(path, b"")
    assert caught.value.filename == str(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as wrong:
        appear(tmp_path / "folder", b"")
    assert wrong.value.filename == str(tmp_path / "folder")
    assert names(tmp_path) == ["folder"]


def test_a_name_that_is_taken_beside_is_an_error_and_no_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be taken for a file that came first, and nothing be written."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "same")
    (tmp_path / ".smtpguard-same").write_bytes(b"somebody's")
    with pytest.raises(FileExistsError):
        appear(tmp_path / "a", b"x")
    assert names(tmp_path) == [".smtpguard-same"]
