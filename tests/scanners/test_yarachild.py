"""Rules are read, read again when they change, and kept while they are faulty."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from smtpguard.errors import ScanError
from smtpguard.scanners import yarachild
from smtpguard.scanners.yarachild import REQUEST, Answer, Rules, answer, main
from tests.scanners.subjects import EICAR


if TYPE_CHECKING:
    from collections.abc import Callable


ENDLESS = """rule endless {
    condition:
        for any i in (0..filesize) : (
            for any j in (0..filesize) : (uint8(i) == 1 and uint8(j) == 2 and i == j)
        )
}"""


@pytest.fixture(autouse=True)
def look_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yarachild, "LOOK_SECONDS", 0.0)


def rule(name: str, text: str) -> str:
    return f'rule {name} {{ strings: $a = "{text}" condition: $a }}\n'


def names(rules: Rules, octets: bytes) -> tuple[str, ...]:
    return answer(rules, octets, 5).names


def fault(path: Path) -> str:
    with pytest.raises(ScanError) as caught:
        Rules(str(path)).now()
    return str(caught.value)


# -- the built-in rule -----------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", b"\r\n", b" " * 60])
def test_the_test_file_is_found(behind: bytes) -> None:
    assert names(Rules(""), EICAR + behind) == ("EICAR_Test_File",)


@pytest.mark.parametrize(
    "octets",
    [b"", b"hello", EICAR[:-1], b" " + EICAR, EICAR + b" " * 61],
    ids=["empty", "other", "not whole", "not at the beginning", "too long"],
)
def test_what_is_not_the_test_file_is_not_taken_for_it(octets: bytes) -> None:
    assert answer(Rules(""), octets, 5) == Answer()


def test_the_test_file_stands_nowhere_in_the_package() -> None:
    """Else a scanner would take the gateway itself away."""
    folder = Path(yarachild.__file__).parents[1]
    found = [file for file in folder.rglob("*.py") if EICAR in file.read_bytes()]
    assert found == []


# -- files -----------------------------------------------------------------------------


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "rules.txt").write_text(rule("one", "abc"))
    rules = Rules(str(tmp_path / "rules.txt"))
    assert names(rules, b"xxabcxx") == ("one",)
    assert names(rules, EICAR) == ()


def test_of_a_folder_all_rule_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "a.yar").write_text(rule("one", "abc"))
    (tmp_path / "deep" / "deeper" / "b.yara").write_text(rule("two", "abc"))
    (tmp_path / "notes.txt").write_text("no rule")
    assert names(Rules(str(tmp_path)), b"abc") == ("one", "two")


def test_two_files_may_have_rules_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(rule("one", "abc"))
    (tmp_path / "b.yar").write_text(rule("one", "def"))
    assert names(Rules(str(tmp_path)), b"def") == ("one",)


def test_only_the_first_of_many_names_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text("".join(rule(f"r{n}", "abc") for n in range(50)))
    assert names(Rules(str(tmp_path)), b"abc") == tuple(f"r{n}" for n in range(9))


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("rule a {\n condition: nobody }", 2, "nobody"),
        ("rule a {", 1, "syntax error"),
        ("rule a { condition: true }\nrule a { condition: true }", 2, "duplicate"),
        ('\ninclude "other.yar"', 2, "include"),
        ('import "nothing"\nrule a { condition: true }', 1, "nothing"),
        ("\n\nrule a { strings: $a = /(/ condition: $a }", 3, "regular expression"),
    ],
)
def test_a_fault_is_told_with_file_and_line(
    tmp_path: Path, text: str, line: int, word: str
) -> None:
    file = tmp_path / "b.yar"
    (tmp_path / "a.yar").write_text(rule("one", "abc"))
    file.write_text(text)
    told = fault(tmp_path)
    assert told.startswith(f"{file}:{line}:")
    assert word in told
    assert "\n" not in told


def test_another_file_is_not_included(tmp_path: Path) -> None:
    (tmp_path / "other.yar").write_text(rule("other", "abc"))
    file = tmp_path / "one.yar"
    file.write_text(f'include "{tmp_path}/other.yar"')
    assert "not allowed" in fault(file)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: None, "No such file"),
        (Path.mkdir, "no rules"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ],
    ids=["missing", "empty folder", "binary", "loop"],
)
def test_what_holds_no_rules_is_a_fault(
    tmp_path: Path, make: Callable[[Path], object], word: str
) -> None:
    make(tmp_path / "rules")
    assert word in fault(tmp_path / "rules")


def test_too_much_to_read_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.yar").write_text(rule(f"r{number}", "abc"))
    monkeypatch.setattr(yarachild, "MAX_FILES", 2)
    assert "more than 2 files" in fault(tmp_path)
    monkeypatch.setattr(yarachild, "MAX_FILES", 3)
    monkeypatch.setattr(yarachild, "MAX_OCTETS", 50)
    assert "50 octets" in fault(tmp_path)


# -- changes ---------------------------------------------------------------------------


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.yar"
    file.write_text(rule("one", "abc"))
    rules = Rules(str(tmp_path))
    assert names(rules, b"abc def") == ("one",)
    file.write_text(rule("two", "def"))
    assert names(rules, b"abc def") == ("two",)
    (tmp_path / "b.yar").write_text(rule("three", "abc"))
    assert names(rules, b"abc def") == ("two", "three")
    file.unlink()
    assert names(rules, b"abc def") == ("three",)


def test_a_file_of_the_same_size_and_time_is_another_if_it_was_replaced(
    tmp_path: Path,
) -> None:
    file, fresh = tmp_path / "a.yar", tmp_path / "a.new"
    for path, name in ((file, "one"), (fresh, "two")):
        path.write_text(rule(name, "abc"))
        os.utime(path, (1, 1))
    rules = Rules(str(tmp_path))
    assert names(rules, b"abc") == ("one",)
    fresh.replace(file)
    assert names(rules, b"abc") == ("two",)


def test_files_are_not_looked_at_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yarachild, "LOOK_SECONDS", 60.0)
    file = tmp_path / "a.yar"
    file.write_text(rule("one", "abc"))
    rules = Rules(str(tmp_path))
    assert names(rules, b"abc") == ("one",)
    file.write_text(rule("two", "abc"))
    assert names(rules, b"abc") == ("one",)


def test_files_that_stay_as_they_are_are_compiled_once(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(rule("one", "abc"))
    rules = Rules(str(tmp_path))
    assert rules.now() is rules.now()


@pytest.mark.parametrize("how", ["faulty", "gone"])
def test_while_the_files_are_faulty_the_rules_before_stay(
    tmp_path: Path, how: str
) -> None:
    file = tmp_path / "a.yar"
    file.write_text(rule("one", "abc"))
    rules = Rules(str(file))
    assert answer(rules, b"abc", 5) == Answer(("one",))
    if how == "gone":
        file.unlink()
    else:
        file.write_text("rule two {")
    for _ in range(2):
        said = answer(rules, b"abc", 5)
        assert said.names == ("one",)
        assert str(file) in said.fault
    file.write_text(rule("two", "abc"))
    assert answer(rules, b"abc", 5) == Answer(("two",))


def test_rules_that_were_faulty_at_first_are_used_once_they_are_sound(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a.yar"
    file.write_text("rule one {")
    rules = Rules(str(file))
    assert "a.yar:1:" in answer(rules, b"abc", 5).error
    file.write_text(rule("one", "abc"))
    assert answer(rules, b"abc", 5) == Answer(("one",))


# -- time, and requests ----------------------------------------------------------------


def test_rules_that_take_too_long_are_given_up(tmp_path: Path) -> None:
    (tmp_path / "a.yar").write_text(ENDLESS)
    assert answer(Rules(str(tmp_path)), bytes(1 << 20), 1) == Answer(is_late=True)


def test_each_request_has_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = b"".join(
        REQUEST.pack(len(octets), 5) + octets for octets in (b"", EICAR, b"hello")
    )
    answers = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(requests)))
    monkeypatch.setattr("sys.stdout", answers)
    main("")
    said = answers.buffer
    assert isinstance(said, io.BytesIO)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    assert [line["names"] for line in lines] == [[], ["EICAR_Test_File"], []]
