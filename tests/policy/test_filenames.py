from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpguard.policy.filenames import readings


@pytest.mark.parametrize(
    "name",
    [
        "a.exe",
        "A.EXE",
        "a.exe.",
        "a.exe ",
        "a.exe. . .",
        "a.exe\u00a0",
        "a.exe\u3002",
        "a\u202e.exe",
        "a.e\u202excod.exe",
        "a.\u200bexe",
        "a.e\u00adxe",
        "a.exe\ufeff",
        "a.exe\x00.txt",
        "a.e\x00xe",
        "a.exe\x07",
        "a.exe::$DATA",
        "a.exe:stream.txt",
        "C:\\x\\a.exe",
        "..\\..\\a.exe",
        "x/a.exe",
        "a.exe/",
        "\uff41\uff0e\uff45\uff58\uff45",
        "a\uff0eexe",
        "a.ex\u2148".replace("\u2148", "\u212f"),
        "a.exe\u2028",
        "a.exe\u115f",
        "a.exe\ufe0f",
        "invoice.pdf.exe",
        "a.txt.exe. ::$DATA".replace(". ::", "::"),
    ],
    ids=ascii,
)
def test_M6_what_windows_would_run_ends_in_exe(name: str) -> None:
    assert any(one.endswith(".exe") for one in readings((name,)))


@pytest.mark.parametrize(
    "name", ["a.exe.txt", "exe", "a.exes", "a.txt", "aexe"], ids=ascii
)
def test_what_windows_would_not_run_does_not_end_in_exe(name: str) -> None:
    assert not any(one.endswith(".exe") for one in readings((name,)))


@pytest.mark.parametrize(
    "name", ["a.exe", "Invoice 2024-01 (final).pdf", "a..b", " a", ".", "a [1].txt"]
)
def test_an_ordinary_name_has_one_reading_unless_its_end_is_odd(name: str) -> None:
    assert readings((name,))[0] == name.lower()
    assert (len(readings((name,))) == 1) == (name != ".")


def test_every_name_is_read() -> None:
    found = readings(("a.txt", "B.EXE"))
    assert {"a.txt", "b.exe"} <= set(found)


def test_the_name_as_written_is_a_reading() -> None:
    assert "a.pdf." in readings(("A.pdf.",))


def test_a_part_without_a_name_is_read_as_nothing() -> None:
    assert readings(()) == ("",)


@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_name_has_few_readings_each_once(names: list[str]) -> None:
    found = readings(tuple(names))
    assert len(found) == len(set(found))
    assert 1 <= len(found) <= max(1, 28 * len(names))


def test_a_huge_name_is_read_in_linear_time() -> None:
    name = "a." * 100_000 + "exe" + " ." * 100_000
    assert any(one.endswith(".exe") for one in readings((name,)))
