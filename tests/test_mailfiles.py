from __future__ import annotations

import hashlib
import os
import socket
import tracemalloc
from pathlib import Path

import pytest

from smtpguard.mailfiles import Stored, Unreadable, stored_messages


MANY = 10_000_000
FIRST = b"From a@x.test Mon Mar  2 12:00:00 2026"


def found(*paths: Path, limit: int = MANY) -> list[Stored | Unreadable]:
    return list(stored_messages(paths, limit))


def contents(*paths: Path) -> list[tuple[str, bytes | None]]:
    return [
        (Path(one.name).name, one.octets)
        for one in found(*paths)
        if isinstance(one, Stored)
    ]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"Subject: a\n\nb",
        b"Subject: a\r\n\r\nb\r\n",
        b"\0\r\r\n\xff",
        b"x" * 200_000,
    ],
    ids=["empty", "lf", "crlf", "binary", "large"],
)
def test_a_file_is_one_message_octet_for_octet(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(octets)
    assert found(path) == [
        Stored(str(path), octets, len(octets), hashlib.sha256(octets).hexdigest())
    ]


def test_folders_are_read_recursively_and_in_order(tmp_path: Path) -> None:
    for name in ("b/2.eml", "b/1.eml", "a/deep/er/3", "4"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    names = [str(Path(one.name).relative_to(tmp_path)) for one in found(tmp_path)]
    assert names == ["4", "a/deep/er/3", "b/1.eml", "b/2.eml"]


def test_a_message_over_the_limit_is_measured_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.eml"
    path.write_bytes(b"x" * 1001)
    digest = hashlib.sha256(b"x" * 1001).hexdigest()
    assert found(path, limit=1000) == [Stored(str(path), None, 1001, digest)]
    assert found(path, limit=1001)[0] == Stored(str(path), b"x" * 1001, 1001, digest)


# ------------------------------------------------------------------------------- mbox


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_an_mbox_gives_its_messages_octet_for_octet(tmp_path: Path, end: bytes) -> None:
    mails = [
        b"Subject: one\n\nText.\n\nFrom here on it is text.\n".replace(b"\n", end),
        b"Subject: two\n\n>From quoted\n>>From twice\n\n\n".replace(b"\n", end),
        b"Subject: three\n\nlast\n".replace(b"\n", end),
    ]
    path = tmp_path / "box"
    path.write_bytes(b"".join(FIRST + end + mail + end for mail in mails))
    assert contents(path) == [(f"box#{n}", mail) for n, mail in enumerate(mails, 1)]


def test_an_mbox_without_its_last_blank_line_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(FIRST + b"\nSubject: a\n\nno end")
    assert contents(path) == [("box#1", b"Subject: a\n\nno end")]


def test_from_begins_a_message_only_behind_an_empty_line(tmp_path: Path) -> None:
    mail = b"Subject: a\n\ntext\n" + FIRST + b"\nmore\n"
    path = tmp_path / "box"
    path.write_bytes(FIRST + b"\n" + mail + b"\n")
    assert contents(path) == [("box#1", mail)]


def test_from_in_the_middle_of_a_long_line_begins_nothing(tmp_path: Path) -> None:
    """A line is read in pieces; a piece that begins with From is no line."""
    mail = b"Subject: a\n\n" + b"x" * (64 * 1024) + FIRST + b"\n"
    path = tmp_path / "box"
    path.write_bytes(FIRST + b"\n" + mail + b"\n")
    assert contents(path) == [("box#1", mail)]


def test_the_end_of_a_long_line_is_no_empty_line(tmp_path: Path) -> None:
    """All but its LF came in the piece before."""
    mail = b"Subject: a\n\n" + b"x" * (64 * 1024) + b"\n" + FIRST + b"\ny\n"
    path = tmp_path / "box"
    path.write_bytes(FIRST + b"\n" + mail + b"\n")
    assert contents(path) == [("box#1", mail)]


def test_a_very_long_from_line_is_left_out_whole(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(FIRST + b" " * 200_000 + b"\nSubject: a\n\nb\n\n")
    assert contents(path) == [("box#1", b"Subject: a\n\nb\n")]


@pytest.mark.parametrize(
    ("name", "first"),
    [("a.eml", FIRST), ("A.EML", FIRST), ("letter", b"From the desk of Anna")],
    ids=["eml", "EML", "prose"],
)
def test_what_only_looks_like_an_mbox_is_one_message(
    tmp_path: Path, name: str, first: bytes
) -> None:
    octets = first + b"\nSubject: a\n\nb\n\n" + first + b"\n"
    (tmp_path / name).write_bytes(octets)
    assert contents(tmp_path / name) == [(name, octets)]


def test_one_large_message_of_an_mbox_is_measured_alone(tmp_path: Path) -> None:
    path = tmp_path / "box"
    path.write_bytes(
        b"".join(FIRST + b"\n" + mail + b"\n\n" for mail in (b"a" * 50, b"b", b"c" * 9))
    )
    kept = [one for one in found(path, limit=20) if isinstance(one, Stored)]
    assert [(one.octets, one.size) for one in kept] == [
        (None, 51),
        (b"b\n", 2),
        (b"c" * 9 + b"\n", 10),
    ]


def test_an_mbox_needs_the_memory_of_one_message(tmp_path: Path) -> None:
    mail = FIRST + b"\nSubject: a\n\n" + b"text of a line\n" * 7000 + b"\n"
    path = tmp_path / "box"
    path.write_bytes(mail * 100)
    tracemalloc.start()
    try:
        count = sum(1 for _ in stored_messages([path], MANY))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100
    assert peak < 8 * len(mail)


# ------------------------------------------------------------------------- unreadable


def reasons(*paths: Path) -> list[tuple[str, str]]:
    return [
        (Path(one.name).name, one.reason)
        for one in found(*paths)
        if isinstance(one, Unreadable)
    ]


def test_what_cannot_be_read_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "z").write_bytes(b"z")
    assert contents(tmp_path) == [("a", b"a"), ("z", b"z")]
    assert reasons(tmp_path) == [("gone", "No such file or directory")]


def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert reasons(tmp_path / "none") == [("none", "No such file or directory")]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert reasons(tmp_path) == [
            ("pipe", "neither a file nor a folder"),
            ("socket", "neither a file nor a folder"),
        ]


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's refusal is made up: root, who runs tests too, may list anything."""
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a").write_bytes(b"a")
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert contents(tmp_path) == [("a", b"a")]
    assert reasons(tmp_path) == [("closed", "Permission denied")]
    assert reasons(tmp_path / "closed") == [("closed", "Permission denied")]


def test_a_file_that_fails_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "bad", "c"):
        (tmp_path / name).write_bytes(name.encode())
    real = Path.open

    def failing(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "bad":
            raise OSError(5, "Input/output error")
        return real(self, *args, **kwargs)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", failing)
    assert [name for name, _ in contents(tmp_path)] == ["a", "c"]
    assert reasons(tmp_path) == [("bad", "Input/output error")]


def test_a_name_is_shown_without_controls() -> None:
    assert str(Unreadable("x\n", "no")) == r"x\n: no"
