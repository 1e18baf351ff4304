"""Watching rule files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smtpguard.proxy.watch import FileWatch


def watching(*files: str) -> FileWatch:
    watch = FileWatch()
    watch.watch(files)
    return watch


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text("one")
    return path


def test_nothing_changed_is_nothing(file: Path) -> None:
    watch = watching(str(file))

    assert [watch.look() for _ in range(3)] == [False, False, False]


def test_a_change_is_told_once_and_when_it_has_settled(file: Path) -> None:
    watch = watching(str(file))
    file.write_text("something else")

    assert [watch.look() for _ in range(4)] == [False, True, False, False]


def test_a_file_that_is_still_being_written_is_left_alone(file: Path) -> None:
    watch = watching(str(file))
    told = []
    for size in range(5):
        file.write_text("x" * (10 + size))
        told.append(watch.look())
    told.append(watch.look())

    assert told == [False, False, False, False, False, True]


def test_the_same_size_at_another_time_is_a_change(file: Path) -> None:
    watch = watching(str(file))
    file.write_text("two")
    os.utime(file, ns=(1, 1))
    watch.look()

    assert watch.look()


def test_another_file_of_the_same_size_and_time_is_a_change(file: Path) -> None:
    """A deployment may keep the times of what it copies (cp -p, tar, rsync)."""
    found = file.stat()
    watch = watching(str(file))
    other = file.with_name("new.yaml")
    other.write_text("two")
    os.utime(other, ns=(found.st_atime_ns, found.st_mtime_ns))
    other.replace(file)
    assert (file.stat().st_mtime_ns, file.stat().st_size) == (found.st_mtime_ns, 3)

    assert [watch.look() for _ in range(3)] == [False, True, False]


def test_a_file_that_went_away_is_a_change(file: Path) -> None:
    watch = watching(str(file))
    file.unlink()
    watch.look()

    assert watch.look()


def test_a_change_that_was_undone_in_time_is_none(file: Path) -> None:
    before = file.stat()
    watch = watching(str(file))
    file.write_text("xyz")
    assert not watch.look()
    file.write_text("one")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert [watch.look() for _ in range(3)] == [False, False, False]


def test_what_changed_while_it_was_read_is_told(file: Path) -> None:
    watch = watching(str(file))
    file.write_text("changed while the rules were loading")
    watch.watch([str(file), "another"])

    assert [watch.look() for _ in range(3)] == [False, True, False]


def test_a_file_that_is_not_watched_any_more_is_not_told(file: Path) -> None:
    watch = watching(str(file))
    watch.watch(["another"])
    file.write_text("changed")

    assert [watch.look() for _ in range(3)] == [False, False, False]


def test_a_file_that_comes_is_a_change(tmp_path: Path) -> None:
    watch = watching(str(tmp_path / "new"))
    (tmp_path / "new").write_text("here")

    assert [watch.look() for _ in range(3)] == [False, True, False]


def test_names_that_no_file_can_have_do_no_harm() -> None:
    watch = watching("\0", "x" * 5000)

    assert not watch.look()
