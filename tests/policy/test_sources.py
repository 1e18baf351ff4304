from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from smtpguard.policy import files
from smtpguard.policy.problems import Mark, Sink
from smtpguard.policy.sources import Sources, beside
from tests.policy.rulefiles import reader


if TYPE_CHECKING:
    from pathlib import Path


def test_texts_are_read_and_remembered() -> None:
    sink = Sink()
    sources = Sources(reader({"a": "x", "b": "ü"}), sink)
    assert [sources.text(name, Mark("r")) for name in ("a", "b")] == ["x", "ü"]
    assert sources.files == ["a", "b"]
    assert sources.digest == hashlib.sha256(b"a\0001\0xb\0002\0\xc3\xbc").hexdigest()


def test_the_digest_tells_names_and_texts_apart() -> None:
    def digest(files: dict[str, str]) -> str:
        sources = Sources(reader(files), Sink())
        for name in files:
            sources.text(name, Mark("r"))
        return sources.digest

    known = [{"a": "xy"}, {"a": "x"}, {"ax": "y"}, {"a": "x", "y": ""}, {"a": ""}]
    assert len({digest(files) for files in known}) == len(known)


def test_a_file_that_is_not_there_is_told_where_it_is_named() -> None:
    sink = Sink()
    sources = Sources(reader({}), sink)
    assert sources.text("a\x1b", Mark("r", 3, 4)) is None
    assert [str(one) for one in sink.problems] == [
        'r:3:4: error: cannot read "a\\x1b": No such file [cannot-read]'
    ]
    assert sources.files == ["a\x1b"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError("odd"), "odd"),
        (ValueError("embedded null byte"), "embedded null byte"),
    ],
)
def test_any_fault_of_reading_is_a_problem(error: Exception, text: str) -> None:
    def read(name: str) -> str:
        raise error

    sink = Sink()
    assert Sources(read, sink).text("a", Mark("r")) is None
    assert sink.problems[0].text == f'cannot read "a": {text}'


def test_a_file_beyond_the_limit_is_a_problem_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_OCTETS", 3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("abcd")
    sink = Sink()
    assert Sources(files.read_file, sink).text("a", Mark("r", 2)) is None
    assert [(one.text, one.slug) for one in sink.problems] == [
        ('cannot read "a": larger than 3 octets', "file-too-large")
    ]


def test_text_that_is_not_utf_8_is_told_by_its_line() -> None:
    def read(name: str) -> str:
        return b"a\nb\n\xff\n".decode("utf-8")

    sink = Sink()
    assert Sources(read, sink).text("a", Mark("r")) is None
    assert [str(one) for one in sink.problems] == [
        "a:3:1: error: the file is not UTF-8 text [not-utf-8]"
    ]


@pytest.mark.parametrize(
    ("file", "name", "wanted"),
    [
        ("rules/a.yaml", "lists/b.txt", "rules/lists/b.txt"),
        ("a.yaml", "b.txt", "b.txt"),
        ("rules/a.yaml", "../b.txt", "rules/../b.txt"),
        ("rules/a.yaml", "/etc/b.txt", "/etc/b.txt"),
    ],
)
def test_names_count_from_the_folder_of_their_file(
    file: str, name: str, wanted: str
) -> None:
    assert beside(file, name) == wanted
