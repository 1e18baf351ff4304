from __future__ import annotations

import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import QuarantineError
from smtpguard.quarantine.released import REMEMBERED, Released
from tests.quarantine.making import NOW, boxes


if TYPE_CHECKING:
    from pathlib import Path


A, B = "a" * 64, "b" * 64
ONE, TWO = boxes("one@y.test", "two@y.test")


@pytest.fixture
def released(tmp_path: Path) -> Released:
    found = Released(tmp_path)
    found.remember(A, ONE, NOW)
    return found


def test_a_message_is_known_for_the_recipient_it_went_to(released: Released) -> None:
    assert released.was_released(A, ONE, NOW)
    assert not released.was_released(A, TWO, NOW)
    assert not released.was_released(B, ONE, NOW)


def test_the_case_of_an_address_does_not_matter(released: Released) -> None:
    (other,) = boxes("ONE@Y.Test")
    assert released.was_released(A, other, NOW)


def test_after_a_day_it_is_forgotten(released: Released, tmp_path: Path) -> None:
    assert REMEMBERED == 24 * 60 * 60
    nearly = NOW + timedelta(seconds=REMEMBERED - 1)
    later = NOW + timedelta(seconds=REMEMBERED)
    assert released.was_released(A, ONE, nearly)
    assert not released.was_released(A, ONE, later)
    released.sweep(nearly)
    assert len(list((tmp_path / "released").iterdir())) == 1
    released.sweep(later)
    assert list((tmp_path / "released").iterdir()) == []


def test_a_second_release_is_remembered_from_its_own_time(released: Released) -> None:
    later = NOW + timedelta(hours=20)
    released.remember(A, ONE, later)
    assert released.was_released(A, ONE, later + timedelta(hours=20))


def test_what_failed_is_forgotten(released: Released) -> None:
    released.forget(A, ONE)
    released.forget(A, TWO)
    assert not released.was_released(A, ONE, NOW)


def test_no_file_tells_an_address(released: Released, tmp_path: Path) -> None:
    (path,) = (tmp_path / "released").iterdir()
    assert path.read_bytes() == b""
    assert "one" not in path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_without_a_memory_nothing_was_released(tmp_path: Path) -> None:
    released = Released(tmp_path / "none")
    assert not released.was_released(A, ONE, NOW)
    released.forget(A, ONE)
    released.sweep(NOW)
    with pytest.raises(QuarantineError, match="cannot remember"):
        released.remember(A, ONE, NOW)
