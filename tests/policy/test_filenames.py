from __future__ import annotations

import time

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
        "x\\a.exe\\ .",
        "\uff41\uff0e\uff45\uff58\uff45",
        "a\uff0eexe",
        "a.ex\u212f",
        "a.exe\u2028",
        "a.exe\u115f",
        "a.exe\ufe0f",
        "invoice.pdf.exe",
        "a.txt.exe::$DATA",
        "a.exe. ::$DATA",
        "a\uff0eexe\x00.txt",
        "x\u2044a.exe/\u202e",
        "C\uff1a\\a.exe\uff1astream.txt",
        " a.exe",
        "\u3000.exe",
        "a.e\u0301\u200b/a.exe",
    ],
    ids=ascii,
)
def test_M6_what_windows_would_run_ends_in_exe(name: str) -> None:
    assert any(one.endswith(".exe") for one in readings((name,)))


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("a.exe.", "a.exe"),
        ("a.exe . .", "a.exe"),
        ("a.exe\0.txt", "a.exe"),
        ("a\u202etxt.exe", "atxt.exe"),
        ("a\u200b.exe", "a.exe"),
        ("a\t.exe", "a.exe"),
        ("a\uff0eexe", "a.exe"),
        ("\uff41.\uff45xe", "a.exe"),
        ("  a.exe", "a.exe"),
        ("x/ a.exe", "a.exe"),
        ("x/a.b.", "a.b."),
        ("u\u0308.\uff45xe", "\xfc.exe"),
        ("u\u0308.\uff45xe", "u\u0308.exe"),
        ("u\u200b\u0308.exe", "\xfc.exe"),
        ("a\u202e.EXE", "a\u202e.exe"),
        ("\uff41.EXE", "\uff41.exe"),
    ],
    ids=ascii,
)
def test_what_eyes_and_file_systems_drop_is_seen_through(
    written: str, seen: str
) -> None:
    found = readings((written,))
    assert seen in found
    assert found[0] == written.lower()


@pytest.mark.parametrize(
    "name", ["a.exe.txt", "exe", "a.exes", "a.txt", "aexe"], ids=ascii
)
def test_what_windows_would_not_run_does_not_end_in_exe(name: str) -> None:
    assert not any(one.endswith(".exe") for one in readings((name,)))


@pytest.mark.parametrize(
    "name", ["a.exe", "Invoice 2024-01 (final).pdf", "a..b", "a [1].txt", "\xfcber.pdf"]
)
def test_an_ordinary_name_has_one_reading(name: str) -> None:
    assert readings((name,)) == (name.lower(),)


@pytest.mark.parametrize("name", [" a", "a ", "a.", ".a.", "a:b", "a/b", "a\\b"])
def test_a_name_with_odd_ends_or_folders_has_several(name: str) -> None:
    found = readings((name,))
    assert found[0] == name
    assert len(found) > 1


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
    # Two texts (whole, up to NUL) in five forms, each in twelve readings.
    assert 1 <= len(found) <= max(1, 120 * len(names))


HUGE = {
    "dots": lambda n: "a." * n + "exe" + " ." * n,
    "marks": lambda n: "a" + "\u0301\u0327" * n + ".exe",
    "hidden marks": lambda n: "a" + "\u0301\u200b\u0327" * n + ".exe",
    "half-width marks": lambda n: "a" + "\uff9e\u0301" * n + ".exe",
    "nuls": lambda n: "a.exe" + "\0" * n,
    "folders": lambda n: "a/:\\" * n + "a.exe",
    "full-width": lambda n: "\uff41" * n + "\uff0eexe",
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_name_is_read_in_linear_time(kind: str) -> None:
    """Quadratic would be 256 times: 10 s for one name of 256 KiB of marks."""

    def seconds(name: str) -> float:
        before = time.process_time()
        assert any(one.endswith(".exe") for one in readings((name,)))
        return time.process_time() - before

    small, large = HUGE[kind](2000), HUGE[kind](16 * 2000)
    bound = 64 * (min(seconds(small) for _ in range(3)) + 0.0005)
    assert any(seconds(large) < bound for _ in range(3))
